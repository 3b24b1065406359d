"""What a text turned out to say."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from layerctl.model import Finding, Severity

_NO_VALUES: Mapping[str, str] = {}


class Certainty(StrEnum):
    """How surely a cause is the one: the text says it, it is likely, or it would fit."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Clue(NamedTuple):
    """One thing in a text that points to a cause. `weight` is 0 to 100; 90 and more is certain.

    `fix` and `commands` replace the catalogue's where the clue knows better.
    """

    cause: str
    weight: int
    evidence: str = ""
    values: Mapping[str, str] = _NO_VALUES
    severity: Severity | None = None
    fix: str | None = None
    commands: tuple[str, ...] | None = None


class Diagnosis(NamedTuple):
    """A finding and how certain it is."""

    finding: Finding
    certainty: Certainty


class Noise(NamedTuple):
    """A line that means nothing bad, and what it means."""

    line: str
    meaning: str


class Reading(NamedTuple):
    """A text as understood: causes ranked, what is noise, and the commands that would decide.

    `others` are failures that do not concern layered mounts. `unsaid` describes a failure of which
    only the errno is known.
    """

    diagnoses: tuple[Diagnosis, ...]
    noise: tuple[Noise, ...] = ()
    decide: tuple[str, ...] = ()
    others: tuple[Noise, ...] = ()
    unsaid: str = ""

    @property
    def findings(self) -> list[Finding]:
        """The findings, most likely first."""
        return [one.finding for one in self.diagnoses]

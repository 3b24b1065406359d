"""What a text turned out to say."""

from __future__ import annotations

from typing import NamedTuple

from layerctl.model import Finding


class Noise(NamedTuple):
    """A line that means nothing bad, and what it means."""

    line: str
    meaning: str


class Reading(NamedTuple):
    """A text as understood: findings ranked, what is noise, and the commands that would decide.

    `others` are failures that do not concern layered mounts. `unsaid` describes a failure of which
    only the errno is known.
    """

    findings: tuple[Finding, ...]
    noise: tuple[Noise, ...] = ()
    decide: tuple[str, ...] = ()
    others: tuple[Noise, ...] = ()
    unsaid: str = ""

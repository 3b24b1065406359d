"""The result of reading a text."""

from __future__ import annotations

from typing import NamedTuple

from layerctl.model import Finding


class Noise(NamedTuple):
    """A harmless line, and what it means."""

    line: str
    meaning: str


class Reading(NamedTuple):
    """The result of reading a text: ranked findings, noise, and the commands that would decide.

    `others` are failures that do not concern layered mounts. `unsaid` describes a failure of which
    only the errno is known.
    """

    findings: tuple[Finding, ...]
    noise: tuple[Noise, ...] = ()
    decide: tuple[str, ...] = ()
    others: tuple[Noise, ...] = ()
    unsaid: str = ""

"""Decisions about findings: their order, and what they come to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from layerctl.model import Finding, Severity

_ORDER = list(Severity)


class Verdict(StrEnum):
    """What all findings of a report come to."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


def verdict(findings: Iterable[Finding], *, strict: bool = False) -> Verdict:
    """Return the worst of findings; notes count for nothing, `strict` fails warnings."""
    severities = {finding.severity for finding in findings}
    if Severity.FAILURE in severities or (strict and Severity.WARNING in severities):
        return Verdict.FAILURE
    return Verdict.WARNING if Severity.WARNING in severities else Verdict.OK


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order of their severity, equal ones as they came."""
    return sorted(findings, key=lambda one: _ORDER.index(one.severity))

"""What a check says: a cause and what was seen. The catalogue makes findings of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from layerctl.model import Finding, Severity

_NO_VALUES: Mapping[str, str] = {}


class Hit(NamedTuple):
    """A cause that a check found: `values` fill the catalogue's templates.

    `severity`, `fix` and `commands` replace the catalogue's where the check knows better.
    """

    cause: str
    evidence: tuple[str, ...]
    values: Mapping[str, str] = _NO_VALUES
    severity: Severity | None = None
    fix: str | None = None
    commands: tuple[str, ...] | None = None


def findings(hits: list[Hit]) -> list[Finding]:
    """Return hits as findings, gravest first. The catalogue is imported only if there are any."""
    if not hits:
        return []
    from layerctl.diagnosing.catalogue import finding, gravest_first

    return gravest_first(
        finding(
            hit.cause,
            hit.evidence,
            severity=hit.severity,
            fix=hit.fix,
            commands=hit.commands,
            **hit.values,
        )
        for hit in hits
    )

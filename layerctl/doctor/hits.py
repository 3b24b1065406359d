"""What a check says: a cause and what was seen. The catalogue makes findings of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from layerctl.model import Finding, Severity


@dataclass(frozen=True, slots=True)
class Hit:
    """A cause that a check found: `values` fill the catalogue's templates.

    `severity`, `fix` and `commands` replace the catalogue's where the check knows better.
    """

    cause: str
    evidence: tuple[str, ...]
    values: dict[str, str] = field(default_factory=dict)
    severity: Severity | None = None
    fix: str | None = None
    commands: tuple[str, ...] | None = None


def findings(hits: list[Hit]) -> list[Finding]:
    """Return hits as findings, gravest first. The catalogue is imported only if there are any."""
    if not hits:
        return []
    from layerctl.doctor.catalogue import finding, gravest_first

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

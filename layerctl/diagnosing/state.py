"""The state of the system as shown by `doctor`: rows, and findings of checks."""

from __future__ import annotations

from typing import NamedTuple

from layerctl.diagnosing.checks.check import Report


class Row(NamedTuple):
    """One line of the state; `well` is None if it only informs."""

    group: str
    what: str
    state: str
    well: bool | None


class State(NamedTuple):
    """The state of the system."""

    rows: tuple[Row, ...]
    report: Report

    @property
    def lacking(self) -> int:
        """The number of rows that show what the system cannot do."""
        return sum(row.well is False for row in self.rows)

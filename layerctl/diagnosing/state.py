"""What `doctor` says of a whole machine: rows of its state, and what checks found."""

from __future__ import annotations

from typing import NamedTuple

from layerctl.diagnosing.checks.check import Report


class Row(NamedTuple):
    """One line of the state: `well` None if it only informs."""

    group: str
    what: str
    state: str
    well: bool | None


class State(NamedTuple):
    """The state of this machine."""

    rows: tuple[Row, ...]
    report: Report

    @property
    def lacking(self) -> int:
        """How many rows are marked as what this machine cannot do."""
        return sum(row.well is False for row in self.rows)

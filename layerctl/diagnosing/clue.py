"""What a check or the reader of texts observed; the catalogue makes a finding of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from layerctl.model import Severity

_NO_VALUES: Mapping[str, str] = {}


class Raw(str):
    """A value that is shell text already, and not quoted again."""

    __slots__ = ()


class Clue(NamedTuple):
    """Something that points to a cause: its id, and what was seen of it.

    It is cheap, and knows none of the catalogue's texts, so that a mount without faults does not
    load them. Several clues to one cause become one Finding (`layerctl.diagnosing.catalogue`).
    `values` fill the templates of the cause. `severity`, `fix` and `commands` replace the cause's
    where they are not None. `weight` is how surely the cause is the one, from 0 to 100, where
    clues are ranked; a check knows.
    """

    cause: str
    evidence: tuple[str, ...] = ()
    values: Mapping[str, str] = _NO_VALUES
    severity: Severity | None = None
    fix: str | None = None
    commands: tuple[str, ...] | None = None
    weight: int = 100

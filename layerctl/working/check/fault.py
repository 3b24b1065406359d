"""What a check finds: a cause of the catalogue, where it is, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from layerctl.working.steps import Step

if TYPE_CHECKING:
    from layerctl.working.check.mending import Mender

#: The position of the work directory, beside those of the layers.
WORK = -1

Mend = Callable[["Mender"], Iterator[Step]]


class Mending(StrEnum):
    """How a fault may be mended: unasked, only where the user names it, or not by layerctl."""

    SAFE = "safe"
    ASK = "ask"
    REPORT = "report"


class Fault(NamedTuple):
    """One fault: `path` is in the layer (or the work directory), `evidence` is what was seen."""

    cause: str
    layer: int
    path: str
    evidence: str
    mending: Mending = Mending.REPORT
    mend: Mend | None = None


def remove(layer: int, path: str) -> Mend:
    """Return the mending that moves a file out of its layer."""
    return lambda mender: mender.remove_any(layer, path)


def unmark(layer: int, path: str, attribute: str) -> Mend:
    """Return the mending that removes an attribute."""
    return lambda mender: mender.unmark(layer, path, attribute)


def mark(layer: int, path: str, attribute: str, value: bytes) -> Mend:
    """Return the mending that sets an attribute."""
    return lambda mender: mender.mark(layer, path, attribute, value)


def both(first: Mend, second: Mend) -> Mend:
    """Return the mending that is two in turn."""

    def mend(mender: Mender) -> Iterator[Step]:
        yield from first(mender)
        yield from second(mender)

    return mend

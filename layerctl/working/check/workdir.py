"""Faults of the work directory of an overlay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from layerctl.kernel import changing, layers
from layerctl.working.check.fault import WORK, Fault, Mend, Mending, remove

_SAFE, _ASK = Mending.SAFE, Mending.ASK


def check(work: int) -> Iterator[Fault]:
    """Yield the faults of an open work directory."""
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from _incompatible(work)
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from _deep(work)
    yield from _locked(work)


def _names(path: str, work: int) -> dict[str, str]:
    fd = layers.open_path(path, work)
    try:
        return layers.scan(fd, layers.LETTER_OF)
    finally:
        os.close(fd)


def _incompatible(work: int) -> Iterator[Fault]:
    for name in sorted(_names("work/incompat", work)):
        path = f"work/incompat/{name}"
        yield Fault(
            "workdir-incompat", WORK, path, f"the feature '{name}'", _ASK, remove(WORK, path)
        )


def _deep(work: int) -> Iterator[Fault]:
    """Yield directories that the kernel does not empty: it goes two levels down."""
    for first, letter in sorted(_names("work", work).items()):
        if letter != "d" or first == "incompat":
            continue
        for second, inner in sorted(_names(f"work/{first}", work).items()):
            path = f"work/{first}/{second}"
            if inner == "d" and _names(path, work):
                yield Fault(
                    "workdir-too-deep", WORK, path, "it is not empty", _SAFE, remove(WORK, path)
                )


def _locked(work: int) -> Iterator[Fault]:
    """Yield what an attribute of chattr(1) keeps from being removed."""

    def unread(_: str, __: OSError) -> None:
        """Leave out what cannot be read: the kernel says so at the mount."""

    for fd, path in layers.directories(work, unread):
        for name, letter in sorted(layers.scan(fd, layers.LETTER_OF).items()):
            if letter in "df" and changing.flags(fd, name) & changing.LOCKED:
                place = f"{path}/{name}" if path else name
                yield Fault("workdir-immutable", WORK, place, "immutable", _SAFE, _unlock(place))


def _unlock(place: str) -> Mend:
    return lambda mender: mender.unlock(WORK, place)

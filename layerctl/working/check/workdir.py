"""Faults of the work directory and the index of an overlay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.kernel import changing, handles, layers
from layerctl.working.check.fault import WORK, Fault, Mend, Mending
from layerctl.working.check.mending import Mender
from layerctl.working.steps import Step

_SAFE, _ASK = Mending.SAFE, Mending.ASK


def check(overlay: Overlay, work: int) -> Iterator[Fault]:
    """Yield the faults of an open work directory."""
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from _incompatible(work)
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from _deep(work)
    yield from _locked(work)
    if overlay.settings.indexed:
        yield from _index(overlay, work)


def _names(path: str, work: int) -> dict[str, str]:
    fd = layers.open_path(path, work)
    try:
        return layers.scan(fd, layers.LETTER_OF)
    finally:
        os.close(fd)


def _incompatible(work: int) -> Iterator[Fault]:
    for name in sorted(_names("work/incompat", work)):
        path = f"work/incompat/{name}"
        yield Fault("workdir-incompat", WORK, path, f"the feature '{name}'", _ASK, _out(path))


def _deep(work: int) -> Iterator[Fault]:
    """Yield directories that the kernel does not empty: it goes two levels down."""
    for first, letter in sorted(_names("work", work).items()):
        if letter != "d" or first == "incompat":
            continue
        for second, inner in sorted(_names(f"work/{first}", work).items()):
            path = f"work/{first}/{second}"
            if inner == "d" and _names(path, work):
                yield Fault("workdir-too-deep", WORK, path, "it is not empty", _SAFE, _out(path))


def _locked(work: int) -> Iterator[Fault]:
    """Yield what an attribute of chattr(1) keeps from being removed."""

    def unread(_: str, __: OSError) -> None:
        """Leave out what cannot be read: the kernel says so at the mount."""

    for fd, path in layers.directories(work, unread):
        for name, letter in sorted(layers.scan(fd, layers.LETTER_OF).items()):
            if letter in "df" and changing.flags(fd, name) & changing.LOCKED:
                place = f"{path}/{name}" if path else name
                yield Fault("workdir-immutable", WORK, place, "immutable", _SAFE, _unlock(place))


def _index(overlay: Overlay, work: int) -> Iterator[Fault]:
    prefix, roots = overlay.settings.prefix, overlay.roots
    origin = handles.remembered(f"{prefix}origin", roots[0])
    origins = overlay.origins
    if origin and origins and not origins.same(origin, 1, roots[1]):
        seen = "the upper layer was mounted with another first lower layer"
        yield Fault("index-other-lower", 0, "", seen, _ASK, _anew(prefix))
    try:
        index = layers.open_dir("index", work)
    except OSError:
        return
    try:
        upper, own = handles.remembered(f"{prefix}upper", index), handles.of(roots[0])
        if upper and own and (upper.type, upper.handle) != (own.type, own.handle):
            seen = "the index belongs to another upper layer"
            yield Fault("index-other-upper", WORK, "index", seen, _ASK, _anew(prefix))
        for name in sorted(layers.scan(index, layers.LETTER_OF)):
            if not name.startswith("#") and handles.named(name) is None:
                place = f"index/{name}"
                yield Fault("index-foreign-name", WORK, place, f"'{name}'", _ASK, _out(place))
    finally:
        os.close(index)


def _unlock(place: str) -> Mend:
    return lambda mender: mender.unlock(WORK, place)


def _out(place: str) -> Mend:
    return lambda mender: mender.remove_any(WORK, place)


def _anew(prefix: str) -> Mend:
    """Return the mending that lets the kernel make a new index at the next mount."""

    def mend(mender: Mender) -> Iterator[Step]:
        yield from mender.remove_any(WORK, "index")
        yield from mender.unmark(0, "", f"{prefix}origin")

    return mend

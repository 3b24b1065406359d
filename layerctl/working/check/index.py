"""Faults of the index of an overlay, which says what was made of each lower file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from layerctl.codecs.handles import Handle
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.kernel import handles, layers
from layerctl.rules.aliasing import Aliasing
from layerctl.working.check.fault import WORK, Fault, Mend, Mending, remove
from layerctl.working.check.mending import Mender
from layerctl.working.steps import Step

_ASK = Mending.ASK
_NLINK = re.compile(rb"[LU][+-][0-9]+")


def is_valid_nlink(value: bytes) -> bool:
    """Tell whether the kernel understands the value of an nlink attribute (ovl_get_nlink)."""
    return _NLINK.fullmatch(value) is not None


def inodes(overlay: Overlay) -> frozenset[int]:
    """Return the inode numbers of the upper files that are in the index."""
    if overlay.index < 0:
        return frozenset()
    return frozenset(
        status.st_ino
        for name in os.listdir(overlay.index)
        if (status := layers.status(name, overlay.index)) is not None
    )


def check(overlay: Overlay, work: int) -> Iterator[Fault]:
    """Yield the faults of the index in an open work directory, and what the upper root says."""
    prefix, roots = overlay.settings.prefix, overlay.roots
    origin = handles.remembered(f"{prefix}origin", roots[0])
    origins = overlay.origins
    if origin and origins and not origins.same(origin, 1, roots[1]):
        seen = "the upper layer was mounted with another first lower layer"
        yield Fault("index-other-lower", 0, "", seen, _ASK, _anew(prefix))
    try:
        fd = layers.open_dir("index", work)
    except OSError:
        return
    try:
        upper, own = handles.remembered(f"{prefix}upper", fd), handles.of(roots[0])
        if upper and own and (upper.type, upper.handle) != (own.type, own.handle):
            seen = "the index belongs to another upper layer"
            yield Fault("index-other-upper", WORK, "index", seen, _ASK, _anew(prefix))
        for name, letter in sorted(layers.scan(fd, layers.LETTER_OF).items()):
            handle, place = handles.named(name), f"index/{name}"
            if handle is not None and letter not in "dw":
                yield from _nlink(overlay, fd, name, handle)
            elif handle is None and not name.startswith("#"):
                seen = f"'{name}'"
                yield Fault("index-foreign-name", WORK, place, seen, _ASK, remove(WORK, place))
    finally:
        os.close(fd)


def _nlink(overlay: Overlay, fd: int, name: str, handle: Handle) -> Iterator[Fault]:
    """Check how many names a file has, which is noted if the lower one has several."""
    status = layers.status(name, fd)
    lower = None
    if status is not None and overlay.origins is not None:
        lower = overlay.origins.decoded(handle, status)
    if status is None or lower is None or lower.st_nlink == 1:
        return
    attribute = f"{overlay.settings.prefix}nlink"
    value = layers.attribute(attribute, fd, name)
    if value is not None and is_valid_nlink(value):
        return
    seen = "it is missing" if value is None else f"the value is '{os.fsdecode(value)}'"
    place = f"index/{name}"

    def mend(mender: Mender) -> Iterator[Step]:
        count = _names_of(overlay, name, status.st_ino) - status.st_nlink
        return mender.mark(WORK, place, attribute, f"U{count:+d}".encode())

    yield Fault("nlink-invalid", WORK, place, seen, Mending.SAFE, mend)


def _names_of(overlay: Overlay, name: str, inode: int) -> int:
    """Count the names that the merged tree has for an indexed file: upper and lower ones."""
    lower = sum(
        alias.what is Aliasing.INDEXED and alias.other == name
        for names in overlay.aliases.values()
        for alias in names.values()
    )
    upper = sum(
        status.st_ino == inode
        for fd, _ in layers.directories(overlay.roots[0], lambda _, __: None)
        for one, letter in layers.scan(fd, layers.LETTER_OF).items()
        if letter == "f" and (status := layers.status(one, fd)) is not None
    )
    return lower + upper


def _anew(prefix: str) -> Mend:
    """Return the mending that lets the kernel make a new index at the next mount."""

    def mend(mender: Mender) -> Iterator[Step]:
        yield from mender.remove_any(WORK, "index")
        yield from mender.unmark(0, "", f"{prefix}origin")

    return mend

"""Faults of directories with a redirect: where it leads, and who else leads there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.overlay_lookup import OverlayLookup
from layerctl.inspecting.resolvers.resolver import Found
from layerctl.working import lower
from layerctl.working.check.fault import Fault, Mend, Mending, both, mark, unmark
from layerctl.working.check.walk import Folder

_SAFE, _ASK = Mending.SAFE, Mending.ASK
#: A directory of a layer: the number of the layer, and the path in it.
Place = tuple[int, str]


class _Redirected(NamedTuple):
    """A directory with a redirect, and the topmost lower directory that it is merged with.

    `path` is where the layers from its own down show it, `old` where they showed that one.
    """

    layer: int
    place: str
    path: str
    old: str
    end: Place
    drop: Mend


class Redirects:
    """Collects the redirects of all layers: two of them can be wrong together."""

    def __init__(self) -> None:
        self._found: list[_Redirected] = []
        self._pairs: list[tuple[str, str]] = []

    def check(self, folder: Folder) -> Iterator[Fault]:
        """Yield the faults that the redirects in one directory have by themselves."""
        for name in sorted(folder.attributes):
            if folder.names.get(name) == "d" and "redirect" in folder.marks(name):
                yield from self._one(folder, name)

    def _one(self, folder: Folder, name: str) -> Iterator[Fault]:
        place, layer = folder.place(name), folder.layer
        value = folder.value("redirect", name)
        if "opaque" in folder.marks(name) and folder.value("opaque", name) == b"y":
            return  # the kernel reads no redirect of an opaque directory
        prefix = folder.resolver.settings.prefix
        mend = unmark(layer, place, f"{prefix}redirect")
        seen = f"the redirect is '{os.fsdecode(value)}'"
        found = folder.resolver.lookup(folder.merged, name)
        parts, error = found.parts, found.error
        found.close()
        if folder.is_refused(name):
            yield Fault("redirect-not-followed", layer, place, seen)
        if error in (errno.EINVAL, errno.EACCES):
            yield Fault("redirect-invalid", layer, place, seen, _ASK, mend)
        elif folder.alone:
            folder.unsure(name)
        elif not error and len(parts) == 1 and folder.reached:
            opaque, letter = drop(folder, name)
            if letter == "d":
                seen += ", and a lower layer has a directory of the same name"
                yield Fault("redirect-to-nothing", layer, place, seen, _ASK, opaque)
            else:
                yield Fault("redirect-to-nothing", layer, place, seen, _SAFE, mend)
        elif len(parts) > 1:
            target = os.fsdecode(value.split(b"\0", 1)[0])
            path = folder.merged.child_path(name)
            old = target[1:] if target.startswith("/") else folder.merged.child_path(target)
            end = layer + parts[1].layer, parts[1].path
            opaque, _ = drop(folder, name)
            self._found.append(_Redirected(layer, place, path, old, end, opaque))

    def check_all(self, overlay: Overlay) -> Iterator[Fault]:
        """Yield those whose old place is still there, and those that lead where another leads."""
        by_end: dict[Place, list[_Redirected]] = {}
        for one in self._found:
            by_end.setdefault(one.end, []).append(one)
        for some in by_end.values():
            first, *others = sorted(some, key=lambda one: (-one.layer, one.place))
            yield from self._uncovered(overlay, first, sure=not others)
            for one in others:
                self._pairs += [(first.path, one.path), (one.old, one.path)]
                seen = f"'{first.path}' and '{one.path}' lead to one directory"
                yield Fault("redirect-twice", one.layer, one.place, seen, _ASK, one.drop)

    def _uncovered(self, overlay: Overlay, one: _Redirected, *, sure: bool) -> Iterator[Fault]:
        if one.old == one.path or one.layer >= overlay.first_lower:
            return  # it was renamed back; without an upper copy the kernel shows both
        found = look(overlay, one.old)
        found.close()
        below = [part for part in found.parts if part.layer > 0]
        if found.letter != "d" or not below:
            return
        if (below[0].layer, below[0].path) != one.end:
            return
        self._pairs.append((one.old, one.path))
        seen = f"'{one.old}' still shows the directory that '{one.path}' redirects to"
        if found.parts[0].layer > 0:
            mend = cover(overlay, 0, one.old)
            # Where two redirects contradict each other, either may be meant.
            mending = _SAFE if sure and not found.redirects else _ASK
            yield Fault("redirect-uncovered", one.layer, one.place, seen, mending, mend)
        else:  # a directory of the same layer is merged with it
            yield Fault("redirect-twice", one.layer, one.place, seen, _ASK, one.drop)

    def explains(self, one: str, other: str) -> bool:
        """Tell whether two paths, or directories that they are in, are a fault found already."""
        return any(
            (f"{one}/".startswith(f"{a}/") and f"{other}/".startswith(f"{b}/"))
            or (f"{one}/".startswith(f"{b}/") and f"{other}/".startswith(f"{a}/"))
            for a, b in self._pairs
        )


def drop(folder: Folder, name: str) -> tuple[Mend, str | None]:
    """Return the mending that removes a redirect, so that the directory shows its own layer alone.

    Also the type of what layers below have under its name: a directory would be merged.
    """
    prefix, place = folder.resolver.settings.prefix, folder.place(name)
    found = lower.look(folder.resolver, folder.below, name)
    found.close()
    mend = unmark(folder.layer, place, f"{prefix}redirect")
    if found.letter == "d" or found.error:
        mend = both(mark(folder.layer, place, f"{prefix}opaque", b"y"), mend)
    return mend, found.letter


def look(overlay: Overlay, path: str) -> Found:
    """Look a path up without regard to other paths that lead to the same file."""
    directory, found = overlay.root(), Found()
    *above, last = path.split("/")
    try:
        for name in above:
            found = OverlayLookup(overlay, overlay.origins, name).run(directory)
            if found.error or found.letter != "d":
                found.close()
                return Found()
            directory.close()
            directory = overlay.directory(directory, name, found)
        return OverlayLookup(overlay, overlay.origins, last).run(directory)
    finally:
        directory.close()


def cover(overlay: Overlay, layer: int, path: str) -> Mend:
    """Return the mending that puts a whiteout at a path; `overlay` shows the layers from it on."""

    def shown(above: str) -> Found:
        found = look(overlay, above)
        if found.letter != "d":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), above)
        return found

    return lambda mender: mender.cover(layer, path, shown)

"""aufs's whiteouts and opaque directories: `.wh.NAME` and `.wh..wh..opq`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from layerctl.inspecting.resolvers.aufs import OPAQUE, PREFIX, Aufs, is_whiteout
from layerctl.inspecting.resolvers.markers import (
    INSIDE_OPAQUE,
    MADE_NEW,
    NOTHING_BELOW,
    Covered,
    Places,
    Whiteout,
    directories_in,
    only_directories,
)
from layerctl.inspecting.resolvers.tree import Entry, MergedDir, Part, noun
from layerctl.kernel import layers
from layerctl.model import Stack


class AufsMarkers:
    """Reads the markers of an aufs (see `markers.MarkerReader`)."""

    def __init__(self, resolver: Aufs, stack: Stack, places: Places) -> None:
        self._resolver = resolver
        self._honours = resolver.settings.honours
        self._stack = stack
        self._places = places

    def read(self, directory: MergedDir) -> list[Entry]:
        """Read markers and what they may hide; return the directories, sorted."""
        if len(directory.parts) > 1:
            return only_directories(self._resolver.read(directory))
        (part,) = directory.parts
        self._scan(part)
        return [(name, part.names[name]) for name in sorted(self.directories(part))]

    def _scan(self, part: Part) -> None:
        """Read the markers and directories of one part."""
        table = self._resolver.kinds.table(part.layer)
        try:
            part.names = layers.scan_markers(part.fd, table, PREFIX)
        except OSError as error:
            self._resolver.reasons.add(part.layer, part.path, error)

    # Whiteouts

    def inside(self, directory: MergedDir) -> list[Whiteout]:
        """Return the whiteouts in a directory that was read."""
        found: list[Whiteout] = []
        for position, part in enumerate(directory.parts):
            place = self._places.path(part) + "/"
            for name in sorted(filter(is_whiteout, part.names)):
                found.append(self._whiteout(directory, position, name, place + name))
        return found

    def _whiteout(self, directory: MergedDir, position: int, name: str, marker: str) -> Whiteout:
        layer = directory.parts[position].layer
        hidden = name[len(PREFIX) :]
        path = directory.child_path(hidden)
        if not self._honours[layer]:
            return Whiteout(path, marker, layer, "aufs", (), "no", self._not_honoured(layer))
        covered = self._above(directory, position, hidden)
        if covered is not None:
            return Whiteout(path, marker, layer, "aufs", (), "no", covered[1], covered[0])
        below = self._below(directory, position, hidden)
        if not below and directory.opaque == layer:
            return Whiteout(path, marker, layer, "aufs", (), "no", INSIDE_OPAQUE, layer)
        if not below:
            return Whiteout(path, marker, layer, "aufs", (), "no", NOTHING_BELOW)
        hides, what = self._places.words(below)
        return Whiteout(path, marker, layer, "aufs", hides, "yes", f"hides {what}")

    def _whites_out(self, part: Part, name: str) -> bool:
        """Tell whether a part has a whiteout for a name, and it counts."""
        return self._honours[part.layer] and PREFIX + name in part.names

    def _not_honoured(self, layer: int) -> str:
        permission = self._stack.layers[layer].permission
        return f"its branch is {permission}, and without +wh its whiteouts have no effect"

    def _above(self, directory: MergedDir, position: int, name: str) -> tuple[int, str] | None:
        """Return what in a higher layer keeps a lookup from reaching this marker."""
        above = directory.parts[:position]
        for part in above:
            if self._whites_out(part, name):
                return part.layer, f"a whiteout in layer {part.layer} already hides the name"
        for part in above:
            kind = part.names.get(name)
            if kind is None:
                continue
            if kind.letter != "d":
                return part.layer, f"the {noun(kind.letter)} in layer {part.layer} covers the name"
            if self._has(f"{name}/{OPAQUE}", part):
                return part.layer, f"the directory in layer {part.layer} is opaque"
        return None

    def _below(self, directory: MergedDir, position: int, name: str) -> tuple[Covered, ...]:
        """Return what is below with that name and would show, or be merged."""
        found: list[Covered] = []
        under = any(
            kind is not None and kind.letter == "d"
            for kind in [part.names.get(name) for part in directory.parts[:position]]
        )
        for part in directory.parts[position + 1 :]:
            if self._whites_out(part, name):
                break
            kind = part.names.get(name)
            if kind is None:
                continue
            if kind.letter == "d" or not under:
                found.append((kind.letter, part.layer))
        return tuple(found)

    def _has(self, name: str, part: Part) -> bool:
        try:
            return layers.status(name, part.fd) is not None
        except OSError as error:
            self._resolver.reasons.add(part.layer, part.path, error)
            return False

    # Opaque directories

    def on_root(self, root: MergedDir) -> Iterator[Whiteout]:
        """Yield markers in the root directories of branches, which have no effect."""
        reason = "aufs ignores it in the root directory of a branch"
        for part in root.parts:
            if self._has(OPAQUE, part):
                marker = self._places.path(part, OPAQUE)
                yield Whiteout("", marker, part.layer, "opaque", (), "no", reason)

    def directories(self, part: Part) -> Iterable[str]:
        """Return the names of a part's directories; those of aufs's own are none."""
        return [
            name
            for name, kind in part.names.items()
            if kind.letter == "d" and not name.startswith(PREFIX)
        ]

    def may_bear(self, _directory: MergedDir) -> bool:
        """Return True: only reading the directory shows whether it has a marker."""
        return True

    def on_directory(
        self, directory: MergedDir, name: str, below: MergedDir | None
    ) -> Iterator[Whiteout]:
        """Yield the opaque markers of `below`, the merged directory `name` of `directory`."""
        if below is None:
            return
        for part in below.parts:
            if not self._has(OPAQUE, part):
                continue
            hides: tuple[int, ...] = ()
            effect = "no"
            if not self._honours[part.layer]:
                reason = self._not_honoured(part.layer)
            elif below.opaque != part.layer:
                reason = (
                    f"the directory in layer {below.opaque} is also opaque, and takes precedence"
                )
            else:
                hides = self._directories_below(directory, name, part.layer)
                effect = "yes" if hides else "no"
                reason = f"hides what {directories_in(hides)} holds" if hides else MADE_NEW
            marker = self._places.path(part, OPAQUE)
            path = directory.child_path(name)
            yield Whiteout(path, marker, part.layer, "opaque", hides, effect, reason)

    def _directories_below(self, directory: MergedDir, name: str, layer: int) -> tuple[int, ...]:
        """Return the layers whose directories would be merged here, were it not opaque."""
        found: list[int] = []
        for part in directory.parts:
            if part.layer <= layer:
                continue
            if self._whites_out(part, name):
                break
            kind = part.names.get(name)
            if kind is not None and kind.letter == "d":
                found.append(part.layer)
        return tuple(found)

    # What the merged tree does not show

    def moved(self, directory: MergedDir, name: str, below: MergedDir) -> Iterable[Part]:
        """Return nothing: aufs has no redirects."""
        return ()

    def hider(self, directory: MergedDir, name: str, layer: int) -> tuple[str, int] | None:
        """Return what excludes the directory `name` of `layer`, as text, and its layer.

        Below a directory, aufs skips anything else.
        """
        under = False
        for above in directory.parts:
            if above.layer >= layer:
                break
            if self._whites_out(above, name):
                return f"the whiteout in layer {above.layer}", above.layer
            kind = above.names.get(name)
            if kind is not None and kind.letter != "d" and not under:
                return f"the {noun(kind.letter)} in layer {above.layer}", above.layer
            under = under or kind is not None
            if self._has(f"{name}/{OPAQUE}", above):
                return f"the opaque directory in layer {above.layer}", above.layer
        return None

    def unseen(self, part: Part, reason: str, by: int | None) -> list[Whiteout]:
        """Read a directory that is not shown, and return the markers on and in it."""
        self._scan(part)
        found: list[Whiteout] = []
        for name in sorted(part.names):
            marker = self._places.path(part, name)
            if name == OPAQUE:
                path = part.path
                found.append(Whiteout(path, marker, part.layer, "opaque", (), "no", reason, by))
            elif is_whiteout(name):
                path = f"{part.path}/{name[len(PREFIX) :]}"
                found.append(Whiteout(path, marker, part.layer, "aufs", (), "no", reason, by))
        return found

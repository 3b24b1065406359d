"""Whiteouts and opaque directories of overlay, and names that only look like them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from layerctl.inspecting.resolvers import aufs
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
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.tree import Entry, EntryKind, MergedDir, Part, noun
from layerctl.kernel import layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER


class OverlayMarkers:
    """Reads the markers of an overlay (see `markers.MarkerReader`)."""

    def __init__(self, resolver: Overlay, places: Places, *, thorough: bool) -> None:
        self._resolver = resolver
        self._places = places
        self._thorough = thorough
        self._prefix = resolver.settings.prefix
        resolver.reads_all = True

    def read(self, directory: MergedDir) -> list[Entry]:
        """Read markers and what they may hide; return the directories, sorted.

        The lowest part usually has most files, and only names that a higher part has too matter.
        """
        parts = directory.parts
        if len(parts) > 1 and (self._thorough or directory.xattr_whiteouts):
            return only_directories(self._resolver.read(directory))
        above: dict[str, EntryKind] = {}
        for position in range(len(parts) - 2, -1, -1):
            self._resolver.scan(directory, position)
            names = parts[position].names
            above = above | names if above else names
        self._read_lowest(directory, above)
        names = parts[-1].names
        found = [item for item in names.items() if item[1].letter == "d" and item[0] not in above]
        found += only_directories(above.items())
        found.sort()
        return found

    def _read_lowest(self, directory: MergedDir, above: dict[str, EntryKind]) -> None:
        resolver, part = self._resolver, directory.parts[-1]
        if part.fd < 0:
            return
        table = resolver.table(directory, len(directory.parts) - 1)
        files: list[str] | None = [] if self._thorough else None
        try:
            part.names = layers.scan_markers(part.fd, table, aufs.PREFIX, above, files)
        except OSError as error:
            resolver.reasons.add(part.layer, part.path, error)
            return
        if files:
            hides = directory.whiteouts and resolver.looks_up(directory, part)
            wanted = (f"{self._prefix}whiteout",)
            for name in layers.with_attributes(part.fd, files, wanted, resolver.unread(part)):
                if self._is_xattr(part, name, table["f"]):
                    part.names[name] = resolver.xattr_whiteout(part, table["f"], hides=hides)

    # Whiteouts

    def inside(self, directory: MergedDir) -> list[Whiteout]:
        """Return the whiteouts in a directory that was read."""
        found: list[Whiteout] = []
        for position, part in enumerate(directory.parts):
            suspects = [
                name
                for name, kind in part.names.items()
                if kind.letter == "w" or not kind.reachable or name.startswith(aufs.PREFIX)
            ]
            if suspects:
                place = self._places.path(part) + "/"
                for name in sorted(suspects):
                    if name.startswith(aufs.PREFIX):
                        found.append(_foreign(directory, part, name, place + name))
                    kind = part.names[name]
                    if kind.letter == "w" or self._is_xattr(part, name, kind):
                        found.append(self._whiteout(directory, position, name, place + name))
        return found

    def _is_xattr(self, part: Part, name: str, kind: EntryKind) -> bool:
        if kind.letter != "f":
            return False
        try:
            return self._resolver.is_xattr_whiteout(name, part.fd)
        except OSError as error:
            self._resolver.reasons.add(part.layer, f"{part.path}/{name}", error)
            return False

    def _whiteout(self, directory: MergedDir, position: int, name: str, marker: str) -> Whiteout:
        part = directory.parts[position]
        kind = part.names[name]
        sort = "xattr" if kind.letter == "f" or kind.by_attribute else "chardev"
        path = directory.child_path(name)
        covered = self._above(directory, position, name) if position else None
        if covered is not None:
            by, why = covered
            return Whiteout(path, marker, part.layer, sort, (), "no", why, by)
        hidden = _below(directory, position, name)
        if not hidden and directory.opaque == part.layer:
            return Whiteout(path, marker, part.layer, sort, (), "no", INSIDE_OPAQUE, part.layer)
        if not hidden:
            if not kind.reachable and sort == "chardev":
                return Whiteout(path, marker, part.layer, sort, (), "lookup-only", kind.why)
            return Whiteout(path, marker, part.layer, sort, (), "no", NOTHING_BELOW)
        hides, what = self._places.words(hidden)
        if not kind.reachable:
            reason = f"hides {what} from lookups, but a listing shows the marker itself"
            return Whiteout(path, marker, part.layer, sort, hides, "lookup-only", reason)
        return Whiteout(path, marker, part.layer, sort, hides, "yes", f"hides {what}")

    def _above(self, directory: MergedDir, position: int, name: str) -> tuple[int, str] | None:
        """Return what in a higher layer keeps a lookup from reaching this marker."""
        for part in directory.parts[:position]:
            kind = part.names.get(name)
            if kind is None:
                continue
            if kind.letter == "w" or not kind.reachable:
                return part.layer, f"a whiteout in layer {part.layer} already hides the name"
            if kind.letter != "d":
                return part.layer, f"the {noun(kind.letter)} in layer {part.layer} covers the name"
            if self._is_opaque(part, name):
                return part.layer, f"the directory in layer {part.layer} is opaque"
        return None

    def _is_opaque(self, part: Part, name: str) -> bool:
        """Tell whether the directory `name` in a part is opaque."""
        try:
            return layers.attribute(f"{self._prefix}opaque", part.fd, name) == b"y"
        except OSError as error:
            self._resolver.reasons.add(part.layer, f"{part.path}/{name}", error)
            return False

    # Opaque directories

    def on_root(self, root: MergedDir) -> Iterator[Whiteout]:
        """Yield markers on the root directories of layers, where `y` has no effect."""
        reason = "it is on the root directory of a layer, and the root always merges all layers"
        for part in root.parts:
            if self._bears_opaque(part):
                marker = self._places.path(part)
                yield Whiteout("", marker, part.layer, "opaque", (), "no", reason)
            yield from self._strange(part, "")

    def _bears_opaque(self, part: Part) -> bool:
        return "opaque" in part.attributes and self._reads_y(part)

    def _reads_y(self, part: Part) -> bool:
        try:
            return self._resolver.value("opaque", part.fd) == b"y"
        except OSError as error:
            self._resolver.reasons.add(part.layer, part.path, error)
            return False

    def directories(self, part: Part) -> Iterable[str]:
        """Return the names of a part's directories."""
        return [name for name, kind in part.names.items() if kind.letter == "d"]

    def may_bear(self, directory: MergedDir) -> bool:
        """Tell whether a directory of one layer may have a marker itself."""
        part = directory.parts[0]
        return bool(part.attributes or part.strange)

    def on_directory(
        self, directory: MergedDir, name: str, below: MergedDir | None
    ) -> Iterator[Whiteout]:
        """Yield the opaque markers of `below`, the merged directory `name` of `directory`."""
        for part in below.parts if below is not None else ():
            if self._bears_opaque(part):
                hides = _directories_below(directory, name, part.layer)
                reason = f"hides what {directories_in(hides)} holds" if hides else MADE_NEW
                yield Whiteout(
                    directory.child_path(name), self._places.path(part), part.layer, "opaque",
                    hides, "yes" if hides else "no", reason,
                )  # fmt: skip
            if part.strange:
                yield from self._strange(part, directory.child_path(name))

    def _strange(self, part: Part, path: str) -> Iterator[Whiteout]:
        """Yield opaque markers in a spelling that this mount does not read."""
        ours = self._prefix
        other = USER if ours == TRUSTED else TRUSTED
        for name in part.strange:
            if name == f"{other}opaque":
                reason = f"{name} means nothing here: this mount reads {ours}*"
            elif name == f"{ours}overlay.opaque":
                reason = "escaped: it belongs to an overlay inside this one"
            elif name == f"{FUSE}opaque":
                reason = "fuse-overlayfs's own mark, which the kernel does not read"
            else:
                continue
            marker = self._places.path(part)
            yield Whiteout(path, marker, part.layer, "opaque", (), "no", reason)

    # What the merged tree does not show

    def moved(self, directory: MergedDir, name: str, below: MergedDir) -> Iterable[Part]:
        """Return the parts of the merged directory `name` that were found by a redirect."""
        if not any("redirect" in part.attributes for part in below.parts):
            return ()
        places = {
            (part.layer, f"{part.path}/{name}" if part.path else name) for part in directory.parts
        }
        return [part for part in below.parts if (part.layer, part.path) not in places]

    def hider(self, directory: MergedDir, name: str, layer: int) -> tuple[str, int] | None:
        """Return what excludes the directory `name` of `layer`, as text, and its layer."""
        for above in directory.parts:
            if above.layer >= layer:
                break
            kind = above.names.get(name)
            if kind is None:
                continue
            if kind.letter == "d" and self._is_opaque(above, name):
                return f"the opaque directory in layer {above.layer}", above.layer
            if kind.letter == "w":
                return f"the whiteout in layer {above.layer}", above.layer
            if kind.letter != "d":
                return f"the {noun(kind.letter)} in layer {above.layer}", above.layer
        return None

    def unseen(self, part: Part, reason: str, by: int | None) -> list[Whiteout]:
        """Read a directory that is not shown, and return the markers on and in it."""
        found: list[Whiteout] = []

        def add(kind: str, hides: str, *names: str) -> None:
            marker = self._places.path(part, *names)
            found.append(Whiteout(hides, marker, part.layer, kind, (), "no", reason, by))

        self._scan(part)
        if self._reads_y(part):
            add("opaque", part.path)
        for name, kind in sorted(part.names.items()):
            if name == aufs.OPAQUE:
                add("opaque", part.path, name)
            elif aufs.is_whiteout(name):
                add("aufs", f"{part.path}/{name[len(aufs.PREFIX) :]}", name)
            elif kind.letter == "w":
                add("chardev", f"{part.path}/{name}", name)
            elif self._thorough and self._is_xattr(part, name, kind):
                add("xattr", f"{part.path}/{name}", name)
        return found

    def _scan(self, part: Part) -> None:
        table = self._resolver.kinds.table(part.layer)
        try:
            if self._thorough:
                part.names = layers.scan(part.fd, table)
            else:
                part.names = layers.scan_markers(part.fd, table, aufs.PREFIX)
        except OSError as error:
            self._resolver.reasons.add(part.layer, part.path, error)


def _foreign(directory: MergedDir, part: Part, name: str, marker: str) -> Whiteout:
    """An aufs or fuse-overlayfs marker in an overlay, where it is a file like any other."""
    reason = "a file like any other to overlay: .wh. names mean something to aufs alone"
    if name == aufs.OPAQUE:
        return Whiteout(directory.path, marker, part.layer, "opaque", (), "no", reason)
    path = directory.child_path(name[len(aufs.PREFIX) :])
    return Whiteout(path, marker, part.layer, "aufs", (), "no", reason)


def _below(directory: MergedDir, position: int, name: str) -> tuple[Covered, ...]:
    """Return what is below with that name and would show, or be merged.

    Another whiteout ends it, and so does a non-directory below a directory.
    """
    parts = directory.parts
    found: list[Covered] = []
    under = position > 0 and any(
        kind is not None and kind.letter == "d"
        for kind in [part.names.get(name) for part in parts[:position]]
    )
    for part in parts[position + 1 :]:
        kind = part.names.get(name)
        if kind is None:
            continue
        if kind.letter == "w" or (under and kind.letter != "d"):
            break
        found.append((kind.letter, part.layer))
        if not kind.reachable:
            break  # a whiteout that a listing shows
    return tuple(found)


def _directories_below(directory: MergedDir, name: str, layer: int) -> tuple[int, ...]:
    """Return the layers whose directories would be merged here, were it not opaque."""
    found: list[int] = []
    for part in directory.parts:
        kind = part.names.get(name)
        if part.layer <= layer or kind is None:
            continue
        if kind.letter != "d":
            break
        found.append(part.layer)
    return tuple(found)

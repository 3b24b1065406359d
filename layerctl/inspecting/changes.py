"""What the upper layers changed in the tree below them.

Two merged trees are compared, of all layers and of the lower ones, but only where an upper layer
has something. Files are compared by metadata first; their contents are read only if size and time
do not decide (or always, if requested).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from layerctl.inspecting.comparing import (
    Verdict,
    attributes_differ,
    compare_files,
    is_open,
    owner_and_mode,
    special_differs,
    what_differs,
)
from layerctl.inspecting.filters import Paths
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.resolver import Reasons, find_directory
from layerctl.inspecting.resolvers.tree import Entry, EntryKind, MergedDir, Part
from layerctl.inspecting.walk import Node, Search
from layerctl.kernel import layers
from layerctl.model import Role


class LayerChange(NamedTuple):
    """One change: `change` is added, modified, metadata, deleted, replaced, renamed or unchanged.

    `unchanged` is a copy-up without changes. `layer` made the change; `type` is the type now and
    `was` the type before, None for nothing. `differs` lists the differences; `source` is the path
    before it, or a directory above it, was renamed.
    """

    path: str
    change: str
    type: str | None
    was: str | None
    layer: int
    differs: tuple[str, ...] = ()
    source: str | None = None


class Changes(Search[list[LayerChange]]):
    """The changes of the layers from `top` to above `since` to the tree of those from `since` on.

    Deletions come last, since only then it is known what was renamed. `wanted` are the paths to
    report, by the name now or before.
    """

    heavy = True

    def __init__(
        self,
        opened: Opened,
        since: int,
        *,
        content: bool,
        top: int = 0,
        wanted: Paths | None = None,
    ) -> None:
        whole = opened.resolver
        self.now = whole.below(top) if top else whole
        self.was = whole.below(since)
        super().__init__(whole.reasons, max(2, layers.directories_at_once(2 * len(whole.roots))))
        self._since = since - top
        self.top = top
        self._wanted = wanted
        self._is_lowest = since == len(opened.stack.layers) - len(opened.stack.of_role(Role.DATA))
        self._content = content
        self._deleted: list[LayerChange] = []
        self._sources: set[str] = set()

    def root(self) -> Node[list[LayerChange]]:
        """Return the roots of both trees."""
        return _Pair(self, self.now.root(), None if self._is_lowest else self.was.root())

    def told(self, changes: list[LayerChange]) -> list[LayerChange]:
        """Return the changes that are wanted, with the layers numbered from the topmost."""
        if self.top:
            changes = [one._replace(layer=one.layer + self.top) for one in changes]
        if self._wanted is None:
            return changes
        return [one for one in changes if self._wants(one, self._wanted)]

    @staticmethod
    def _wants(change: LayerChange, wanted: Paths) -> bool:
        names = [change.path] if change.source is None else [change.path, change.source]
        whole = change.change in ("deleted", "replaced", "renamed")  # with all below it
        return any(wanted.wants(name) or (whole and wanted.lie_in(name)) for name in names)

    def state(self) -> tuple[object, ...]:
        """Return, in the second process of a shared walk, the state that the first needs."""
        return (*super().state(), self._deleted, self._sources)

    def merge(self, reasons: Reasons, *rest: Any) -> None:
        """Take, in the first process, the `state` of the second."""
        super().merge(reasons)
        deleted, sources = rest
        known = {change.path for change in self._deleted}
        self._deleted += [change for change in deleted if change.path not in known]
        self._sources |= sources

    def rest(self) -> Iterator[list[LayerChange]]:
        """Yield the deletions."""
        deleted = sorted(self._deleted, key=lambda change: change.path)
        yield self.told([one for one in deleted if (one.source or one.path) not in self._sources])

    def read(self, pair: _Pair) -> list[Entry]:
        """Read both directories of a pair, and note what was deleted in them."""
        entries = self.now.read(pair.now)
        if pair.was is not None:
            self._spare_reading(pair.now, pair.was)
            pair.before = dict(self.was.read(pair.was))
            self._note_deleted(pair.now, pair.was, {name for name, _ in entries}, pair.before)
        return entries

    def _spare_reading(self, now: MergedDir, was: MergedDir) -> None:
        """Avoid reading directories twice that were read as part of the current tree."""
        read = {} if now.xattr_whiteouts else {(one.layer, one.path): one for one in now.parts}
        for part in was.parts:
            part.twin = read.get((part.layer + self._since, part.path))

    def _note_deleted(
        self, now: MergedDir, was: MergedDir, names: set[str], before: dict[str, EntryKind]
    ) -> None:
        for name, kind in before.items():
            if name in names:
                continue
            layer = 0
            for part in now.parts:
                if part.layer < self._since:
                    layer = part.layer
                    if self.now.acts_on(part, name):
                        break
            path, old = now.child_path(name), was.child_path(name)
            source = None if old == path else old
            self._deleted.append(LayerChange(path, "deleted", None, kind.type, layer, (), source))

    def compare(
        self, pair: _Pair, name: str, kind: EntryKind
    ) -> tuple[LayerChange | None, _Pair | None]:
        """Return the changes of a name, and the directories to descend into."""
        if kind.letter == "d":
            return self._directory(pair, name, kind)
        return (self._other(pair, name, kind) if kind.layer < self._since else None), None

    # Directories

    def _directory(
        self, pair: _Pair, name: str, kind: EntryKind
    ) -> tuple[LayerChange | None, _Pair | None]:
        if kind.layer >= self._since and all(p.layer >= self._since for p in pair.now.parts):
            return None, None
        whole, now = self.now.enter(pair.now, name, kind)
        path = pair.now.child_path(name)
        before = pair.before.get(name)
        was_type = None if before is None else before.type
        if now is None or now.parts[0].layer >= self._since:
            if now is not None:
                now.close()
            if whole is None or kind.layer >= self._since or before is not None:
                return None, None
            return LayerChange(path, "added", "dir", was_type, kind.layer), None
        source = self._source(pair, name, now)
        layer = now.parts[0].layer
        if source is not None:
            self._sources.add(source)
            was = find_directory(self.was, source)
            change: LayerChange | None = LayerChange(
                path, "renamed", "dir", was_type, layer, (), source
            )
        elif before is None:
            was, change = None, LayerChange(path, "added", "dir", None, layer)
        elif before.letter != "d":
            was, change = None, LayerChange(path, "replaced", "dir", was_type, layer)
        else:
            _, was = self.was.enter(pair.was or pair.now, name, before)
            differs = self._directory_differs(now, was) if was is not None else ()
            change = (
                LayerChange(path, "metadata", "dir", "dir", layer, differs) if differs else None
            )
        return change, _Pair(self, now, was)

    def _source(self, pair: _Pair, name: str, now: MergedDir) -> str | None:
        """Return the path of a directory before it was renamed, or None."""
        if not any("redirect" in p.attributes for p in now.parts if p.layer < self._since):
            return None
        found = self.now.lookup(pair.now, name)
        found.close()
        targets = [target for layer, target in found.redirects if layer < self._since]
        if not targets or not any(part.layer >= self._since for part in now.parts):
            return None
        return self._from_redirect(pair, targets[-1])

    @staticmethod
    def _from_redirect(pair: _Pair, target: str) -> str:
        if target.startswith("/"):
            return target[1:]
        base = pair.was.path if pair.was is not None else pair.now.path
        return f"{base}/{target}" if base else target

    def _directory_differs(self, now: MergedDir, was: MergedDir) -> tuple[str, ...]:
        """Compare two directories; their times only show that something in them was changed."""
        try:
            one, other = os.fstat(now.parts[0].fd), os.fstat(was.parts[0].fd)
            differs = owner_and_mode(one, other)
            if not differs and attributes_differ(now.parts[0].fd, None, was.parts[0].fd, None):
                differs = ("xattrs",)
        except OSError as error:
            self.now.reasons.add(now.parts[0].layer, now.path, error)
            return ()
        return differs

    # Everything else

    def _other(self, pair: _Pair, name: str, kind: EntryKind) -> LayerChange | None:
        path = pair.now.child_path(name)
        before = pair.before.get(name)
        now_type = kind.type
        was_type = None if before is None else before.type
        source = self._file_source(pair, name, kind)
        if source is not None:
            self._sources.add(source)
            return LayerChange(path, "renamed", now_type, was_type, kind.layer, (), source)
        if before is None:
            return LayerChange(path, "added", now_type, None, kind.layer)
        if before.letter != kind.letter:
            return LayerChange(path, "replaced", now_type, was_type, kind.layer)
        now = part_of(pair.now, kind.layer)
        was = part_of(pair.was, before.layer) if pair.was is not None else None
        if now is None or was is None:
            return None
        try:
            change, differs = self._compare(pair, name, kind, now, was)
        except OSError as error:
            self.now.reasons.add(kind.layer, path, error)
            return None
        return LayerChange(path, change, now_type, now_type, kind.layer, differs)

    def _file_source(self, pair: _Pair, name: str, kind: EntryKind) -> str | None:
        """Return the path of a metacopy file before it was renamed."""
        if kind.letter != "f" or not self.now.metacopies:
            return None
        part = part_of(pair.now, kind.layer)
        if part is None or not self.now.is_metacopy(part, name):
            return None
        found = self.now.lookup(pair.now, name)
        targets = [target for layer, target in found.redirects if layer < self._since]
        if found.error or not targets:
            return None
        return self._from_redirect(pair, targets[-1])

    def _compare(self, pair: _Pair, name: str, kind: EntryKind, now: Part, was: Part) -> Verdict:
        if kind.letter == "f" and not self.now.metacopies:
            verdict = compare_files(name, now.fd, was.fd, content=self._content)
            if verdict is not None:
                return verdict
        one = os.stat(name, dir_fd=now.fd, follow_symlinks=False)
        other = os.stat(name, dir_fd=was.fd, follow_symlinks=False)
        if os.path.samestat(one, other):
            return "unchanged", ()
        differs = what_differs(one, other)
        what = ""
        if not stat.S_ISREG(one.st_mode):
            what = special_differs(name, now, was, one, other)
        elif one.st_size != other.st_size:
            what = "size"
        elif one.st_size and (self._content or is_open(one, other)):
            what = self._content_differs(pair, name, now, was, one.st_size)
        if what:
            return "modified", (what, *differs)
        if not differs and attributes_differ(now.fd, name, was.fd, name):
            differs = ("xattrs",)
        return ("metadata" if differs else "unchanged"), differs

    def _content_differs(self, pair: _Pair, name: str, now: Part, was: Part, size: int) -> str:
        """Compare the contents of two files of the same size; return `content` or nothing."""
        if self.now.is_metacopy(now, name):
            return ""
        if self.now.is_metacopy(was, name):
            return self._against_data(pair, name, now, size)
        return "" if layers.same_content(name, now.fd, name, was.fd, size) else "content"

    def _against_data(self, pair: _Pair, name: str, now: Part, size: int) -> str:
        """Compare a file with one whose contents are in yet another layer."""
        if pair.was is None:
            return ""
        found = self.was.lookup(pair.was, name)
        if found.data is None:
            return "content"
        layer, place = found.data
        above, _, base = place.rpartition("/")
        fd = layers.open_path(above, self.was.roots[layer])
        try:
            return "" if layers.same_content(name, now.fd, base, fd, size) else "content"
        finally:
            os.close(fd)


class _Pair(Node[list[LayerChange]]):
    """A directory now and before; `was` is None if there was none."""

    __slots__ = ("_entries", "_search", "before", "now", "was")

    def __init__(self, search: Changes, now: MergedDir, was: MergedDir | None) -> None:
        super().__init__()
        self._search = search
        self.now = now
        self.was = was
        self.before: dict[str, EntryKind] = {}

    def _find(self) -> Iterator[list[LayerChange] | Node[list[LayerChange]]]:
        self._entries = self._search.read(self)
        found: list[LayerChange] = []
        for name, kind in self._entries:
            change, below = self._search.compare(self, name, kind)
            if change is not None:
                found.append(change)
            if below is not None:
                yield self._search.told(found)
                found = []
                yield below
        yield self._search.told(found)

    def close(self) -> None:
        self.now.close()
        if self.was is not None:
            self.was.close()

    def reopen(self, above: _Pair | None) -> None:
        self._search.now.reopen(self.now, None if above is None else above.now)
        if self.was is not None:
            self._search.was.reopen(self.was, None if above is None else above.was)

    def width(self) -> int:
        return sum(kind.letter == "d" for _, kind in self._entries)


def part_of(directory: MergedDir | None, layer: int) -> Part | None:
    """Return one layer's part of a directory."""
    if directory is not None:
        for part in directory.parts:
            if part.layer == layer:
                return part if part.fd >= 0 else None
    return None

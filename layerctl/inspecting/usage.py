"""The disk usage of each layer, and how much of it the merged tree does not use.

Blocks of inodes are counted (st_blocks), as in du(1): holes take no space, metacopy files almost
none, and hard links in one layer count once, for the first name. The merged tree is walked once,
with every part of every directory; what it does not show is walked afterwards, layer by layer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from layerctl.inspecting.comparing import is_open
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.resolver import Reasons
from layerctl.inspecting.resolvers.tree import Entry, EntryKind, MergedDir, Part
from layerctl.inspecting.sharing import shared
from layerctl.inspecting.tally import Count, Inode, Item, Tally, key_of
from layerctl.inspecting.walk import Node, Search
from layerctl.kernel import layers
from layerctl.model import Role


class _Hidden(NamedTuple):
    """A directory of one layer, at `place` in it, that the merged tree does not show."""

    layer: int
    place: str
    item: Item


class Usage(Search[list[Count]]):
    """Counts what the layers of a stack take up, and keeps the `top` largest paths."""

    heavy = True

    def __init__(self, opened: Opened, *, top: int = 0) -> None:
        resolver = opened.resolver
        super().__init__(resolver.reasons, layers.directories_at_once(len(resolver.roots)))
        self.resolver = resolver
        self._markers = resolver.marker_prefix
        self._data = [n for n, one in enumerate(opened.stack.layers) if one.role is Role.DATA]
        self._prefix = opened.prefix
        #: Whether a file that is not shown may still have the data of one that is.
        self._lends = resolver.metacopies or bool(self._data)
        self.tally = Tally(len(opened.layers), top)
        self._hidden: dict[tuple[int, str], _Hidden] = {}
        self._moved: set[tuple[int, str]] = set()

    def root(self) -> Node[list[Count]]:
        """Return the root of the merged tree."""
        return _Counted(self, self.resolver.root())

    def state(self) -> tuple[object, ...]:
        """Return, in the second process of a shared walk, the state that the first needs."""
        return (*super().state(), self._hidden, self._moved, self.tally)

    def merge(self, reasons: Reasons, *rest: Any) -> None:
        """Take, in the first process, the `state` of the second; both may have met the same."""
        super().merge(reasons)
        hidden, moved, tally = rest
        self._hidden |= hidden
        self._moved |= moved
        self.tally.merge(tally)

    # One directory of the merged tree

    def count(self, directory: MergedDir, entries: list[Entry]) -> list[Count]:
        """Count what every layer has in a directory, without subdirectories."""
        parts = [part for part in directory.parts if part.fd >= 0]
        if len(directory.parts) == 1 and not self._lends and not self._markers:
            return [self._count_alone(directory, part) for part in parts]
        shown = dict(entries)
        below: dict[str, tuple[Part, os.stat_result]] = {}
        return [self._count_part(directory, part, shown, below) for part in reversed(parts)]

    def _count_alone(self, directory: MergedDir, part: Part) -> Count:
        """Count a directory of only one layer, which shows everything, as most do."""
        number, blocks = 1, os.fstat(part.fd).st_blocks
        fd, floor, look = part.fd, self.tally.floor, os.stat
        for name, kind in part.names.items():
            if kind.letter == "d":
                continue
            try:
                status = look(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                self._unread(part, name, error)
                continue
            number += 1
            if status.st_blocks > floor or status.st_nlink > 1:
                item = Item(status.st_blocks, directory.child_path(name), part.layer, "shown")
                if status.st_nlink > 1:
                    self.tally.meet(key_of(part.layer, status), Inode(shown=True, item=item))
                    continue
                self.tally.keep(item)
                floor = self.tally.floor
            blocks += status.st_blocks
        return Count(part.layer, number, blocks)

    def _count_part(
        self,
        directory: MergedDir,
        part: Part,
        shown: dict[str, EntryKind],
        below: dict[str, tuple[Part, os.stat_result]],
    ) -> Count:
        """Count one part; `below` are the topmost files of the parts below it."""
        number, blocks, hidden, copied = 1, os.fstat(part.fd).st_blocks, 0, 0
        self._note_used(directory, part, shown)
        for name, kind in part.names.items():
            if self._markers and name.startswith(self._markers):
                blocks += self._marker(part, name, kind)
                continue
            seen = shown.get(name)
            if kind.letter == "d":
                below.pop(name, None)
                if seen is None or seen.letter != "d":
                    self._hide(directory, part, name, seen)
                continue
            try:
                status = os.stat(name, dir_fd=part.fd, follow_symlinks=False)
            except OSError as error:
                self._unread(part, name, error)
                continue
            number += 1
            is_shown = (seen is not None and seen.layer == part.layer) or kind.letter == "w"
            is_copy = name in below and self._is_copy(name, part, status, *below[name])
            below[name] = part, status
            item = self._item(directory, part, name, status.st_blocks, seen, shown=is_shown)
            if status.st_nlink > 1 or (self._lends and not is_shown):
                self.tally.meet(key_of(part.layer, status), Inode(is_shown, item, is_copy))
                continue
            blocks += status.st_blocks
            hidden += 0 if is_shown else status.st_blocks
            copied += status.st_blocks if is_copy else 0
            self.tally.keep(item)
        return Count(part.layer, number, blocks, hidden, copied)

    def _item(
        self,
        directory: MergedDir,
        part: Part,
        name: str,
        blocks: int,
        seen: EntryKind | None,
        *,
        shown: bool,
    ) -> Item:
        """Describe a name of a part; `seen` is what the merged tree has of that name."""
        path = directory.child_path(name)
        if shown:
            return Item(blocks, path, part.layer, "shown")
        if seen is not None and seen.layer == part.layer:
            return Item(blocks, path, part.layer, "unreachable")
        if seen is not None:
            return Item(blocks, path, part.layer, "replaced", seen.layer)
        by = None
        for one in directory.parts:
            if one.layer < part.layer and self.resolver.acts_on(one, name):
                by = one.layer
                break
        return Item(blocks, path, part.layer, "deleted", by)

    def _is_copy(
        self, name: str, part: Part, now: os.stat_result, lower: Part, was: os.stat_result
    ) -> bool:
        """Tell whether a file has the same contents as the version below it.

        A copy-up keeps the mtime; if it differs, the files are read.
        """
        if not (stat.S_ISREG(now.st_mode) and stat.S_ISREG(was.st_mode)):
            return False
        if not now.st_blocks or now.st_size != was.st_size:
            return False
        if not is_open(now, was):
            return True
        if not was.st_blocks:  # its contents are elsewhere, or it is one hole
            return False
        try:
            return layers.same_content(name, part.fd, name, lower.fd, now.st_size)
        except OSError as error:
            self._unread(part, name, error)
            return False

    def _note_used(self, directory: MergedDir, part: Part, shown: dict[str, EntryKind]) -> None:
        """Note which files have the data of those that have only metadata in this part."""
        if not self._lends or self._prefix is None:
            return
        names = [
            name for name, kind in part.names.items()
            if kind.letter == "f" and name in shown and shown[name].layer == part.layer
        ]  # fmt: skip
        wanted = f"{self._prefix}metacopy"
        unread = lambda name, error: self._unread(part, name, error)  # noqa: E731
        for name in layers.with_attributes(part.fd, names, (wanted,), unread):
            found = self.resolver.lookup(directory, name)
            found.close()
            for layer, place in (*found.between, *([found.data] if found.data else [])):
                self._use(layer, place)

    def _use(self, layer: int, place: str) -> None:
        above, _, name = place.rpartition("/")
        try:
            fd = layers.open_path(above, self.resolver.roots[layer])
        except OSError as error:
            self._reasons.add(layer, place, error)
            return
        try:
            self.tally.use(key_of(layer, os.stat(name, dir_fd=fd, follow_symlinks=False)))
        except OSError as error:
            self._reasons.add(layer, place, error)
        finally:
            os.close(fd)

    def _marker(self, part: Part, name: str, kind: EntryKind) -> int:
        """Return the blocks of a marker of aufs, which neither shows nor is hidden."""
        if kind.letter == "d":  # what is in it are further names of files, or orphans
            item = Item(0, name, part.layer, "shown")
            self._hidden[part.layer, name] = _Hidden(part.layer, name, item)
            return 0
        status = layers.status(name, part.fd)
        if status is None or status.st_nlink > 1:
            if status is not None:
                item = Item(status.st_blocks, name, part.layer, "shown")
                self.tally.meet(key_of(part.layer, status), Inode(shown=True, item=item))
            return 0
        return status.st_blocks

    # What is not shown

    def note(
        self, directory: MergedDir, name: str, seen: EntryKind, below: MergedDir | None
    ) -> None:
        """Note which parts of the directory `name` are left out, and which were moved there."""
        places = {(p.layer, f"{p.path}/{name}" if p.path else name) for p in directory.parts}
        merged = set() if below is None else {(part.layer, part.path) for part in below.parts}
        self._moved |= merged - places
        for part in directory.parts:
            kind = part.names.get(name)
            place = f"{part.path}/{name}" if part.path else name
            if kind is not None and kind.letter == "d" and (part.layer, place) not in merged:
                self._hide(directory, part, name, seen)

    def _hide(self, directory: MergedDir, part: Part, name: str, seen: EntryKind | None) -> None:
        place = f"{part.path}/{name}" if part.path else name
        item = self._item(directory, part, name, 0, seen, shown=False)
        self._hidden[part.layer, place] = _Hidden(part.layer, place, item)

    def rest(self) -> Iterator[list[Count]]:
        """Yield the counts of what the merged tree does not show, once that was walked."""
        for layer in self._data:
            self._hidden[layer, ""] = _Hidden(layer, "", Item(0, "", layer, "unused"))
        for hidden in self._hidden.values():
            count = self._count_below(hidden)
            yield [count]
            if count.hidden:
                self.tally.keep(hidden.item._replace(blocks=count.hidden))
        yield self.tally.of_inodes()

    def _count_below(self, hidden: _Hidden) -> Count:
        """Count a directory that is not shown, with all below it but what was moved."""
        layer, root, state = hidden.layer, self.resolver.roots[hidden.layer], hidden.item.state
        number = blocks = files = 0
        waiting = [hidden.place]
        while waiting:
            place = waiting.pop()
            if (layer, place) in self._moved:
                continue
            try:
                fd = layers.open_path(place, root)
            except OSError as error:
                self._reasons.add(layer, place, error)
                continue
            part = Part(layer, fd, place)
            try:
                number, blocks = number + 1, blocks + os.fstat(fd).st_blocks
                part.names = layers.scan(fd, self.resolver.kinds.table(layer))
                for name, status in self._files(part):
                    number += 1
                    where = f"{place}/{name}" if place else name
                    if status.st_nlink > 1 or self._lends:
                        item = hidden.item._replace(blocks=status.st_blocks, path=where)
                        self.tally.meet(key_of(layer, status), Inode(shown=False, item=item))
                    else:
                        files += status.st_blocks
            except OSError as error:
                self._reasons.add(layer, place, error)
            finally:
                os.close(fd)
            names = [name for name, kind in part.names.items() if kind.letter == "d"]
            waiting += [f"{place}/{name}" if place else name for name in names]
        is_hidden = state not in ("shown", "unused")
        return Count(layer, number, blocks + files, (blocks + files) if is_hidden else 0)

    def _files(self, part: Part) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the non-directories in a part that was scanned."""
        for name, kind in part.names.items():
            if kind.letter != "d":
                try:
                    yield name, os.stat(name, dir_fd=part.fd, follow_symlinks=False)
                except OSError as error:
                    self._unread(part, name, error)

    def _unread(self, part: Part, name: str, error: OSError) -> None:
        self._reasons.add(part.layer, f"{part.path}/{name}" if part.path else name, error)


class _Counted(Node[list[Count]]):
    """A directory of the merged tree, counted in every layer."""

    __slots__ = ("_directory", "_entries", "_usage")

    def __init__(self, usage: Usage, directory: MergedDir) -> None:
        super().__init__()
        self._usage = usage
        self._directory = directory

    def _find(self) -> Iterator[list[Count] | Node[list[Count]]]:
        usage, directory = self._usage, self._directory
        entries = self._entries = usage.resolver.read(directory)
        yield usage.count(directory, entries)
        several = len(directory.parts) > 1
        for name, kind in entries:
            if kind.letter != "d":
                continue
            _, below = usage.resolver.enter(directory, name, kind)
            if below is None or several or len(below.parts) > 1:
                usage.note(directory, name, kind, below)
            if below is not None:
                yield _Counted(usage, below)

    def close(self) -> None:
        self._directory.close()

    def reopen(self, above: _Counted | None) -> None:
        self._usage.resolver.reopen(self._directory, None if above is None else above._directory)

    def width(self) -> int:
        return sum(kind.letter == "d" for _, kind in self._entries)


def measure(opened: Opened, *, top: int = 0) -> Usage:
    """Count what the layers of a stack take up, by two processes where that is worth it."""
    usage = Usage(opened, top=top)
    for texts in shared(usage, _spell, "\n"):
        for text in texts:
            usage.tally.add([Count(*map(int, line.split())) for line in text.splitlines()])
    return usage


def _spell(counts: list[Count]) -> list[str]:
    return [" ".join(map(str, count)) for count in counts]

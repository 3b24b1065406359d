"""What the upper layers did to what lies below them.

Two merged trees are compared, that of all layers and that of the lower ones alone, and only
where an upper layer holds anything. Files are compared by metadata first; what they hold is read
only where size and time leave it open (or always, where that is asked for).
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
from layerctl.inspecting.marks import BEGIN, END, HOLE
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.parallel import Team
from layerctl.inspecting.resolvers.resolver import Resolver
from layerctl.inspecting.resolvers.tree import TYPES, EntryKind, MergedDir, Part
from layerctl.inspecting.walk import Descent
from layerctl.kernel import layers


class LayerChange(NamedTuple):
    """One change: `change` is added, modified, metadata, deleted, replaced, renamed or unchanged.

    `unchanged` is a copy-up of something that is still the same. `layer` did it, `type` is what
    is there now and `was` what was there before, None for nothing. `differs` names what is
    different, `source` is the path before a renaming of it, or of a directory that it was in.
    """

    path: str
    change: str
    type: str | None
    was: str | None
    layer: int
    differs: tuple[str, ...] = ()
    source: str | None = None


class _Frame(NamedTuple):
    """A directory as it is and as it was; `was` is None where nothing was."""

    now: MergedDir
    was: MergedDir | None
    names: Iterator[tuple[str, EntryKind]]
    before: dict[str, EntryKind]


class _Pair(NamedTuple):
    """A directory as it is and as it was, not read yet."""

    now: MergedDir
    was: MergedDir | None


class TreeComparison:
    """Compares a stack with its lower layers alone."""

    def __init__(self, opened: Opened, since: int, *, content: bool) -> None:
        self._opened = opened
        self._now = opened.resolver
        self._was: Resolver = below(opened, since)
        self._since = since
        self._content = content
        settings = getattr(self._now, "settings", None)
        self._metacopies = bool(getattr(settings, "metacopy", False))
        self._deleted: list[LayerChange] = []
        self._sources: set[str] = set()

    def report(self) -> object:
        """Return, in the second process of a shared walk, what the first must know of it."""
        return self._deleted, self._sources, self._now.reasons

    def merge(self, report: Any) -> None:
        """Take what the second process reports."""
        deleted, sources, reasons = report
        known = {change.path for change in self._deleted}
        self._deleted += [change for change in deleted if change.path not in known]
        self._deleted.sort(key=lambda change: change.path)
        self._sources |= sources
        self._now.reasons.merge(reasons)

    def deleted(self) -> Iterator[LayerChange]:
        """Yield the deletions, after all else: only then is known what was merely renamed."""
        for change in self._deleted:
            if (change.source or change.path) not in self._sources:
                yield change

    def others(self, team: Team) -> Iterator[LayerChange | list[str]]:
        """Yield every change but deletions, and the marks of a shared walk."""
        at_once = max(2, layers.directories_at_once(2 * len(self._now.roots)))
        way: Descent[_Frame] = Descent(self._close, self._reopen, at_once)
        root = self._frame(self._now.root(), self._was.root())
        team.divide(sum(kind.letter == "d" for kind in root.now.parts[0].names.values()))
        way.push(root)
        while way:
            frame = way.last
            deeper: _Pair | None = None
            for name, kind in frame.names:
                if kind.letter == "d":
                    change, deeper = self._directory(frame, name, kind)
                elif kind.layer < self._since:
                    change = self._other(frame, name, kind)
                else:
                    continue
                if change is not None:
                    yield change
                if deeper is not None:
                    break
            if deeper is None:
                way.pop()
                if len(way) == team.depth:
                    yield END
                continue
            if len(way) == team.depth:
                if not team.mine():
                    self._close(deeper)
                    yield HOLE
                    continue
                yield BEGIN
            team.worked(sum(len(part.names) for part in frame.now.parts))
            way.push(self._frame(*deeper))

    def _frame(self, now: MergedDir, was: MergedDir | None) -> _Frame:
        entries = self._now.read(now)
        before: dict[str, EntryKind] = {}
        if was is not None:
            self._pair(now, was)
            before = dict(self._was.read(was))
        if before:
            self._note_deleted(now, was, {name for name, _ in entries}, before)
        return _Frame(now, was, iter(entries), before)

    def _pair(self, now: MergedDir, was: MergedDir) -> None:
        """Spare a second reading of directories that were read as part of what is now."""
        read = {} if now.xattr_whiteouts else {(one.layer, one.path): one for one in now.parts}
        for part in was.parts:
            part.twin = read.get((part.layer + self._since, part.path))

    @staticmethod
    def _close(frame: _Frame | _Pair) -> None:
        frame.now.close()
        if frame.was is not None:
            frame.was.close()

    def _reopen(self, frame: _Frame, above: _Frame | None) -> None:
        self._now.reopen(frame.now, above and above.now)
        if frame.was is not None:
            self._was.reopen(frame.was, above and above.was)

    def _note_deleted(
        self,
        now: MergedDir,
        was: MergedDir | None,
        names: set[str],
        before: dict[str, EntryKind],
    ) -> None:
        for name, kind in before.items():
            if name in names:
                continue
            layer = 0
            for part in now.parts:
                if part.layer < self._since:
                    layer = part.layer
                    if name in part.names or ".wh." + name in part.names:
                        break
            path = now.child_path(name)
            old = (was or now).child_path(name)
            source = None if old == path else old
            self._deleted.append(
                LayerChange(path, "deleted", None, TYPES[kind.letter], layer, (), source)
            )

    # Directories

    def _directory(
        self, frame: _Frame, name: str, kind: EntryKind
    ) -> tuple[LayerChange | None, _Pair | None]:
        if kind.layer >= self._since and all(p.layer >= self._since for p in frame.now.parts):
            return None, None
        whole, now = self._now.enter(frame.now, name, kind)
        path = frame.now.child_path(name)
        before = frame.before.get(name)
        was_type = None if before is None else TYPES[before.letter]
        if now is None or now.parts[0].layer >= self._since:
            if now is not None:
                now.close()
            if whole is None or kind.layer >= self._since or before is not None:
                return None, None
            return LayerChange(path, "added", "dir", was_type, kind.layer), None
        source = self._source(frame, name, now)
        layer = now.parts[0].layer
        if source is not None:
            self._sources.add(source)
            was = find_directory(self._was, source)
            change: LayerChange | None = LayerChange(
                path, "renamed", "dir", was_type, layer, (), source
            )
        elif before is None:
            was, change = None, LayerChange(path, "added", "dir", None, layer)
        elif before.letter != "d":
            was, change = None, LayerChange(path, "replaced", "dir", was_type, layer)
        else:
            _, was = self._was.enter(frame.was or frame.now, name, before)
            differs = self._directory_differs(now, was) if was is not None else ()
            change = (
                LayerChange(path, "metadata", "dir", "dir", layer, differs) if differs else None
            )
        return change, _Pair(now, was)

    def _source(self, frame: _Frame, name: str, now: MergedDir) -> str | None:
        """Return where a directory lay before it was renamed, None where it was not."""
        if not any("redirect" in p.attributes for p in now.parts if p.layer < self._since):
            return None
        found = self._now.lookup(frame.now, name)
        found.close()
        targets = [target for layer, target in found.redirects if layer < self._since]
        if not targets or not any(part.layer >= self._since for part in now.parts):
            return None
        return self._from_redirect(frame, targets[-1])

    @staticmethod
    def _from_redirect(frame: _Frame, target: str) -> str:
        if target.startswith("/"):
            return target[1:]
        base = frame.was.path if frame.was is not None else frame.now.path
        return f"{base}/{target}" if base else target

    def _directory_differs(self, now: MergedDir, was: MergedDir) -> tuple[str, ...]:
        """Compare two directories; their times tell only that something in them was changed."""
        try:
            one, other = os.fstat(now.parts[0].fd), os.fstat(was.parts[0].fd)
            differs = owner_and_mode(one, other)
            if not differs and attributes_differ(now.parts[0].fd, None, was.parts[0].fd, None):
                differs = ("xattrs",)
        except OSError as error:
            self._now.reasons.add(now.parts[0].layer, now.path, error)
            return ()
        return differs

    # Everything else

    def _other(self, frame: _Frame, name: str, kind: EntryKind) -> LayerChange | None:
        path = frame.now.child_path(name)
        before = frame.before.get(name)
        now_type = TYPES[kind.letter]
        was_type = None if before is None else TYPES[before.letter]
        source = self._file_source(frame, name, kind) if self._metacopies else None
        if source is not None:
            self._sources.add(source)
            return LayerChange(path, "renamed", now_type, was_type, kind.layer, (), source)
        if before is None:
            return LayerChange(path, "added", now_type, None, kind.layer)
        if before.letter != kind.letter:
            return LayerChange(path, "replaced", now_type, was_type, kind.layer)
        now = part_of(frame.now, kind.layer)
        was = part_of(frame.was, before.layer) if frame.was is not None else None
        if now is None or was is None:
            return None
        try:
            change, differs = self._compare(frame, name, kind, now, was)
        except OSError as error:
            self._now.reasons.add(kind.layer, path, error)
            return None
        return LayerChange(path, change, now_type, now_type, kind.layer, differs)

    def _file_source(self, frame: _Frame, name: str, kind: EntryKind) -> str | None:
        """Return where a file with metadata only lay before it was renamed."""
        part = part_of(frame.now, kind.layer)
        if kind.letter != "f" or part is None or not self._is_metacopy(part, name):
            return None
        found = self._now.lookup(frame.now, name)
        targets = [target for layer, target in found.redirects if layer < self._since]
        if found.error or not targets:
            return None
        return self._from_redirect(frame, targets[-1])

    def _compare(self, frame: _Frame, name: str, kind: EntryKind, now: Part, was: Part) -> Verdict:
        if kind.letter == "f" and not self._metacopies:
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
            what = self._content_differs(frame, name, now, was, one.st_size)
        if what:
            return "modified", (what, *differs)
        if not differs and attributes_differ(now.fd, name, was.fd, name):
            differs = ("xattrs",)
        return ("metadata" if differs else "unchanged"), differs

    def _content_differs(self, frame: _Frame, name: str, now: Part, was: Part, size: int) -> str:
        """Compare what two files of one size hold; return `content` or nothing."""
        if self._is_metacopy(now, name):
            return ""
        if self._is_metacopy(was, name):
            return self._against_data(frame, name, now, size)
        return "" if layers.same_content(name, now.fd, name, was.fd, size) else "content"

    def _is_metacopy(self, part: Part, name: str) -> bool:
        """Tell whether a file has metadata only; asked only where one is possible."""
        if not self._metacopies:
            return False
        attribute = f"{self._opened.prefix}metacopy"
        return layers.attribute(attribute, part.fd, name) is not None

    def _against_data(self, frame: _Frame, name: str, now: Part, size: int) -> str:
        """Compare a file with one whose contents lie in another layer still."""
        if frame.was is None:
            return ""
        found = self._was.lookup(frame.was, name)
        if found.data is None:
            return "content"
        layer, place = found.data
        above, _, base = place.rpartition("/")
        fd = layers.open_path(above, self._was.roots[layer])
        try:
            return "" if layers.same_content(name, now.fd, base, fd, size) else "content"
        finally:
            os.close(fd)


def part_of(directory: MergedDir | None, layer: int) -> Part | None:
    """Return one layer's part of a directory."""
    if directory is not None:
        for part in directory.parts:
            if part.layer == layer:
                return part if part.fd >= 0 else None
    return None


def find_directory(resolver: Resolver, path: str) -> MergedDir | None:
    """Return a directory of a merged tree by its path, None where there is none."""
    directory = resolver.root()
    for name in path.split("/"):
        found = resolver.lookup(directory, name)
        if found.error or found.letter != "d":
            found.close()
            directory.close()
            return None
        below = resolver.directory(directory, name, found)
        directory.close()
        directory = below
    return directory


def below(opened: Opened, since: int) -> Resolver:
    """Return a resolver for the layers from `since` down alone; their numbers start with 0."""
    resolver = opened.resolver
    if opened.prefix is None:
        from layerctl.inspecting.resolvers.aufs import Aufs

        assert isinstance(resolver, Aufs)  # noqa: S101 - only aufs has no prefix
        settings = resolver.settings
        return Aufs(
            resolver.roots[since:],
            type(settings)(settings.honours[since:], settings.shows_whiteouts),
        )
    from layerctl.inspecting.resolvers.overlay import Overlay

    assert isinstance(resolver, Overlay)  # noqa: S101 - the other one
    return Overlay(
        resolver.roots[since:],
        resolver.settings._replace(has_upper=False),
        blind=resolver.blind,
        traps=resolver.traps,
        same_fs=resolver.same_fs,
    )


def find(opened: Opened, since: int, *, content: bool) -> Iterator[LayerChange]:
    """Yield what the layers above `since` changed of what those from it down show."""
    comparison = TreeComparison(opened, since, content=content)
    for one in comparison.others(Team(comparison.report, comparison.merge, alone=True)):
        if isinstance(one, LayerChange):
            yield one
    yield from comparison.deleted()

"""Remove from the topmost branch of an aufs what changes nothing.

These go: a copy that equals the file below it in everything, a whiteout over a name that no lower
branch has, the marker of an opaque directory that no lower branch has, and a directory that has
become empty and equals the one below it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import OPAQUE, PREFIX, Aufs, is_whiteout
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import layers
from layerctl.working import lower
from layerctl.working.aufs.branch import folder_of, names_of, resolver_of
from layerctl.working.sameness import File, same_file, same_metadata
from layerctl.working.steps import Folder, Step, own_prefix

#: How many entries of a directory stay; what `yield from` a directory returns.
Kept = Generator[Step, None, int]
Gone = Generator[Step, None, bool]


def steps(view: Opened, *, ignore_times: bool) -> Iterator[Step]:
    """Yield the steps, each to be done before the next one is asked for.

    Raises RefusedError if the topmost branch is not writable.
    """
    trimmer = _Trimmer(view, resolver_of(view), times=not ignore_times)
    root = view.resolver.root()
    try:
        folder = folder_of(view, root.parts[0])
        yield from trimmer.names(root, folder)
        yield from folder.restore()
    finally:
        root.close()


class _Trimmer:
    def __init__(self, view: Opened, resolver: Aufs, *, times: bool) -> None:
        self._view = view
        self._resolver = resolver
        self._prefix = own_prefix()
        self._times = times

    def names(self, directory: MergedDir, folder: Folder) -> Kept:
        """Yield the steps for what is in a directory of the topmost branch."""
        below = lower.rest(directory, 0)
        kept = 0
        for name, letter in names_of(folder.fd):
            if is_whiteout(name):
                gone = yield from self._whiteout(folder, below, name)
            elif letter == "d":
                gone = yield from self._directory(directory, folder, below, name)
            else:
                gone = yield from self._file(folder, below, name)
            kept += not gone
        return kept

    def _whiteout(self, folder: Folder, below: MergedDir, name: str) -> Gone:
        hidden = name.removeprefix(PREFIX)
        status = layers.status(name, folder.fd)
        if status is None or layers.letter_of(status) != "f":
            return False
        if layers.status(hidden, folder.fd) is not None:
            return False  # an error, which check reports
        if lower.hides(self._resolver, below, hidden):
            return False
        yield folder.remove(name, status, "a whiteout over a name that no lower branch has")
        return True

    def _file(self, folder: Folder, below: MergedDir, name: str) -> Gone:
        status = layers.status(name, folder.fd)
        if status is None or layers.status(PREFIX + name, folder.fd) is not None:
            return False
        found = lower.look(self._resolver, below, name)
        found.close()
        if found.error or found.letter != layers.letter_of(status):
            return False
        under = lower.part_of(below, found.parts[0].layer)
        other = None if under is None else layers.status(name, under.fd)
        if under is None or other is None:
            return False
        ours, theirs = File(name, folder.fd, status), File(name, under.fd, other)
        if not same_file(ours, theirs, self._prefix, times=self._times):
            return False
        yield folder.remove(name, status, f"equals the one in branch {under.layer}")
        return True

    def _directory(self, directory: MergedDir, folder: Folder, below: MergedDir, name: str) -> Gone:
        found = self._resolver.lookup(directory, name)
        if found.error or found.letter != "d" or found.parts[0].layer != 0:
            found.close()
            return False
        child = self._resolver.directory(directory, name, found)
        try:
            inner = folder_of(self._view, child.parts[0])
            opaque = yield from self._opaque(inner, below, name)
            kept = yield from self.names(child, inner)
            if not (kept or opaque) and self._equals_lower(child, inner, below, name):
                yield folder.rmdir(name, "empty, and equals the lower directory")
                return True
            yield from inner.restore()
        finally:
            child.close()
        return False

    def _opaque(self, inner: Folder, below: MergedDir, name: str) -> Gone:
        """Yield the step that removes an opaque marker over nothing; return whether one stays."""
        status = layers.status(OPAQUE, inner.fd)
        if status is None:
            return False
        if layers.letter_of(status) != "f" or lower.hides(self._resolver, below, name):
            return True
        yield inner.remove(OPAQUE, status, "opaque, but no lower branch has the directory")
        return False

    def _equals_lower(self, child: MergedDir, inner: Folder, below: MergedDir, name: str) -> bool:
        """Tell whether the directory that shows without the topmost one is the same."""
        found = lower.look(self._resolver, below, name)
        try:
            if found.error or found.letter != "d":
                return False
            if [part.layer for part in found.parts] != [part.layer for part in child.parts[1:]]:
                return False
            status, other = os.fstat(inner.fd), os.fstat(found.parts[0].fd)
            if self._times and inner.times[1] != other.st_mtime_ns:
                return False
            ours, theirs = File(".", inner.fd, status), File(".", found.parts[0].fd, other)
            return same_metadata(ours, theirs, self._prefix, times=False)
        finally:
            found.close()

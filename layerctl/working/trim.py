"""Remove from the upper layer what changes nothing: the merged tree stays as it is.

These go: a copy of a file that equals the lower one in everything, a whiteout over a name that no
lower layer has, an opaque mark on a directory that no lower layer has, and a directory that has
become empty and equals the lower one. What hides a file that a copy under another name was made of
stays: overlay keeps one inode for both, so that the name would show that copy.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.inodes import moved_copies
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.tree import MergedDir, Part
from layerctl.kernel import changing, layers
from layerctl.model import Stack
from layerctl.working import lower
from layerctl.working.sameness import File, same_file, same_metadata, same_open
from layerctl.working.steps import Folder, Step, Verb

#: How many entries of a directory stay; what `yield from` a directory returns.
Kept = Generator[Step, None, int]


def demand(stack: Stack) -> None:
    """Raise RefusedError if there is nothing to trim, or it cannot be done safely."""
    if stack.fstype != "overlay" or stack.upper is None or len(stack.layers) < 2:
        raise RefusedError(
            "no-upper-layer",
            "there is no upper layer above a lower one",
            why="trim compares the upper layer of an overlay with what lies below it",
            hint="name the upper layer with -u and the lower ones with -l",
        )


def steps(view: Opened, *, ignore_times: bool = False) -> Iterator[Step]:
    """Yield the steps, each to be done before the next one is asked for, or none of them."""
    assert isinstance(view.resolver, Overlay)  # noqa: S101 - `demand` saw to that
    moved = moved_copies(view.resolver)
    trimmer = _Trimmer(view, view.resolver, moved, ignore_times=ignore_times)
    root = view.resolver.root()
    try:
        yield from trimmer.root(root)
    finally:
        root.close()


class _Trimmer:
    def __init__(
        self,
        view: Opened,
        resolver: Overlay,
        moved: frozenset[tuple[int, int]],
        *,
        ignore_times: bool,
    ) -> None:
        self._resolver = resolver
        self._moved = moved
        self._top = view.layers[0]
        self._prefix = resolver.settings.prefix
        self._times = not ignore_times

    def root(self, root: MergedDir) -> Iterator[Step]:
        folder = self._folder(root)
        yield from self._names(root, folder)
        yield from folder.restore()

    def _folder(self, directory: MergedDir) -> Folder:
        part = directory.parts[0]
        path = f"{self._top}/{part.path}" if part.path else self._top
        return Folder(part.fd, path, self._prefix)

    def _names(self, directory: MergedDir, folder: Folder) -> Kept:
        """Yield the steps for what is in a directory of the upper layer."""
        below = lower.rest(directory, 0)
        lowers = [(part, layers.scan(part.fd, layers.LETTER_OF)) for part in below.parts]
        kept = 0
        for name, letter in sorted(layers.scan(folder.fd, layers.LETTER_OF).items()):
            if letter == "d":
                gone = yield from self._directory(directory, folder, below, name)
            elif letter == "w":
                gone = yield from self._whiteout(directory, folder, below, name)
            else:
                gone = yield from self._maybe_equal(folder, below, lowers, (name, letter))
            kept += not gone
        return kept

    def _maybe_equal(
        self,
        folder: Folder,
        below: MergedDir,
        lowers: list[tuple[Part, dict[str, str]]],
        entry: tuple[str, str],
    ) -> Generator[Step, None, bool]:
        """Compare a file with the first lower one of its name, with a lookup only if it must be."""
        name, letter = entry
        under, other = next(
            ((part, names[name]) for part, names in lowers if name in names), (None, "")
        )
        if under is None:
            return False
        if letter != "f" or other != "f":  # a device is never opened
            return (yield from self._file(folder, below, name))
        verdict, status = self._compare(folder, under, name)
        if verdict and status is not None:
            yield folder.remove(name, status, f"equals the one in layer {under.layer}")
        elif verdict is None:
            return (yield from self._file(folder, below, name))
        return bool(verdict)

    def _compare(
        self, folder: Folder, under: Part, name: str
    ) -> tuple[bool | None, os.stat_result | None]:
        pair = layers.open_pair(name, folder.fd, under.fd)
        if pair is None:
            return None, None
        one, other = pair
        try:
            status, below = os.fstat(one), os.fstat(other)
            if (below.st_dev, below.st_ino) in self._moved:
                return False, status
            same = same_open(one, other, status, below, self._prefix, times=self._times)
            return same, status
        finally:
            os.close(one)
            os.close(other)

    def _whiteout(
        self, directory: MergedDir, folder: Folder, below: MergedDir, name: str
    ) -> Generator[Step, None, bool]:
        if not directory.whiteouts or lower.hides(self._resolver, below, name):
            return False
        status = layers.status(name, folder.fd)
        if status is not None:
            yield folder.remove(name, status, "a whiteout over a name that no lower layer has")
        return True

    def _file(self, folder: Folder, below: MergedDir, name: str) -> Generator[Step, None, bool]:
        status = layers.status(name, folder.fd)
        if status is None or not below.parts:
            return False
        found = lower.look(self._resolver, below, name)
        found.close()
        if found.error or found.letter != layers.letter_of(status) or found.metacopy:
            return False
        under = lower.part_of(below, found.parts[0].layer)
        other = None if under is None else layers.status(name, under.fd)
        if under is None or other is None or self._is_marked(folder.fd, name):
            return False
        if (other.st_dev, other.st_ino) in self._moved:
            return False
        one = File(name, folder.fd, status)
        if not same_file(one, File(name, under.fd, other), self._prefix, times=self._times):
            return False
        yield folder.remove(name, status, f"equals the one in layer {under.layer}")
        return True

    def _is_marked(self, fd: int, name: str) -> bool:
        """Tell whether markers say that a file is not only what it holds itself."""
        marks = ("metacopy", "whiteout", "protattr", "redirect")
        attributes = set(layers.attribute_names(fd, name))
        return any(self._prefix + mark in attributes for mark in marks)

    def _directory(
        self, directory: MergedDir, folder: Folder, below: MergedDir, name: str
    ) -> Generator[Step, None, bool]:
        found = self._resolver.lookup(directory, name)
        if found.error or found.letter != "d" or found.parts[0].layer != 0:
            found.close()
            return False
        child = self._resolver.directory(directory, name, found)
        try:
            inner = self._folder(child)
            yield from self._opaque(child, inner, below, name)
            kept = yield from self._names(child, inner)
            if not kept and self._equals_lower(child, inner, below, name):
                yield folder.rmdir(name, "empty, and equals the lower directory")
                return True
            yield from inner.restore()
        finally:
            child.close()
        return False

    def _opaque(
        self, child: MergedDir, inner: Folder, below: MergedDir, name: str
    ) -> Iterator[Step]:
        part = child.parts[0]
        if child.opaque != 0 or "redirect" in part.attributes:  # which counts where it is not
            return
        if lower.hides(self._resolver, below, name):
            return
        attribute = f"{self._prefix}opaque"
        if self._resolver.opaque(part) == b"y":
            yield Step(
                Verb.UNMARK, inner.path, "opaque, but no lower layer has the directory",
                lambda: changing.remove_attribute(attribute, inner.fd),
                (("setfattr", "-x", attribute, "--", inner.path),),
            )  # fmt: skip

    def _equals_lower(self, child: MergedDir, inner: Folder, below: MergedDir, name: str) -> bool:
        """Tell whether the directory that shows without the upper one is the same."""
        part = child.parts[0]
        if {"opaque", "redirect"} & set(part.attributes):
            return False
        found = lower.look(self._resolver, below, name)
        try:
            if found.error or found.letter != "d":
                return False
            status, other = os.fstat(inner.fd), os.fstat(found.parts[0].fd)
            if self._times and inner.times[1] != other.st_mtime_ns:
                return False
            one = File(".", inner.fd, status)
            another = File(".", found.parts[0].fd, other)
            if not same_metadata(one, another, self._prefix, times=False):
                return False
            return self._lists_alike(child, found.parts[0].fd, len(found.parts))
        finally:
            found.close()

    def _lists_alike(self, child: MergedDir, fd: int, parts: int) -> bool:
        """Tell whether no whiteout shows in a listing once the directory is not merged any more."""
        if parts > 1 or not child.whiteouts:
            return True
        if child.xattr_whiteouts:
            return False
        return "w" not in layers.scan(fd, layers.LETTER_OF).values()

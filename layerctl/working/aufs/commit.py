"""Merge the topmost branch of an aufs down into the next: the merged tree stays the same.

What the topmost branch has covers what the next one has, so that the next one can be changed
unseen. On one filesystem names are renamed down, one by one; names of one file show as separate
files until the last of them is there. On two, all is copied down unseen, and only when it is on
the disk the topmost branch is emptied.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import OPAQUE, PREFIX, Aufs, is_whiteout
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import changing, layers, mounts
from layerctl.kernel.plinks import DIRECTORY
from layerctl.working import copying, lower
from layerctl.working.aufs import scanning
from layerctl.working.aufs.branch import (
    folder_of,
    names_of,
    pseudo_links,
    resolver_of,
)
from layerctl.working.aufs.emptying import empty, uncover
from layerctl.working.aufs.placing import Placer
from layerctl.working.steps import Folder, Step, Verb, own_prefix, sync


def steps(view: Opened) -> Iterator[Step]:
    """Yield the steps, each to be done before the next one is asked for, or none of them.

    Raises RefusedError for what cannot be merged down.
    """
    aufs = resolver_of(view)
    same = renames_work(*aufs.roots[:2])
    scanning.demand_movable(view, aufs, same=same)
    yield from _Committer(view, aufs, same=same).run()


def renames_work(one: int, other: int) -> bool:
    """Tell whether a file can be renamed from one open directory to another: within a mount."""
    return mounts.mount_id_of(one) == mounts.mount_id_of(other)


class _Committer:
    def __init__(self, view: Opened, aufs: Aufs, *, same: bool) -> None:
        self._view = view
        self._aufs = aufs
        self._same = same
        self._prefix = own_prefix()
        self._placer = Placer(aufs, same=same)

    def run(self) -> Iterator[Step]:
        root = self._aufs.root()
        try:
            folder = folder_of(self._view, root.parts[0])
            target = folder_of(self._view, root.parts[1])
            yield from self._pair(root, folder, target)
            yield copying.attributes_step(folder, target, self._prefix)
            if not self._same:
                yield sync(
                    self._aufs.roots[1],
                    self._view.layers[1],
                    "before the topmost branch is emptied",
                )
                yield from uncover(folder)
                yield from empty(folder)
            yield from self._pseudo_links(folder)
            yield from folder.restore()
        finally:
            root.close()

    def _pair(self, directory: MergedDir, source: Folder, target: Folder) -> Iterator[Step]:
        """Yield the steps for a directory that is merged of both branches."""
        below = lower.rest(directory, 1)
        for name, letter in names_of(source.fd):
            if is_whiteout(name):
                hidden = name.removeprefix(PREFIX)
                needed = lower.hides(self._aufs, below, hidden)
                yield from self._placer.whiteout(source, target, hidden, needed=needed)
            elif letter != "d":
                yield from self._placer.file(source, target, name)
            else:
                yield from self._directory(directory, source, target, name)

    def _directory(
        self, directory: MergedDir, source: Folder, target: Folder, name: str
    ) -> Iterator[Step]:
        found = self._aufs.lookup(directory, name)
        if [part.layer for part in found.parts[:2]] != [0, 1]:
            found.close()
            yield from self._placer.directory(source, target, name, lower.rest(directory, 1))
            return
        child = self._aufs.directory(directory, name, found)
        try:
            inner = folder_of(self._view, child.parts[0])
            into = folder_of(self._view, child.parts[1])
            yield from self._pair(child, inner, into)
            yield copying.attributes_step(inner, into, self._prefix)
            if self._same:
                opaque = layers.status(OPAQUE, inner.fd)
                if opaque is not None:
                    yield inner.remove(OPAQUE, opaque, "all that it held is in the next branch")
                yield source.rmdir(name, "all that it held is in the next branch")
        finally:
            child.close()

    def _pseudo_links(self, folder: Folder) -> Iterator[Step]:
        """Yield the steps that remove what would keep files that are in the next branch."""
        for link in pseudo_links(folder.fd):
            yield _unlink_beneath(folder, DIRECTORY, link.name)


def _unlink_beneath(folder: Folder, directory: str, name: str) -> Step:
    path = f"{folder.inside(directory)}/{name}"

    def run() -> None:
        fd = layers.open_dir(directory, folder.fd)
        try:
            changing.unlink(name, fd)
        finally:
            os.close(fd)

    why = "a pseudo-link, which aufs forgot at its unmount"
    return Step(Verb.REMOVE, path, why, run, (("rm", "-f", "--", path),))

"""Merge a layer into the next one: the merged tree stays the same at every step.

What the upper one of the two has covers what the lower one has, so that that can be changed unseen:
what is hidden there is removed, then the upper file takes its place, by one rename on the same
filesystem. On another one it is copied there, unseen, and once all is on the disk an empty
directory takes the place of the upper one. Whatever stops the work, running it again completes it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.tree import MergedDir, Part
from layerctl.kernel import layers, mounts
from layerctl.working import copying, lower, scanning, unfolding
from layerctl.working.emptying import strip
from layerctl.working.opening import beside
from layerctl.working.placing import Placer
from layerctl.working.replacing import Replacement
from layerctl.working.steps import Folder, Step, sync


def steps(view: Opened, top: int) -> Iterator[Step]:
    """Yield the steps that merge the layer `top` into the next one.

    Each is to be done before the next one is requested, or none of them. Raises LayerctlError.
    """
    overlay = demand(view, top)
    planned: Collection[str] = ()
    if _has_folded(overlay):
        unfolder = unfolding.Unfolder(view, overlay, top)
        yield from unfolder.run()
        planned = unfolder.planned
        overlay.forget()
    same = renames_work(*overlay.roots[:2])
    yield from _Committer(view, overlay, planned, same=same, top=top).run()


def demand(view: Opened, top: int) -> Overlay:
    """Return the resolver for the layer `top` and those below it.

    Raises LayerctlError if the layer cannot be merged into the next one as they are now.
    """
    overlay = view.resolver
    assert isinstance(overlay, Overlay)  # noqa: S101 - the caller saw to that
    scanning.demand_free(overlay)
    if top:
        overlay = overlay.below(top)
    same = renames_work(*overlay.roots[:2])
    scanning.demand_movable(view, overlay, top, same=same)
    if not same:
        scanning.demand_copiable(view, overlay, top)
        with ExitStack() as closing:
            beside(overlay.roots[0], overlay.settings.prefix, closing)
    if _has_folded(overlay):
        unfolding.demand(view, overlay, top)
    return overlay


def _has_folded(overlay: Overlay) -> bool:
    """Tell whether the first layer has files or directories that lower layers are needed for."""
    return bool(overlay.marks.first.keys() & {"redirect", "metacopy"})


def renames_work(one: int, other: int) -> bool:
    """Tell whether a file can be renamed from one open directory to another: within a mount."""
    return mounts.mount_id_of(one) == mounts.mount_id_of(other)


class _Committer:
    """Merges the first two layers of `resolver`, that of `view` from the layer `top` down."""

    def __init__(
        self, view: Opened, resolver: Overlay, planned: Collection[str], *, same: bool, top: int
    ) -> None:
        self._stack = view.stack
        self._paths = view.layers[top : top + 2]
        self._is_upper = top == 0 and view.stack.upper is not None
        self._resolver = resolver
        self._prefix = resolver.settings.prefix
        target = Folder(resolver.roots[1], self._paths[1], self._prefix)
        marks = None if planned else resolver.marks
        self._placer = Placer(resolver, planned, target, marks, same=same)
        self._same = same

    def run(self) -> Iterator[Step]:
        """Yield the steps."""
        with ExitStack() as closing:
            root = self._resolver.root()
            closing.callback(root.close)
            folder = self._folder(root.parts[0], 0)
            if self._same:
                yield from self._whole(root, folder)
                yield from strip(folder, ".", self._prefix)
                yield from folder.restore()
            else:
                above, name = beside(folder.fd, self._prefix, closing)
                instead = Replacement(folder, above, name, self._prefix)
                yield from instead.begin()
                yield from self._whole(root, folder)
                yield sync(
                    self._resolver.roots[1], self._paths[1], "before the layer above is emptied"
                )
                yield from instead.finish()
        if self._is_upper:
            yield from self._work_anew()

    def _whole(self, root: MergedDir, folder: Folder) -> Iterator[Step]:
        yield from self._pair(root, folder)
        yield copying.attributes_step(folder, self._folder(root.parts[1], 1), self._prefix)

    def _folder(self, part: Part, layer: int) -> Folder:
        return Folder(part.fd, f"{self._paths[layer]}/{part.path}".rstrip("/"), self._prefix)

    def _pair(self, directory: MergedDir, folder: Folder) -> Iterator[Step]:
        """Yield the steps for a directory that both layers have, and that is merged of them."""
        target = self._folder(directory.parts[1], 1)
        below = lower.rest(directory, 1)
        names = self._placer.scan(folder, directory.path)
        there = lower.letters(directory.parts[1], names)
        marked = self._placer.has_marked_files(directory.path)
        for name, letter in sorted(names.items()):
            if letter == "w":
                needed = lower.hides(self._resolver, below, name)
                yield from self._placer.whiteout(folder, target, name, needed=needed)
            elif letter != "d":
                yield from self._placer.file(folder, target, name, there.get(name), marked=marked)
            else:
                yield from self._directory(directory, folder, target, name, below)
        if not below.parts and directory.path:
            yield from self._placer.without_devices(names, target)

    def _directory(
        self, above: MergedDir, folder: Folder, target: Folder, name: str, below: MergedDir
    ) -> Iterator[Step]:
        child = self._merged(above, name)
        if child is None:
            yield from self._placer.directory(folder, target, name, below)
            return
        try:
            if self._same and lower.is_moved(child):
                yield from self._placer.whole(folder, target, name, child)
            else:
                yield from self._merge(child, folder, name)
        finally:
            child.close()

    def _merged(self, directory: MergedDir, name: str) -> MergedDir | None:
        """Return a directory that is merged of both layers, None for one of the upper alone."""
        found = self._resolver.lookup(directory, name)
        merged = [part.layer for part in found.parts[:2]] == [0, 1]
        if found.error or not merged or "redirect" in found.parts[0].attributes:
            found.close()  # a dry run still sees redirects
            return None
        return self._resolver.directory(directory, name, found)

    def _merge(self, child: MergedDir, folder: Folder, name: str) -> Iterator[Step]:
        inner = self._folder(child.parts[0], 0)
        yield from self._pair(child, inner)
        yield copying.attributes_step(inner, self._folder(child.parts[1], 1), self._prefix)
        if self._same:
            yield folder.rmdir(name, "all that it held is in the lower layer")

    def _work_anew(self) -> Iterator[Step]:
        """Yield the steps that remove an index of what the upper layer held."""
        work = self._stack.work or ""
        with ExitStack() as closing:
            try:
                fd = layers.open_root(work)
                closing.callback(os.close, fd)
                index = layers.open_dir("index", fd)
                closing.callback(os.close, index)
            except OSError:
                return  # there is none
            inside = Folder(index, f"{work}/index", self._prefix)
            for name in sorted(os.listdir(index)):
                status = layers.status(name, index)
                if status is not None:
                    yield inside.remove(name, status, "an entry of the index")
            yield Folder(fd, work, self._prefix).rmdir("index", "it is empty")

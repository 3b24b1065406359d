"""Give an upper layer what its redirects and metadata-only files lead to, so that they can go.

Unseen, beside the layer, a copy is made of each name that a redirected directory shows from below;
renamed into the layer it covers what it was copied from. Once the directory has all of
them, it becomes opaque in one step, so that its redirect no longer counts (ovl_lookup_single). A
metadata-only file is replaced by a full copy in one step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import Found
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import changing, layers
from layerctl.working import scanning
from layerctl.working.emptying import remove_empty, remove_tree, strip
from layerctl.working.flattening import Flattener, denied
from layerctl.working.opening import beside
from layerctl.working.sameness import is_marker
from layerctl.working.steps import PART, Folder, Later, Step, Verb, sync

#: So many directories and copies are waiting for one write to the disk at most.
_FOLDERS, _COPIES = 64, 1000


def demand(view: Opened, overlay: Overlay, top: int) -> None:
    """Raise LayerctlError where something cannot be copied; reads the layers, changes nothing."""
    unfolder = Unfolder(view, overlay, top)
    for _ in unfolder.run():
        pass
    copier = unfolder.copier
    scanning.demand_room(overlay.roots[0], view.layers[top], copier.bytes, copier.count)


class _Copier(Flattener):
    """Copies from all layers, and adds up what that needs."""

    bytes = count = 0

    def file(self, target: Folder, name: str, found: Found) -> Iterator[Step]:
        """Yield the step that copies a file, unless that would part its names."""
        part = found.parts[0]
        status = self.status(part.layer, part.path)
        if status.st_nlink > 1:
            raise RefusedError(
                "hard-link-elsewhere",
                f"{self.paths[part.layer]}/{part.path} has several names, and must be copied",
                why="a redirect or the metacopy attribute leads to it, and its copy would be a "
                "separate file",
                hint="copy the files out through a mount of the layers",
            )
        self.bytes += self.status(*self.data(found)).st_blocks * 512
        self.count += 1
        yield from super().file(target, name, found)


class Unfolder:
    """Makes the steps for the layer `top`, which is the first of `overlay`.

    `planned` are the paths that the steps would free of markers and, if they are directories, make
    opaque: it is empty unless this is a dry run.
    """

    def __init__(self, view: Opened, overlay: Overlay, top: int) -> None:
        self.planned: set[str] = set()
        self._top = view.layers[top]
        self._overlay = overlay
        self._prefix = overlay.settings.prefix
        self._closing = ExitStack()
        self._hidden: tuple[Folder, str, Later] | None = None
        self._waiting: dict[str, tuple[Folder, list[tuple[str, str]]]] = {}
        self._made = 0
        self.copier = _Copier(view, overlay, range(top, len(view.layers)), Folder(-1, "", ""))

    def run(self) -> Iterator[Step]:
        """Yield the steps, each to be done before the next one is requested, or none of them.

        Raises LayerctlError.
        """
        with self._closing:
            root = self._overlay.root()
            self._closing.callback(root.close)
            yield from self._directory(root)
            yield from self._place()
            if self._hidden is not None:
                above, part, _ = self._hidden
                yield remove_empty(above, part, "all copies are in their places")
                yield sync(self._overlay.roots[0], self._top, "before what was copied is changed")
            for folder, _ in self._waiting.values():
                os.close(folder.fd)

    def _start(self) -> Iterator[Step]:
        """Yield the steps that create the directory for copies, beside the layer."""
        above, name = beside(self._overlay.roots[0], self._prefix, self._closing)
        part = name + PART
        later = Later(above, part)
        self._closing.callback(later.close)
        self._hidden = above, part, later
        if layers.status(part, above.fd) is not None:
            yield from remove_tree(above, part, "an earlier run was interrupted")
        path = above.inside(part)
        yield Step(Verb.CREATE, path, "for copies, unseen",
                   lambda: changing.mkdir(part, above.fd), (("mkdir", "--", path),))  # fmt: skip

    def _place_for_copies(self) -> Folder:
        assert self._hidden is not None  # noqa: S101 - `_start` came first
        return self._hidden[2].folder(self._prefix)

    def _folder(self, directory: MergedDir, fd: int) -> Folder:
        path = directory.parts[0].path
        return Folder(fd, f"{self._top}/{path}" if path else self._top, self._prefix)

    def _directory(self, directory: MergedDir) -> Iterator[Step]:
        """Yield the steps for a directory of the upper layer whose own redirect does not matter."""
        part = directory.parts[0]
        names = layers.scan(part.fd, layers.LETTER_OF)
        metacopy = (f"{self._prefix}metacopy",)
        files = [name for name, letter in names.items() if letter == "f"]
        marked = layers.with_attributes(part.fd, files, metacopy, self._overlay.unread(part))
        for name, letter in sorted(names.items()):
            if name in marked or letter == "d":
                found = self._look(directory, name)
                yield from self._upper(directory, name, found)

    def _look(self, directory: MergedDir, name: str) -> Found:
        found = self._overlay.lookup(directory, name)
        if found.error:
            found.close()
            raise denied(directory.child_path(name), found)
        return found

    def _upper(self, directory: MergedDir, name: str, found: Found) -> Iterator[Step]:
        """Yield the steps for a directory or a metadata-only file of the upper layer."""
        if found.letter != "d":
            if found.metacopy:
                yield from self._copy(directory, name, found)
            return
        child = self._overlay.directory(directory, name, found)
        try:
            redirected = bool(found.redirects) or "redirect" in child.parts[0].attributes
            if redirected and child.opaque != 0:
                yield from self._redirected(child)
            else:
                yield from self._directory(child)
        finally:
            child.close()

    def _redirected(self, directory: MergedDir) -> Iterator[Step]:
        """Yield the steps for a directory of which the upper layer gets everything."""
        names: set[str] = set()
        for part in directory.parts:
            names.update(layers.scan(part.fd, layers.LETTER_OF))
        for name in sorted(names):
            found = self._look(directory, name)
            try:
                if not found.parts:
                    continue
                if found.parts[0].layer:
                    yield from self._copy(directory, name, found)
                elif found.letter == "d":
                    child = self._overlay.directory(directory, name, found)
                    yield from self._redirected(child)
                else:
                    yield from self._upper(directory, name, found)
            finally:
                found.close()
        yield from self._close(directory)

    def _close(self, directory: MergedDir) -> Iterator[Step]:
        """Yield the steps that make a directory opaque which has all that it shows.

        With an origin it is one that may hold whiteouts, which a listing then leaves out.
        """
        yield from self._place()
        part = directory.parts[0]
        folder = self._folder(directory, part.fd)
        if len(directory.parts) > 1 or "redirect" in part.attributes:
            if layers.attribute(f"{self._prefix}origin", part.fd) is None:
                yield self._mark(folder, "origin", b"")
            yield self._mark(folder, "opaque", b"y")
        for name, letter in sorted(layers.scan(part.fd, layers.LETTER_OF).items()):
            status = layers.status(name, part.fd) if letter == "w" else None
            if status is not None:
                yield folder.remove(name, status, "nothing is left to hide")
        yield from strip(folder, ".", self._prefix, keep=("opaque",))
        yield from folder.restore()
        if self._is_marked(part.fd):
            self.planned.add(folder.path)

    def _is_marked(self, fd: int) -> bool:
        names = layers.attribute_names(fd)
        return any(is_marker(one, self._prefix) and not one.endswith("opaque") for one in names)

    def _mark(self, folder: Folder, mark: str, value: bytes) -> Step:
        attribute = self._prefix + mark
        return Step(
            Verb.MARK, folder.path, attribute,
            lambda: changing.set_attribute(attribute, value, folder.fd),
            (("setfattr", "-n", attribute, "-v", value.decode() or '""', "--", folder.path),),
        )  # fmt: skip

    # Copies

    def _copy(self, directory: MergedDir, name: str, found: Found) -> Iterator[Step]:
        """Yield the steps that copy a name to the hidden place; it is put in its own later."""
        if self._hidden is None:
            yield from self._start()
        self._made += 1
        copy, hidden = str(self._made), self._place_for_copies()
        if found.letter == "d":
            child = self._overlay.directory(directory, name, found)
            last = len(self._overlay.roots)
            yield from self.copier.directory(child, hidden, copy, last=last, opaque=False)
        else:
            yield from self.copier.file(hidden, copy, found)
        if directory.path not in self._waiting:
            folder = self._folder(directory, os.dup(directory.parts[0].fd))
            self._waiting[directory.path] = folder, []
        self._waiting[directory.path][1].append((copy, name))
        many = sum(len(pairs) for _, pairs in self._waiting.values()) >= _COPIES
        if many or len(self._waiting) >= _FOLDERS:
            yield from self._place()

    def _place(self) -> Iterator[Step]:
        """Yield the steps that put waiting copies in their places, once they are on the disk."""
        if not self._waiting:
            return
        yield sync(self._overlay.roots[0], self._top, "before the copies are used")
        hidden = self._place_for_copies()
        while self._waiting:
            path, (folder, pairs) = next(iter(self._waiting.items()))
            for copy, name in pairs:
                yield self._move(hidden, copy, folder, name)
                if hidden.fd < 0:
                    self.planned.add(folder.inside(name))
            yield from folder.restore()
            del self._waiting[path]
            os.close(folder.fd)

    def _move(self, hidden: Folder, copy: str, folder: Folder, name: str) -> Step:
        def run() -> None:
            changing.rename(copy, hidden.fd, name, folder.fd)

        words = ("mv", "-T", "--", hidden.inside(copy), folder.inside(name))
        return folder.step(Verb.MOVE, name, "a full copy", run, words)

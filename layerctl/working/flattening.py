"""Make one new layer of several, or of one that has redirects; the old ones stay as they are.

The new layer holds what the merged tree shows of theirs. Whiteouts and opaque directories stay
only where a layer below has the name. Redirects and metadata-only files do not: a redirected
directory is copied whole, a file gets its data.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import Found, Resolver, descend
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import changing, layers
from layerctl.working import copying, lower
from layerctl.working.replacing import new_layer
from layerctl.working.scanning import SEVERAL_LAYERS, indexed
from layerctl.working.steps import PART, Folder, Later, Step, Verb, Words, own_prefix


def steps(view: Opened, run: range, above: Folder, name: str) -> Iterator[Step]:
    """Yield the steps that make the layer `name` in a directory out of a run of layers."""
    overlay = view.resolver
    assert isinstance(overlay, Overlay)  # noqa: S101 - the caller saw to that
    if overlay.origins is not None and overlay.origins.names:
        raise indexed(SEVERAL_LAYERS)
    top = overlay if run.start == 0 else overlay.below(run.start)
    yield from made_whole(Flattener(view, top, run, above), run, above, name)


def made_whole(flattener: Flattener, run: range, above: Folder, name: str) -> Iterator[Step]:
    """Yield the steps that make the layer `name`, which has another name until it is whole."""
    root = flattener.resolver.root()
    try:
        part = name + PART
        content = flattener.directory(root, above, part, last=len(run) - 1, opaque=False)
        yield from new_layer(above, name, content)
    finally:
        root.close()


class Flattener:
    """Copies what a run of layers shows together into the directory `above`.

    `resolver` reads the layers from the first of the run down: its numbers start there.
    """

    def __init__(self, view: Opened, resolver: Resolver, run: range, above: Folder) -> None:
        self.resolver = resolver
        self._prefix = view.prefix or own_prefix()
        self.paths = view.layers[run.start :]
        self._first, self._last = run.start, len(run) - 1
        self._above = above
        #: Where the first name of a file with several went.
        self._links: dict[tuple[int, int], str] = {}

    def at(self, path: str, name: str, *, opaque: bool) -> Iterator[Step]:
        """Yield the steps that copy what is at a path, whole, to a name."""
        directory, base, found = descend(self.resolver, path)
        try:
            if found is None:
                last = self._last
                yield from self.directory(directory, self._above, name, last=last, opaque=opaque)
            elif found.error or directory.child_path(base) != path:
                raise denied(path, found)
            else:
                yield from self.file(self._above, name, found)
        finally:
            directory.close()

    def directory(
        self, directory: MergedDir, above: Folder, name: str, *, last: int, opaque: bool
    ) -> Iterator[Step]:
        """Yield the steps that copy a merged directory, as far as the layer `last`."""
        path = above.inside(name)
        yield Step(Verb.CREATE, path, "a directory",
                   lambda: changing.mkdir(name, above.fd), (("mkdir", "--", path),))  # fmt: skip
        if opaque:
            yield self.opaque(above, name)
        later = Later(above, name)
        try:
            for one in sorted(self.names(directory, last)):
                yield from self._one(directory, later.folder(self._prefix), one, last)
        finally:
            later.close()
        top = directory.parts[0].fd
        status = os.fstat(top)
        yield self._attributes((".", top), above, name, (status.st_atime_ns, status.st_mtime_ns))

    def opaque(self, above: Folder, name: str) -> Step:
        """Return the step that makes a new directory opaque."""
        path, attribute = above.inside(name), f"{self._prefix}opaque"
        return Step(
            Verb.MARK, path, attribute,
            lambda: changing.set_attribute(attribute, b"y", above.fd, name),
            (("setfattr", "-h", "-n", attribute, "-v", "y", "--", path),),
        )  # fmt: skip

    def whiteout(self, target: Folder, name: str) -> Step:
        """Return the step that hides a name in a new directory."""
        path = target.inside(name)
        return Step(
            Verb.CREATE, path, "a whiteout, since lower layers have the name",
            lambda: changing.mknod(name, target.fd, stat.S_IFCHR),
            (("mknod", "--", path, "c", "0", "0"),),
        )  # fmt: skip

    def names(self, directory: MergedDir, last: int) -> set[str]:
        """Return what a merged directory has, or hides, as far as the layer `last`."""
        found: set[str] = set()
        for part in directory.parts:
            if part.layer <= last:
                found.update(layers.scan(part.fd, layers.LETTER_OF))
        return found

    def _one(self, directory: MergedDir, target: Folder, name: str, last: int) -> Iterator[Step]:
        below = lower.rest(directory, last)
        found = self.resolver.lookup(directory, name)
        try:
            if found.error:
                raise denied(directory.child_path(name), found)
            if not found.parts or found.parts[0].layer > last:
                if lower.hides(self.resolver, below, name):
                    yield self.whiteout(target, name)
            elif found.letter == "d":
                yield from self.descend(directory, target, name, found, last)
            else:
                yield from self.file(target, name, found)
        finally:
            found.close()

    def descend(
        self, directory: MergedDir, target: Folder, name: str, found: Found, last: int
    ) -> Iterator[Step]:
        """Yield the steps that copy a directory that was looked up."""
        below = lower.rest(directory, last)
        redirected = any(layer <= last for layer, _ in found.redirects)
        if redirected:
            last = len(self.paths)
        child = self.resolver.directory(directory, name, found)
        cut = redirected or all(part.layer <= last for part in child.parts)
        opaque = cut and lower.hides(self.resolver, below, name)
        yield from self.directory(child, target, name, last=last, opaque=opaque)

    def file(self, target: Folder, name: str, found: Found) -> Iterator[Step]:
        """Yield the step for a file, whose data may lie in another layer than its metadata."""
        part = found.parts[0]
        source = part.layer, part.path
        status = self.status(*source)
        if status.st_nlink > 1:
            if part.layer > self._last:
                raise _link_elsewhere(f"{self.paths[part.layer]}/{part.path}")
            key = status.st_dev, status.st_ino
            first = self._links.setdefault(key, target.inside(name))
            if first != target.inside(name):
                yield copying.another_name(first, self._above, target, name)
                return
        data = self.data(found)
        path = target.inside(name)

        def run() -> None:
            self._copy(source, data, target, name)

        words = self._words(source, data, status, path)
        yield Step(Verb.COPY, path, f"from layer {self._first + part.layer}", run, words)

    def data(self, found: Found) -> tuple[int, str]:
        """Return the layer and path of what a file holds. Raises RefusedError if it is missing."""
        part = found.parts[0]
        if not found.metacopy:
            return part.layer, part.path
        if found.data is not None:
            with suppress(OSError):
                self.status(*found.data)
                return found.data
        raise RefusedError(
            "file-without-data",
            f"{self.paths[part.layer]}/{part.path} has only metadata, and its data is missing",
            why="no lower layer has the file that it leads to",
            hint="mend the layers, or name the options that they were mounted with",
        )

    def _words(
        self, source: tuple[int, str], data: tuple[int, str], status: os.stat_result, path: str
    ) -> tuple[Words, ...]:
        first = f"{self.paths[data[0]]}/{data[1]}"
        if data == source:
            return (("cp", "-a", "--reflink=auto", "-T", "--", first, path),)
        fd, name = self._open(*source)
        try:
            times = status.st_atime_ns, status.st_mtime_ns
            rest = copying.attribute_words((name, fd), (name, -1), path, self._prefix, times)
        finally:
            os.close(fd)
        return (("cp", "--reflink=auto", "-T", "--", first, path), *rest)

    def _copy(
        self, source: tuple[int, str], data: tuple[int, str], target: Folder, name: str
    ) -> None:
        fd, base = self._open(*source)
        try:
            if data == source:
                copying.copy_file((base, fd), (name, target.fd), self._prefix)
                return
            data_fd, data_name = self._open(*data)
            try:
                place = data_name, data_fd
                copying.copy_file((base, fd), (name, target.fd), self._prefix, place)
            finally:
                os.close(data_fd)
        finally:
            os.close(fd)

    def _open(self, layer: int, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return layers.open_path(above, self.resolver.roots[layer]), name

    def status(self, layer: int, path: str) -> os.stat_result:
        """Return the status of a file of a layer. Raises OSError."""
        fd, name = self._open(layer, path)
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def _attributes(
        self, source: copying.Place, above: Folder, name: str, times: tuple[int, int]
    ) -> Step:
        target, path = (name, above.fd), above.inside(name)
        words = copying.attribute_words(source, (name, -1), path, self._prefix, times)
        return Step(
            Verb.ATTRIBUTES, path, "as the merged tree shows them",
            lambda: copying.copy_attributes(source, target, self._prefix, times), words,
        )  # fmt: skip


def denied(path: str, found: Found) -> RefusedError:
    """Return the error for a path that the merged tree refuses to look up."""
    return RefusedError(
        "lookup-denied",
        f"the merged tree denies a lookup of {path}",
        why=found.refused,
        hint="mend the layers, or name the options that they were mounted with",
    )


def _link_elsewhere(path: str) -> RefusedError:
    return RefusedError(
        "hard-link-elsewhere",
        f"{path} has several names, and is below a redirected directory",
        why="a copy of it would be a separate file",
        hint="copy the files out through a mount of the layers",
    )

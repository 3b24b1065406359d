"""Write a layer, a run of layers or the whole merged tree as an OCI layer archive.

A single layer is read as it is. What refers to the layers below it, redirects and metadata-only
files, is looked up there; a redirected directory is written whole, as opaque. A run of layers is
written as the merged tree shows it, with whiteouts and opaque directories only where a layer below
the run has the name. Names are sorted, whiteouts come first in their directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

from layerctl.codecs import tar
from layerctl.errors import RefusedError
from layerctl.inspecting.resolvers.aufs import META, OPAQUE, PREFIX, Aufs
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import find_directory, look_up
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.inspecting.walk import Node, walk
from layerctl.kernel import layers
from layerctl.working import lower
from layerctl.working.archives.entries import ALL, Writer
from layerctl.working.flattening import denied
from layerctl.working.scanning import SEVERAL_LAYERS, indexed


def pieces(writer: Writer, run: range | None) -> Iterator[bytes]:
    """Yield the archive of a run of layers, or of the merged tree (None).

    Raises LayerctlError and OSError.
    """
    resolver = writer.resolver
    if isinstance(resolver, Overlay) and resolver.origins is not None and resolver.origins.names:
        raise indexed(SEVERAL_LAYERS)
    root: Node[bytes]
    if run is not None and len(run) == 1:
        root = _Layer(writer, os.dup(resolver.roots[0]), "", pure=False)
    else:
        last = ALL if run is None else len(run) - 1
        root = _Merged(writer, resolver.root(), last, opaque=False)
    yield from walk(root, layers.directories_at_once(len(resolver.roots)))
    for lost in resolver.reasons.kept[:1]:
        raise RefusedError(
            "layer-part-unreadable",
            f"{writer.paths[lost.layer]}/{lost.path} cannot be read: {lost.reason}",
            why="the archive would lack what is not known",
            hint="run the command as root; if it fails there too, check the filesystem",
        )
    writer.add(bytes(2 * tar.BLOCK))
    yield writer.taken()


class _Layer(Node[bytes]):
    """A directory of a single layer. In a `pure` one no whiteout hides anything."""

    __slots__ = ("_fd", "_path", "_pure", "_width", "_writer")

    def __init__(self, writer: Writer, fd: int, path: str, *, pure: bool) -> None:
        super().__init__()
        self._writer = writer
        self._fd = fd
        self._path = path
        self._pure = pure
        self._width = 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def reopen(self, above: Self | None) -> None:
        if above is None:
            self._fd = layers.open_path(self._path, self._writer.resolver.roots[0])
        else:
            self._fd = layers.open_path(self._path[len(above._path) :], above._fd)

    def width(self) -> int:
        return self._width

    def _find(self) -> Iterator[bytes | Node[bytes]]:
        writer, path = self._writer, self._path
        aufs = writer.prefix is None
        attributes = layers.attribute_names(self._fd)
        value = None
        if not aufs and f"{writer.prefix}opaque" in attributes:
            value = layers.attribute(f"{writer.prefix}opaque", self._fd)
        names = layers.scan(self._fd, layers.LETTER_OF)
        hidden, opaque = self._markers(names, by_attribute=value == b"x")
        opaque = (opaque or value == b"y") and bool(path)  # it does not count for a root
        self._pure = self._pure or opaque
        writer.directory(path, self._fd, attributes)
        writer.whiteouts(path, [] if self._pure else hidden, opaque=opaque)
        self._width = sum(letter == "d" for letter in names.values())
        for name in sorted(names):
            letter = names[name]
            writer.demand_name(path, name)
            if letter == "d":
                yield self._below(name)
            else:
                yield from writer.file(path, name, letter, (0, self._fd), 0)
            yield from writer.full

    def _markers(self, names: dict[str, str], *, by_attribute: bool) -> tuple[list[str], bool]:
        """Take the markers off the names; return what they hide, and whether all below."""
        if self._writer.prefix is None:
            marks = [name for name in names if name.startswith(PREFIX)]
            hidden = [one[len(PREFIX) :] for one in marks if not one.startswith(META)]
        else:
            marks = hidden = [name for name, letter in names.items() if letter == "w"]
            if by_attribute:
                marks = hidden = hidden + self._by_attribute(names)
        opaque = self._writer.prefix is None and OPAQUE in marks
        for mark in marks:
            del names[mark]
        return hidden, opaque

    def _by_attribute(self, names: dict[str, str]) -> list[str]:
        resolver = self._writer.resolver
        assert isinstance(resolver, Overlay)  # noqa: S101 - only overlay has them
        files = [name for name, letter in names.items() if letter == "f"]
        wanted = (f"{self._writer.prefix}whiteout",)

        def unread(name: str, error: OSError) -> None:
            resolver.reasons.add(0, self._path + name, error)

        found = layers.with_attributes(self._fd, files, wanted, unread)
        return [name for name in found if resolver.is_xattr_whiteout(name, self._fd)]

    def _below(self, name: str) -> Node[bytes]:
        writer = self._writer
        fd = layers.open_dir(name, self._fd)
        path = self._path + name
        prefix = writer.prefix
        if prefix is None or layers.attribute(f"{prefix}redirect", fd) is None:
            return _Layer(writer, fd, f"{path}/", pure=self._pure)
        os.close(fd)
        found = look_up(writer.resolver, path)
        found.close()
        if found.error:
            raise denied(path, found)
        directory = find_directory(writer.resolver, path)
        assert directory is not None  # noqa: S101 - it was found just now
        return _Merged(writer, directory, ALL, opaque=True)


class _Merged(Node[bytes]):
    """A directory of the merged tree, as far as the layer `last`."""

    __slots__ = ("_directory", "_last", "_opaque", "_path", "_width", "_writer")

    def __init__(self, writer: Writer, directory: MergedDir, last: int, *, opaque: bool) -> None:
        super().__init__()
        self._writer = writer
        self._directory = directory
        self._path = f"{directory.path}/" if directory.path else ""
        self._last = last
        self._opaque = opaque
        self._width = 0

    def close(self) -> None:
        self._directory.close()

    def reopen(self, above: Self | None) -> None:
        self._writer.resolver.reopen(self._directory, None if above is None else above._directory)

    def width(self) -> int:
        return self._width

    def _find(self) -> Iterator[bytes | Node[bytes]]:
        writer, path, directory = self._writer, self._path, self._directory
        resolver = writer.resolver
        writer.directory(path, directory.parts[0].fd)
        names, gone = self._names()
        below = lower.rest(directory, self._last)
        hidden = [name for name in gone if lower.hides(resolver, below, name)]
        writer.whiteouts(path, hidden, opaque=self._opaque)
        aliases = resolver.aliases.get(directory.path, {})
        for name in sorted(names):
            letter, position = names[name]
            part = directory.parts[position]
            writer.demand_name(path, name)
            if letter == "d":
                yield from self._below(name)
            elif name in aliases:
                yield from writer.looked_up(path, name, self._last)
            else:
                yield from writer.file(path, name, letter, (part.layer, part.fd), self._last)
            yield from writer.full

    def _names(self) -> tuple[dict[str, tuple[str, int]], list[str]]:
        """Return the names with letter and position of the part, and those that are whited out."""
        resolver = self._writer.resolver
        honours = resolver.settings.honours if isinstance(resolver, Aufs) else None
        names: dict[str, tuple[str, int]] = {}
        gone: dict[str, None] = {}
        for position, part in enumerate(self._directory.parts):
            if part.layer > self._last:
                break
            marked = []
            for name, letter in layers.scan(part.fd, layers.LETTER_OF).items():
                if honours is not None and name.startswith(PREFIX):
                    if honours[part.layer] and not name.startswith(META):
                        marked.append(name[len(PREFIX) :])
                elif name not in names and name not in gone:
                    if letter == "w" and honours is None:
                        marked.append(name)
                    else:
                        names[name] = letter, position
            gone |= dict.fromkeys(name for name in marked if name not in names)
        self._width = sum(letter == "d" for letter, _ in names.values())
        return names, list(gone)

    def _below(self, name: str) -> Iterator[bytes | Node[bytes]]:
        resolver, directory, last = self._writer.resolver, self._directory, self._last
        found = resolver.lookup(directory, name)
        if found.error or found.letter != "d":
            try:
                yield from self._writer.found(self._path, name, found, last)
            finally:
                found.close()
            return
        below = lower.rest(directory, last)
        if any(layer <= last for layer, _ in found.redirects):
            last = ALL
        child = resolver.directory(directory, name, found)
        whole = all(part.layer <= last for part in child.parts)
        opaque = whole and lower.hides(resolver, below, name)
        yield _Merged(self._writer, child, last, opaque=opaque)

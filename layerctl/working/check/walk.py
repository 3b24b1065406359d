"""The walk of a check: each directory of each layer, with what is below that layer.

A layer is read as the topmost one of those from it down, so that a marker is judged by what it is
for, whatever the layers above it hide.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.tree import MergedDir, Part
from layerctl.kernel import layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER
from layerctl.working import lower


class _Markers:
    """All attributes that overlay or fuse-overlayfs may read."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.startswith((TRUSTED, USER, FUSE))


class Folder(NamedTuple):
    """One directory of a layer: its names with their types, and what attributes they have.

    `merged` is the directory as the layers from this one down show it, `below` the same without
    this one, `resolver` reads them, and follows everything; `mounted` follows what the options of
    the stack say. `layer` is the number of the layer in the whole stack.
    """

    layer: int
    resolver: Overlay
    mounted: Overlay
    merged: MergedDir
    below: MergedDir
    names: dict[str, str]
    attributes: dict[str, list[str]]
    #: Whether a lookup finds it; otherwise nobody knows what it would be merged with.
    reached: bool = True
    #: Whether its layer was named alone, so that nobody knows what is below it.
    alone: bool = False
    unsure: Callable[[str], None] = lambda _: None

    @property
    def fd(self) -> int:
        """The open directory."""
        return self.merged.parts[0].fd

    @property
    def is_upper(self) -> bool:
        """Whether it is in the upper layer of the stack."""
        return self.layer == 0 and self.resolver.settings.has_upper

    @property
    def hides_by_attribute(self) -> bool:
        """Whether the kernel leaves out whiteouts by attribute of its own layer in a listing."""
        merged = self.merged
        announced = 0 in self.resolver.xwhiteout_layers
        return merged.xattr_whiteouts and merged.whiteouts and announced

    @property
    def path(self) -> str:
        """Where it is in its layer."""
        return self.merged.parts[0].path

    def place(self, name: str) -> str:
        """Return where a name in it is in the layer."""
        if name == ".":
            return self.path
        return f"{self.path}/{name}" if self.path else name

    def marks(self, name: str) -> set[str]:
        """Return overlay's own attributes of a name, without their prefix."""
        prefix = self.resolver.settings.prefix
        found = (one.removeprefix(prefix) for one in self.attributes.get(name, ())
                 if one.startswith(prefix))  # fmt: skip
        return {one for one in found if not one.startswith("overlay.")}

    def value(self, mark: str, name: str) -> bytes:
        """Return the value of one of them."""
        return self.resolver.value(mark, self.fd, name) or b""

    def is_refused(self, name: str) -> bool:
        """Tell whether the options refuse to follow what a name in it leads to."""
        if self.mounted is self.resolver:
            return False
        found = self.mounted.lookup(self.merged, name)
        found.close()
        return found.error == errno.EPERM

    def hidden(self, name: str) -> bool:
        """Tell whether a layer below has the name."""
        return lower.hides(self.resolver, self.below, name)


class Walk:
    """Walks the layers of an overlay.

    `unsure` are the markers whose effect depends on layers that were not named.
    """

    def __init__(self, view: Opened) -> None:
        assert isinstance(view.resolver, Overlay)  # noqa: S101 - aufs has no markers of this kind
        self.mounted = view.resolver
        self.whole = view.resolver.following()
        self.last = view.resolver.last_lower
        self.unsure: list[str] = []

    def folders(self) -> Iterator[Folder]:
        """Yield every directory of every layer but data-only ones, the layers' own first."""
        for layer in range(self.last + 1):
            resolver = self.whole if layer == 0 else self.whole.below(layer)
            mounted = self.mounted if layer == 0 else self.mounted.below(layer)
            yield from self._down(layer, resolver, mounted)

    def _down(self, layer: int, resolver: Overlay, mounted: Overlay) -> Iterator[Folder]:
        waiting = [(resolver.root(), True, len(self.whole.roots) == 1)]
        while waiting:
            directory, reached, alone = waiting.pop()
            resolver.reopen(directory)
            try:
                folder = self._folder(layer, resolver, mounted, directory)
                yield folder._replace(reached=reached, alone=alone, unsure=self._noted(folder))
                for name, letter in sorted(folder.names.items(), reverse=True):
                    if letter == "d":
                        child, found = _child(resolver, directory, name)
                        if child is not None:
                            child.close()
                            is_alone = alone and folder.value("opaque", name) != b"y"
                            waiting.append((child, reached and found, is_alone))
            finally:
                directory.close()

    def _noted(self, folder: Folder) -> Callable[[str], None]:
        return lambda name: self.unsure.append(folder.place(name))

    def _folder(
        self, layer: int, resolver: Overlay, mounted: Overlay, directory: MergedDir
    ) -> Folder:
        part = directory.parts[0]
        below = lower.rest(directory, 0)
        try:
            names = layers.scan(part.fd, layers.LETTER_OF)
        except OSError as error:
            self.whole.reasons.add(layer, part.path, error)
            return Folder(layer, resolver, mounted, directory, below, {}, {})

        def unread(name: str, error: OSError) -> None:
            self.whole.reasons.add(layer, f"{part.path}/{name}", error)

        found = layers.with_attributes(part.fd, [*names, "."], _Markers(), unread)
        return Folder(layer, resolver, mounted, directory, below, names, found)


def _child(resolver: Overlay, directory: MergedDir, name: str) -> tuple[MergedDir | None, bool]:
    """Return a directory that the layer has, and whether a lookup finds it; else it is alone."""
    found = resolver.lookup(directory, name)
    if not found.error and found.letter == "d" and found.parts[0].layer == 0:
        return resolver.directory(directory, name, found), True
    found.close()
    part = directory.parts[0]
    try:
        fd = layers.open_dir(name, part.fd)
    except OSError:
        return None, False
    path = f"{part.path}/{name}" if part.path else name
    return MergedDir(directory.child_path(name), [Part(0, fd, path)]), False

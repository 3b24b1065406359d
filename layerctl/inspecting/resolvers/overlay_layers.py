"""The open layers of an overlay, and the attributes that it reads in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from layerctl.inspecting.resolvers.resolver import Marker, Reasons
from layerctl.inspecting.resolvers.tree import Part
from layerctl.kernel import layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER, Settings


class OverlayLayers:
    """The layers of one overlay, and how it reads them.

    `roots` are descriptors of the layers' directories, topmost first, `blind` whether the
    attributes cannot be read without privilege, `traps` the identities of directories that a lookup
    refuses to enter because they are layers themselves, `same_fs` whether all layers are on one
    filesystem, `decodes` whether the kernel finds a copied-up file's origin by its handle, which
    takes privilege.
    """

    def __init__(
        self,
        roots: Sequence[int],
        settings: Settings,
        *,
        blind: bool = False,
        traps: frozenset[tuple[int, int]] = frozenset(),
        same_fs: bool = True,
        decodes: bool = True,
    ) -> None:
        self.roots = list(roots)
        self.settings = settings
        self.blind = blind
        self.traps = traps
        self.same_fs = same_fs
        self.decodes = decodes
        self.metacopies = settings.metacopy
        #: What the settings come to, which every directory asks.
        self.verifies, self.checks_redirects = settings.verify, settings.checks_redirects
        self.marker_prefix = ""  # they are devices and attributes
        self.reasons = Reasons()
        self.first_lower = 1 if settings.has_upper else 0
        self.last_lower = len(self.roots) - settings.data_layers - 1
        #: The layers in which an opaque=x was found; the kernel records that per layer.
        self.xwhiteout_layers: set[int] = set()
        self.lower_roots = [
            Part(index, -1, "") for index in range(self.first_lower, self.last_lower + 1)
        ]

    def is_upper(self, layer: int) -> bool:
        """Tell whether a layer is the upper one."""
        return layer < self.first_lower

    def is_metacopy(self, part: Part, name: str) -> bool:
        """Tell whether a file of an open part has only metadata."""
        return self.metacopies and self.value("metacopy", part.fd, name) is not None

    def part(self, layer: int, fd: int, path: str) -> Part:
        """Return an open directory of a layer with its attributes read."""
        part = Part(layer, fd, path)
        names = self._attributes(fd, layer, path)
        if names:
            prefix = self.settings.prefix
            part.attributes = tuple(n[len(prefix) :] for n in names if n.startswith(prefix))
            part.strange = tuple(n for n in names if is_strange(n, prefix))
        return part

    def _attributes(self, fd: int, layer: int, path: str, name: str | None = None) -> list[str]:
        """Return the names of all attributes of a directory or file."""
        try:
            return layers.attribute_names(fd, name)
        except OSError as error:
            self.reasons.add(layer, path, error)
            return []

    def attribute_names(self, fd: int, path: str) -> set[str]:
        """Return overlay's own attributes of an upper directory, without their prefix."""
        prefix = self.settings.prefix
        names = self._attributes(fd, 0, path)
        return {name[len(prefix) :] for name in names if name.startswith(prefix)}

    def value(self, attribute: str, fd: int, name: str | None = None) -> bytes | None:
        """Return the value of an overlay attribute of a directory, or of a name in it."""
        return layers.attribute(self.settings.prefix + attribute, fd, name)

    def opaque(self, part: Part) -> bytes | None:
        """Return the value of `opaque`, which counts only if it is one byte long."""
        if "opaque" not in part.attributes:
            return None
        return self.value("opaque", part.fd)

    def is_xattr_whiteout(self, name: str, fd: int, status: os.stat_result | None = None) -> bool:
        """Tell whether a file is a whiteout by attribute: empty, with any value of it."""
        if status is None:
            status = layers.status(name, fd)
        return (
            status is not None
            and stat.S_ISREG(status.st_mode)
            and status.st_size == 0
            and self.value("whiteout", fd, name) is not None
        )

    def marker(
        self, _layer: int, fd: int, name: str, status: os.stat_result | None
    ) -> Marker | None:
        """Return the whiteout that a file is."""
        letter = None if status is None else layers.letter_of(status)
        if letter == "w":
            return Marker.DEVICE
        if letter == "f" and self.is_xattr_whiteout(name, fd, status):
            return Marker.ATTRIBUTE
        return None

    def in_data_layers(self, path: str) -> tuple[int, str] | None:
        """Find a regular file in the data-only layers (ovl_lookup_data_layers)."""
        for index in range(self.last_lower + 1, len(self.roots)):
            if find_regular(self.roots[index], path):
                return index, path.strip("/")
        return None

    def note_opaque(self, part: Part, opaque: bytes | None) -> bool:
        """Record the value of `opaque` of a part; tell whether a listing looks for xwhiteouts.

        The kernel does that only for lower layers.
        """
        if opaque != b"x" or self.is_upper(part.layer):
            return False
        self.xwhiteout_layers.add(part.layer)
        return True


def find_regular(root: int, path: str) -> bool:
    """Tell whether a layer has a regular file at `path`, no symbolic link on the way."""
    *above, name = path.strip("/").split("/")
    try:
        fd = layers.open_path("/".join(above), root)
    except OSError:
        return False
    try:
        status = layers.status(name, fd)
    finally:
        os.close(fd)
    return status is not None and stat.S_ISREG(status.st_mode)


def identities(roots: Iterable[int]) -> frozenset[tuple[int, int]]:
    """Return device and inode of each layer, which a lookup refuses to enter from another."""
    return frozenset((s.st_dev, s.st_ino) for s in map(os.fstat, roots))


def is_strange(name: str, prefix: str) -> bool:
    """Tell whether an attribute is a marker in a spelling that this mount does not read."""
    if name.startswith(prefix):
        return name.startswith(prefix + "overlay.")
    return name.startswith((TRUSTED, USER, FUSE))

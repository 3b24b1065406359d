"""What upper files remember of where they were copied from, and the index that keeps it."""

from __future__ import annotations

import os

from layerctl.codecs.handles import Handle
from layerctl.inspecting.resolvers.overlay_layers import OverlayLayers
from layerctl.kernel import handles, layers


class Origins:
    """What upper files remember of where they were copied from, as the kernel decodes it."""

    def __init__(self, overlay: OverlayLayers, work: str | None) -> None:
        self._overlay = overlay
        #: The index, -1 where there is none, and what of it goes by each handle.
        self.index = -1
        self.names: dict[tuple[int, bytes], str] = {}
        if overlay.settings.indexed and work is not None:
            self._open_index(work)
        self._attribute = overlay.settings.prefix + "origin"
        self._uuids: dict[int, bytes | None] = {}

    def _open_index(self, work: str) -> None:
        try:
            self.index = layers.open_root(os.path.join(work, "index"))
            for name in os.listdir(self.index):
                handle = handles.named(name)
                if handle is not None:
                    self.names[handle.type, handle.handle] = name
        except FileNotFoundError:
            return
        except OSError as error:
            self._overlay.reasons.add(0, "", error)

    def close(self) -> None:
        """Close the index."""
        if self.index >= 0:
            os.close(self.index)
            self.index = -1

    def indexed(self, layer: int, fd: int, name: str = "") -> str | None:
        """Return the index's name for a lower file: an open one, or a name in an open directory."""
        handle = handles.of(fd, name, self.uuid(layer))
        return None if handle is None else self.names.get((handle.type, handle.handle))

    def points_to(self, name: str, fd: int) -> bool:
        """Tell whether the index's entry for a lower directory names this upper one."""
        upper = handles.remembered(self._overlay.settings.prefix + "upper", self.index, name)
        found = handles.of(fd)
        if upper is None or found is None:
            return False
        return (upper.type, upper.handle) == (found.type, found.handle)

    def uuid(self, layer: int) -> bytes | None:
        """Return the UUID of a layer's filesystem; zeros with uuid=off, None where unknown."""
        if layer not in self._uuids:
            own = self._overlay.settings.uuid or not self._overlay.same_fs
            root = self._overlay.roots[layer]
            self._uuids[layer] = handles.filesystem_uuid(root) if own else bytes(16)
        return self._uuids[layer]

    def remembered(self, fd: int, name: str | None = None) -> Handle | None:
        """Return the origin that an upper file remembers."""
        return handles.remembered(self._attribute, fd, name)

    def of_file(self, fd: int, name: str, status: os.stat_result) -> os.stat_result | None:
        """Return the lower file that an upper file was copied from (ovl_check_origin)."""
        handle = self.remembered(fd, name)
        return None if handle is None else self.decoded(handle, status)

    def decoded(self, handle: Handle, status: os.stat_result) -> os.stat_result | None:
        """Return what a handle names in the lower layers, if it is of the type of `status`."""
        overlay = self._overlay
        if not overlay.decodes:
            return None
        for layer in range(overlay.first_lower, len(overlay.roots)):
            if self.uuid(layer) not in (None, handle.uuid):
                continue
            try:
                found = handles.decode(handle, overlay.roots[layer])
            except OSError as error:
                overlay.reasons.add(layer, "", error)
                return None
            if found is not None:
                same = layers.letter_of(found) == layers.letter_of(status)
                return found if same else None
        return None

    def match(self, fd: int, layer: int, lower: int) -> bool:
        """Tell whether an upper directory remembers this lower one (ovl_verify_fh).

        Where it remembers nothing, the kernel notes the lower one now, and takes it.
        """
        if layers.attribute(self._attribute, fd) is None:
            return True
        return self.same(self.remembered(fd), layer, lower)

    def same(self, handle: Handle | None, layer: int, fd: int, name: str = "") -> bool:
        """Tell whether a handle is that of an open file, or of a name in an open directory."""
        uuid = self.uuid(layer)
        found = handles.of(fd, name, uuid)
        if handle is None or found is None:
            return False
        if uuid is None:
            return (handle.type, handle.handle) == (found.type, found.handle)
        return handle.raw == found.raw

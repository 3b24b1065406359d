"""One lookup in an overlay, layer by layer (ovl_lookup in namei.c, 6.18)."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from layerctl.inspecting.resolvers.origins import Origins
from layerctl.inspecting.resolvers.overlay_layers import OverlayLayers
from layerctl.inspecting.resolvers.resolver import Found, Stop
from layerctl.inspecting.resolvers.tree import MergedDir, Part
from layerctl.kernel import layers

#: A metacopy value of one to three bytes is malformed (OVL_METACOPY_MIN_SIZE).
_METACOPY_MIN = 4

_METACOPY = "its data is elsewhere (metacopy), and this mount does not follow that"
_REDIRECT = "it was renamed (redirect), and this mount does not follow that"
_BAD_INDEX = "the index entry for it has another type"
_UNCOVERED = "the index has it as another directory, which was renamed or copied up from it"
_TWICE = "the index has its lower directory under another upper directory"
_NOT_ORIGIN = "its data is elsewhere (metacopy), but not in the file that it was copied from"
_NO_DATA = "its data is elsewhere (metacopy), but no lower layer has it"


class _RefusedError(Exception):
    """The kernel would answer the lookup with an error."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number = number
        self.why = why


class _Element(NamedTuple):
    """One name to look up in one directory of a layer, with the path before and after it."""

    fd: int
    base: Part
    name: str
    before: str
    after: str

    @property
    def path(self) -> str:
        return f"{self.base.path}/{self.name}" if self.base.path else self.name


class OverlayLookup:
    """The state of one lookup (struct ovl_lookup_data). Run it once."""

    def __init__(self, overlay: OverlayLayers, origins: Origins | None, name: str) -> None:
        self._overlay = overlay
        self._origins = origins
        self._settings = overlay.settings
        self._name = name  # becomes another name, or an absolute path, by redirects
        self._last = False
        self._is_dir = False
        self._letter = ""
        self._metacopy = False
        self._redirect: str | None = None
        self._upper_redirect: str | None = None
        self._absolute = False
        self._found = Found()

    def run(self, directory: MergedDir) -> Found:
        """Look the name up in a merged directory."""
        found = self._found
        path = directory.child_path(self._name)
        try:
            self._through_layers(directory)
        except _RefusedError as error:
            found.error, found.refused = error.number, error.why
        except OSError as error:
            found.error = error.errno or errno.EIO
            found.refused = error.strerror or "it cannot be read"
            self._overlay.reasons.add(directory.parts[0].layer, path, error)
        return found

    def _through_layers(self, directory: MergedDir) -> None:
        overlay, found = self._overlay, self._found
        lowers = [part for part in directory.parts if not overlay.is_upper(part.layer)]
        self._last = not self._overlay.checks_redirects and not lowers
        upper_metacopy = False
        if len(lowers) < len(directory.parts):
            above = self._in_layer(directory.parts[0])
            if above is not None:
                self._take(above)
            upper_metacopy = self._metacopy
            self._upper_redirect = self._redirect
            if self._redirect is not None and self._redirect.startswith("/"):
                lowers = overlay.lower_roots
        below = self._through_lowers(directory, lowers)
        if self._metacopy and below and self._settings.data_layers and self._absolute:
            # The contents are in a data-only layer; this is allowed without metacopy=on.
            found.metacopy = True
            found.data = overlay.in_data_layers(self._redirect or "")
            return
        self._may_follow()
        found.metacopy = upper_metacopy or found.data is not None
        if self._metacopy or (upper_metacopy and not below):
            found.data = None
            raise _RefusedError(errno.EIO, _NO_DATA)
        if self._origins is not None and self._origins.names and found.parts:
            self._look_in_index(self._origins, directory)

    def _through_lowers(self, directory: MergedDir, lowers: list[Part]) -> int:
        """Search the lower layers; return in how many of them something was found."""
        overlay, found, settings = self._overlay, self._found, self._settings
        below = index = 0
        while found.stop is None and index < len(lowers):
            part = lowers[index]
            self._may_follow()
            if not overlay.checks_redirects:
                self._last = index == len(lowers) - 1
            elif self._is_dir or not settings.data_layers:
                self._last = part.layer == overlay.last_lower
            this = self._in_layer(part)
            index += 1
            if this is None:
                continue
            if not below and not self._verified(directory, this):
                break
            if self._is_dir or not found.parts:
                self._take(this)
                below += 1
            else:
                if self._metacopy:
                    found.between = (*found.between, (this.layer, this.path))
                if not (self._metacopy and below):  # a file's contents, under its metadata
                    found.data = (this.layer, this.path)
                    below += 1
            if self._redirect is not None and self._redirect.startswith("/"):
                lowers = overlay.lower_roots
                index = part.layer - lowers[0].layer + 1
        return below

    def _verified(self, directory: MergedDir, below: Part) -> bool:
        """Tell whether the first lower object is what the upper one was copied from.

        If not, with nfs_export=on a directory and everything below it is left out, and with
        index=on the lookup of a metacopy file fails.
        """
        overlay, found, origins = self._overlay, self._found, self._origins
        if origins is None or not found.parts or not overlay.is_upper(found.parts[0].layer):
            return True
        upper = found.parts[0]
        if self._is_dir:
            if not self._overlay.verifies or origins.match(upper.fd, below.layer, below.fd):
                return True
            os.close(below.fd)
            return False
        if self._settings.indexed:
            name = upper.path.rpartition("/")[2]
            handle, own = origins.remembered(directory.parts[0].fd, name), self._status_of(upper)
            if handle is not None and own is not None and origins.decoded(handle, own) is not None:
                above, _, name = below.path.rpartition("/")
                fd = layers.open_path(above, overlay.roots[below.layer])
                try:
                    if not origins.same(handle, below.layer, fd, name):
                        raise _RefusedError(errno.ESTALE, _NOT_ORIGIN)
                finally:
                    os.close(fd)
        return True

    def _look_in_index(self, origins: Origins, directory: MergedDir) -> None:
        """Look the lower file up in the index (ovl_lookup_index).

        Directories are looked up only if their origin is verified (ovl_index_all).
        """
        found = self._found
        top = found.parts[0]
        upper = top if self._overlay.is_upper(top.layer) else None
        if self._is_dir and not self._overlay.verifies:
            return
        name = self._name_in_index(origins, directory, upper)
        status = None if name is None else layers.status(name, origins.index)
        if name is None or status is None:
            return
        if layers.letter_of(status) != found.letter:
            found.misplaced = True
            raise _RefusedError(errno.EIO, _BAD_INDEX)
        if self._is_dir:
            if upper is None:
                raise _RefusedError(errno.EIO, _UNCOVERED)
            if not origins.points_to(name, upper.fd):
                raise _RefusedError(errno.EIO, _TWICE)
        elif upper is None:
            found.copied = name
        else:
            own = self._status_of(upper)
            if own is None or own.st_ino != status.st_ino:
                return
        found.indexed = True

    def _name_in_index(
        self, origins: Origins, directory: MergedDir, upper: Part | None
    ) -> str | None:
        """Return the name in the index for the result of a lookup."""
        found = self._found
        if self._is_dir:
            lowers = found.parts[1:] if upper is not None else found.parts
            return origins.indexed(lowers[0].layer, lowers[0].fd) if lowers else None
        lower = None if upper is not None else (found.parts[0].layer, found.parts[0].path)
        if upper is not None and found.origin is None:
            base = directory.parts[0]
            own = self._status_of(upper)
            handle = origins.remembered(base.fd, upper.path.rpartition("/")[2])
            if handle is None or own is None or origins.decoded(handle, own) is None:
                return None
            return origins.names.get((handle.type, handle.handle))
        layer, path = lower or found.origin or (0, "")
        above, _, name = path.rpartition("/")
        fd = layers.open_path(above, self._overlay.roots[layer])
        try:
            return origins.indexed(layer, fd, name)
        finally:
            os.close(fd)

    def _status_of(self, part: Part) -> os.stat_result | None:
        above, _, name = part.path.rpartition("/")
        fd = layers.open_path(above, self._overlay.roots[part.layer])
        try:
            return layers.status(name, fd)
        finally:
            os.close(fd)

    def _take(self, part: Part) -> None:
        if not self._found.parts:
            self._found.letter = self._letter
        self._found.parts.append(part)

    def _may_follow(self) -> None:
        """Refuse an attribute for a feature that is off (ovl_check_follow_redirect)."""
        if self._metacopy and not self._settings.metacopy:
            raise _RefusedError(errno.EPERM, _METACOPY)
        redirected = self._redirect is not None or self._upper_redirect is not None
        if redirected and not self._settings.follow:
            raise _RefusedError(errno.EPERM, _REDIRECT)

    def _in_layer(self, base: Part) -> Part | None:
        """Look the wanted name, or absolute path, up in one layer (ovl_lookup_layer)."""
        root = self._overlay.roots[base.layer]
        if not self._name.startswith("/"):
            fd = base.fd if base.path else root
            return self._single(_Element(fd, base, self._name, "", ""))
        here = Part(base.layer, os.dup(root), "")
        remaining = len(self._name) - 1
        while True:
            # Counted from the end: a redirect may change what precedes it.
            start = len(self._name) - remaining
            name, slash, after = self._name[start:].partition("/")
            try:
                below = self._single(
                    _Element(here.fd, here, name, self._name[:start], slash + after)
                )
            finally:
                os.close(here.fd)
            if below is None or not slash or below.fd < 0:
                return below
            remaining -= len(name) + 1
            here = below

    def _single(self, element: _Element) -> Part | None:
        """Look one name up in one directory of one layer (ovl_lookup_single)."""
        if element.name in (".", ".."):
            raise _RefusedError(errno.EACCES, f"a redirect leads through '{element.name}'")
        overlay, layer = self._overlay, element.base.layer
        status = layers.status(element.name, element.fd)
        if status is None:
            return None
        final = not element.after
        letter = layers.letter_of(status)
        if letter == "w":
            self._stop("whiteout", element)
            return None
        if letter == "f" and overlay.is_xattr_whiteout(element.name, element.fd, status):
            self._stop("xattr", element)
            return None
        if final and self._metacopy and letter != "f":
            self._stop(letter, element)
            return None
        if letter != "d":
            return self._single_file(element, letter)
        if (status.st_dev, status.st_ino) in overlay.traps:
            raise _RefusedError(errno.ELOOP, "it is a layer of this mount itself")
        part = overlay.part(layer, layers.open_dir(element.name, element.fd), element.path)
        if final:
            self._is_dir = True
            self._letter = letter
        if not self._last:
            try:
                self._read_attributes(element, part, final=final)
            except BaseException:
                os.close(part.fd)
                raise
        return part

    def _read_attributes(self, element: _Element, part: Part, *, final: bool) -> None:
        opaque = self._overlay.opaque(part)
        if opaque == b"y":
            self._stop("opaque", element)
            if final:
                self._found.opaque = part.layer
            return
        if final and self._overlay.note_opaque(part, opaque):
            self._found.xattr_whiteouts = True
        value = None
        if "redirect" in part.attributes:
            value = self._overlay.value("redirect", part.fd)
        self._follow(value, element)

    def _single_file(self, element: _Element, letter: str) -> Part | None:
        """Continue a lookup that found something other than a directory."""
        if element.after or self._is_dir:
            self._stop(letter, element)
            return None
        self._letter = letter
        self._metacopy = False
        if letter == "f":
            value = self._overlay.value("metacopy", element.fd, element.name)
            if value is not None and 0 < len(value) < _METACOPY_MIN:
                raise _RefusedError(errno.EIO, "its metacopy attribute is too short")
            self._metacopy = value is not None
        if not self._metacopy:
            self._stop(letter, element)
        elif not self._last:
            self._follow(self._overlay.value("redirect", element.fd, element.name), element)
        return Part(element.base.layer, -1, element.path)

    def _stop(self, kind: str, element: _Element) -> None:
        self._found.stop = Stop(kind, element.base.layer, element.path)

    def _follow(self, value: bytes | None, element: _Element) -> None:
        """Search for another name in the layers below (ovl_check_redirect)."""
        self._absolute = False
        if value is None:
            return
        target = os.fsdecode(value.split(b"\0", 1)[0])
        first, *others = target.split("/")
        absolute = target.startswith("/")
        if (absolute and "" in others) or (not absolute and (others or not first)):
            raise _RefusedError(errno.EINVAL, f"its redirect '{target}' is invalid")
        found = self._found
        found.redirects = (*found.redirects, (element.base.layer, target))
        if absolute:
            self._absolute = True
            found.stop = None
        self._redirect = (target if absolute else element.before + target) + element.after
        self._name = self._redirect

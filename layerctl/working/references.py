"""What the upper layer refers to below it under another name than its own.

A renamed directory has a redirect to its lower one, a renamed file remembers the lower file that it
was copied from. If the lower one shows again, the kernel has two names of one inode, and a lookup
of one of them fails, or shows the other one's content (see `inspecting.resolvers.inodes`).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers import inodes
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import look_up
from layerctl.kernel import layers


class Rename(NamedTuple):
    """Something of the upper layer at `path`, with data or a directory of lower layers elsewhere.

    `lower` is the path at which the stack without the upper layer shows that.
    """

    path: str
    lower: str


class References:
    """What an upper layer refers to: found by one walk through it."""

    def __init__(self, view: Opened, overlay: Overlay) -> None:
        self._view = view
        self._overlay = overlay
        #: Directories with a redirect, and files with metadata only.
        self.renames: list[Rename] = []
        #: Files that remember a lower file that is not at their own path.
        self.copies: list[str] = []
        self._lowers: dict[str, str | None] = {"": ""}
        for fd, path in layers.directories(overlay.roots[0], self._unread):
            if path:
                self._lowers[path] = self._lower_of(fd, path)
            self._files(fd, path)

    def lower_of(self, path: str) -> str | None:
        """Return where the stack without the upper layer shows what lies below a path.

        None if nothing lies below, since a directory above it is opaque.
        """
        return self._lowers[path] if path in self._lowers else self.beneath(path)

    def beneath(self, path: str) -> str | None:
        """Return where the stack without the upper layer shows what shows once a path is dropped.

        None if nothing does.
        """
        above, _, name = path.rpartition("/")
        below = self.lower_of(above)
        return None if below is None else f"{below}/{name}".lstrip("/")

    def upper_of(self, lower: str) -> str:
        """Return where the upper layer has, or hides, what is at a path of the lower layers."""
        best, place = "", lower
        for path, below in self._lowers.items():
            if below and len(below) > len(best) and lower.startswith(f"{below}/"):
                best, place = below, f"{path}{lower[len(below) :]}"
        return place

    def _unread(self, path: str, error: OSError) -> None:
        raise RefusedError(
            "layer-part-unreadable",
            f"{self._view.layers[0]}/{path} cannot be read: {error.strerror}",
            why="what it refers to is not known",
            hint="run the command as root",
        )

    def _lower_of(self, fd: int, path: str) -> str | None:
        overlay = self._overlay
        own = overlay.attribute_names(fd, path)
        if "opaque" in own and overlay.value("opaque", fd) == b"y":
            return None
        value = overlay.value("redirect", fd) if "redirect" in own else None
        if value is None:
            return self.beneath(path)
        target = os.fsdecode(value.split(b"\0", 1)[0])
        absolute = target.startswith("/")
        above = path.rpartition("/")[0]
        lower = target.strip("/") if absolute else self.beneath(f"{above}/{target}".lstrip("/"))
        if lower is not None and lower != self.beneath(path):
            self.renames.append(Rename(path, lower))
        return lower

    def _files(self, fd: int, path: str) -> None:
        overlay, prefix = self._overlay, self._overlay.settings.prefix
        wanted = (f"{prefix}metacopy", f"{prefix}origin")

        def unread(name: str, error: OSError) -> None:
            self._unread(f"{path}/{name}", error)

        names = [n for n, letter in layers.scan(fd, layers.LETTER_OF).items() if letter not in "dw"]
        for name, present in layers.with_attributes(fd, names, wanted, unread).items():
            place = f"{path}/{name}".lstrip("/")
            if wanted[0] in present:
                found = look_up(overlay, place)
                found.close()
                if found.origin is not None and found.origin[1] != self.lower_of(place):
                    self.renames.append(Rename(place, found.origin[1]))
                continue
            status = layers.status(name, fd)
            if status is None or overlay.origins is None:
                continue
            lower = overlay.origins.of_file(fd, name, status)
            if lower is not None and not self._stays(place, lower):
                self.copies.append(place)

    def _stays(self, path: str, lower: os.stat_result) -> bool:
        """Tell whether a lower file is below its copy, which hides it."""
        place = self.lower_of(path)
        if place is None:
            return False
        above, _, name = place.rpartition("/")
        return inodes.stays(self._overlay, above, name, lower)


def is_in(path: str, above: str) -> bool:
    """Tell whether a path is another one, or below it."""
    return path == above or path.startswith(f"{above}/")

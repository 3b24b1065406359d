"""The forms that markers have: what each filesystem reads, and what it is given.

overlay has whiteouts as 0:0 devices or by attribute, and opaque directories by attribute. aufs has
files: `.wh.NAME`, and `.wh..wh..opq` in an opaque directory (aufs.5). fuse-overlayfs reads all of
these, and writes devices as root and files otherwise (its main.c, whiteout.rs); it is given files,
which every version reads with and without privilege.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from layerctl.rules.overlay import FUSE, TRUSTED, USER

#: Whether a file has all of its own data and is where its name says, to overlay; and what overlay
#: shows of an upper file instead of its flags.
_BOUND = ("redirect", "metacopy", "protattr")
#: Attributes that tell the owner, the mode and the type of a file in its stead (fuse-overlayfs's
#: datasource.rs).
OVERRIDES = frozenset({
    "user.fuseoverlayfs.override_stat", "security.fuseoverlayfs.override_stat",
    "user.containers.override_stat",
})  # fmt: skip
#: aufs's own names in the directory of a branch: all that it creates at a mount.
BASE = ".wh..wh.aufs"
HOUSEKEEPING = frozenset({BASE, ".wh..wh.plnk", ".wh..wh.orph", ".wh..wh.hino"})
#: The longest names: aufs looks up no longer one (AUFS_MAX_NAMELEN), and a whiteout's name is
#: `.wh.` and the name that it hides.
LONGEST = {"aufs": 242, "fuse-overlayfs": 251}


class Form(StrEnum):
    """A filesystem, as the form that its markers have."""

    OVERLAY = "overlay"
    AUFS = "aufs"
    FUSE = "fuse-overlayfs"


class Syntax(NamedTuple):
    """A form; for overlay, `prefix` is that of its attributes."""

    form: Form
    prefix: str = ""

    @property
    def devices(self) -> bool:
        """Whether a 0:0 device is a whiteout."""
        return self.form is not Form.AUFS

    @property
    def files(self) -> bool:
        """Whether names that start with `.wh.` are markers."""
        return self.form is not Form.OVERLAY

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the attributes begin with that this filesystem reads or hides."""
        if self.form is Form.FUSE:
            return TRUSTED, USER, FUSE
        return (self.prefix,) if self.form is Form.OVERLAY else ()

    def is_own(self, attribute: str) -> bool:
        """Tell whether an attribute belongs to this filesystem, and is not shown through it."""
        return attribute.startswith(self.prefixes) if self.prefixes else False

    def mark(self, attribute: str) -> str:
        """Return an attribute of its own without its prefix."""
        for prefix in self.prefixes:
            if attribute.startswith(prefix):
                return attribute.removeprefix(prefix)
        return attribute

    def is_bound(self, attribute: str) -> bool:
        """Tell whether an attribute says what no other form can."""
        if self.form is not Form.OVERLAY:
            return attribute in OVERRIDES and self.form is Form.FUSE
        mark = self.mark(attribute)
        return self.is_own(attribute) and (mark in _BOUND or mark.startswith("overlay."))

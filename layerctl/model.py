"""The data types shared by all packages. Pure data: no I/O, no decisions.

Paths are `str` as `os.fsdecode` makes them: bytes that are not UTF-8 are surrogate escapes, so
that every path goes to the kernel and back unharmed. They are named tuples, not dataclasses,
which cost four times as much at start-up; `_replace` makes a changed copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

_NO_OPTIONS: Mapping[str, str | None] = {}


class Role(StrEnum):
    """What a layer is for in its stack."""

    UPPER = "upper"
    LOWER = "lower"
    DATA = "data"
    BRANCH = "branch"


class Layer(NamedTuple):
    """One directory of a stack. `permission` is aufs's (`rw`, `ro+wh`, ...), None its default."""

    path: str
    role: Role
    permission: str | None = None


class Stack(NamedTuple):
    """A layered filesystem, mounted or not: a type, layers from the topmost down, options.

    `options` are the filesystem's own (`redirect_dir`, `xino`, ...) in the order given, None as
    value for a bare word. `flags` are those of any mount (`ro`, `nosuid`, `x-...`).
    """

    fstype: str
    layers: tuple[Layer, ...]
    work: str | None = None
    options: Mapping[str, str | None] = _NO_OPTIONS
    flags: tuple[str, ...] = ()

    def of_role(self, role: Role) -> tuple[Layer, ...]:
        """Return the layers of one role, topmost first."""
        return tuple(layer for layer in self.layers if layer.role is role)

    @property
    def upper(self) -> str | None:
        """The upper directory of an overlay, None where there is none."""
        return next((layer.path for layer in self.layers if layer.role is Role.UPPER), None)

    @property
    def read_only(self) -> bool:
        """Whether the mount was asked to be read-only (the last of `ro` and `rw` counts)."""
        return next((flag == "ro" for flag in reversed(self.flags) if flag in ("ro", "rw")), False)


class MountEntry(NamedTuple):
    """One line of /proc/PID/mountinfo (proc(5)), its fields octal-decoded.

    `super_options` alone is left as the kernel wrote it, since commas inside values are only told
    from separators before decoding.
    """

    mount_id: int
    parent_id: int
    device: str
    root: str
    target: str
    mount_options: tuple[str, ...]
    fstype: str
    source: str
    super_options: str


class Aliasing(StrEnum):
    """What a path of an overlay and another one, both copied from one lower file, come to.

    The kernel has one inode for the two, made for whichever is looked up first. FIRST is that
    path, STALE one that a lookup then denies, SHARED one that shows the first one's file. INDEXED
    is a lower file that was changed by another of its names, and shown so since the index has it;
    BAD_INDEX is what a lookup denies because the index has something else in its place; ABSENT is
    what the mount remembers to be absent, from before its layers were changed beneath it. Of an
    aufs, PSEUDO_LINK is a name of a hard-linked file that shows the copy made for another one.
    """

    FIRST = "first-path"
    STALE = "second-path"
    SHARED = "shared-inode"
    INDEXED = "indexed"
    BAD_INDEX = "bad-index"
    ABSENT = "remembered-absent"
    PSEUDO_LINK = "pseudo-link"


class Severity(StrEnum):
    """The severity of a finding."""

    FAILURE = "failure"
    WARNING = "warning"
    INFO = "info"


class Certainty(StrEnum):
    """How surely a cause is the one: it was seen or said, it is likely, or it would fit."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Fix(NamedTuple):
    """What to do about a finding: a sentence, and commands to paste."""

    text: str
    commands: tuple[str, ...] = ()


class Finding(NamedTuple):
    """A cause as people and scripts are shown it, with its texts: the one shape of a report.

    `cause` is an id of the catalogue or of the table of errors, `evidence` what was seen, quoted.
    Checks and the reader of texts make clues, of which `layerctl.diagnosing.catalogue` makes
    findings; `layerctl.errors` makes an error of the finding that ends a command.
    """

    cause: str
    severity: Severity
    title: str
    why: str
    evidence: tuple[str, ...]
    fix: Fix
    certainty: Certainty = Certainty.CERTAIN

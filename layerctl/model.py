"""The data types shared by all packages. Pure data: no I/O, no decisions.

Paths are `str` as decoded by `os.fsdecode`: bytes that are not UTF-8 are surrogate escapes, so any
path survives. The types are named tuples, not dataclasses, which take four times as long to import;
`_replace` returns a changed copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

_NO_OPTIONS: Mapping[str, str | None] = {}


class Role(StrEnum):
    """The role of a layer in its stack."""

    UPPER = "upper"
    LOWER = "lower"
    DATA = "data"
    BRANCH = "branch"


#: One extent of a map, as in /proc/PID/uid_map: the first id on disk, the first id seen, how many.
Extent = tuple[int, int, int]


class IdMap(NamedTuple):
    """Which owners are seen for those on disk, through an idmapped layer (user_namespaces(7))."""

    uids: tuple[Extent, ...]
    gids: tuple[Extent, ...]


class Layer(NamedTuple):
    """One directory of a stack; `permission` is for aufs (`rw`, `ro+wh`, ...), None the default.

    `map` changes the owners of an overlay's layer; mountinfo does not show it, so no live stack has
    one.
    """

    path: str
    role: Role
    permission: str | None = None
    map: IdMap | None = None


class Stack(NamedTuple):
    """A layered filesystem, mounted or not: a type, layers from the topmost down, options.

    `options` are those of the filesystem (`redirect_dir`, `xino`, ...) in order, with None as the
    value of a bare word. `flags` are those of any mount (`ro`, `nosuid`, `x-...`).
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
        """The upper directory of an overlay, or None."""
        return next((layer.path for layer in self.layers if layer.role is Role.UPPER), None)

    @property
    def is_mapped(self) -> bool:
        """Whether any layer has its owners mapped."""
        return any(layer.map is not None for layer in self.layers)

    @property
    def read_only(self) -> bool:
        """Whether the mount is requested read-only (the last of `ro` and `rw` counts)."""
        return next((flag == "ro" for flag in reversed(self.flags) if flag in ("ro", "rw")), False)


class MountEntry(NamedTuple):
    """One line of /proc/PID/mountinfo (proc(5)), its fields octal-decoded.

    Only `super_options` is not decoded, since commas in values must be distinguished from
    separators before decoding.
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


class Severity(StrEnum):
    """The severity of a finding."""

    FAILURE = "failure"
    WARNING = "warning"
    INFO = "info"


class Certainty(StrEnum):
    """How certain a cause is: observed or reported, likely, or only possible."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Fix(NamedTuple):
    """The fix for a finding: a sentence, and commands to paste."""

    text: str
    commands: tuple[str, ...] = ()


class Finding(NamedTuple):
    """A cause with its texts, as shown to people and scripts.

    `cause` is an id of the catalogue or of the table of errors, `evidence` what was observed.
    Checks and the reader of texts produce clues; `layerctl.diagnosing.catalogue` makes findings of
    them, and `layerctl.errors` makes an error of the finding that ends a command.
    """

    cause: str
    severity: Severity
    title: str
    why: str
    evidence: tuple[str, ...]
    fix: Fix
    certainty: Certainty = Certainty.CERTAIN

"""The nouns that travel between the rooms. Pure data: no I/O, no decisions.

Paths are `str` as `os.fsdecode` makes them: bytes that are no UTF-8 are surrogate escapes, so
that every path goes to the kernel and back unharmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a layer is for in its stack."""

    UPPER = "upper"
    LOWER = "lower"
    DATA = "data"
    BRANCH = "branch"


@dataclass(frozen=True, slots=True)
class Layer:
    """One directory of a stack. `permission` is aufs's (`rw`, `ro+wh`, ...), None its default."""

    path: str
    role: Role
    permission: str | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """A layered filesystem, mounted or not: a type, layers from the topmost down, options.

    `options` are the filesystem's own (`redirect_dir`, `xino`, ...) in the order given, None as
    value for a bare word. `flags` are those of any mount (`ro`, `nosuid`, `x-...`).
    """

    fstype: str
    layers: tuple[Layer, ...]
    work: str | None = None
    options: Mapping[str, str | None] = field(default_factory=dict)
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


@dataclass(frozen=True, slots=True)
class MountEntry:
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


class Severity(StrEnum):
    """How bad a finding is."""

    FAILURE = "failure"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Fix:
    """What to do about a finding: a sentence, and commands that can be pasted."""

    text: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnosis: `cause` is the catalogue's id, `evidence` what was seen, quoted."""

    cause: str
    severity: Severity
    title: str
    why: str
    evidence: tuple[str, ...]
    fix: Fix

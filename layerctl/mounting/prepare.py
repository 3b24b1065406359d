"""Fill in what a request leaves open, with a note: work directory, xino file, userxattr."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from layerctl.errors import RefusedError, RequestError, as_finding
from layerctl.kernel import making, paths
from layerctl.kernel.facts import Caller, Directory, Facts
from layerctl.kernel.mounts import Mounted
from layerctl.model import Finding, Stack
from layerctl.rules import aufs

#: Where to look for a tmpfs for the xino file: those that only root can write to come first.
XINO_CANDIDATES = ("/run", "/dev/shm")  # noqa: S108 - aufs makes the file O_EXCL and unlinks it


class Swap(NamedTuple):
    """The mount to replace; `lazy` detaches it even if it is in use.

    `keeps` means that the new mount has the same upper layer, `ours` that the old one was mounted a
    moment ago, by the same command.
    """

    old: Mounted
    lazy: bool
    keeps: bool = False
    ours: bool = False

    @property
    def is_written(self) -> bool:
        """Whether the old mount can still change its upper layer, a layer of the new one."""
        words = self.old.entry.super_options.split(",")
        return self.old.stack.upper is not None and "ro" not in words


class Prepared(NamedTuple):
    """A complete request: directories to create first, findings, notes.

    `default_work` is the work directory if none was named, `swap` is the mount that it replaces.
    """

    stack: Stack
    source: str
    target: str
    make: tuple[str, ...]
    facts: Facts
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    default_work: str | None = None
    swap: Swap | None = None

    def all_notes(self, *, mounted: bool) -> tuple[str, ...]:
        """Return the notes and the default work directory; once `mounted`, whether it is new."""
        if self.default_work is None:
            return self.notes
        made = ", created for this mount" if mounted and self.default_work in self.make else ""
        return (*self.notes, f"the work directory is {self.default_work}{made}")


FactsOf = Callable[[str], Directory]


def unmakable(make: Sequence[str]) -> list[Finding]:
    """Return a finding for each directory that cannot be created."""
    refusals = ((path, making.refusal(path)) for path in make)
    return [as_finding(not_made(path, error)) for path, error in refusals if error is not None]


def not_made(path: str, error: OSError) -> RefusedError:
    """Return the error for a directory that cannot be created."""
    return RefusedError(
        "directory-not-made",
        f"{path} cannot be created: {error.strerror}",
        why="--mkdir or the default work directory needs a new directory there",
        hint="use a path where directories can be created (-w DIR for the work directory)",
    )


def user_xattr(stack: Stack, caller: Caller) -> tuple[Stack, str]:
    """Return the stack with `userxattr` if a user namespace needs it, and a note.

    Trusted attributes are out of reach there, and without them a deleted and recreated
    directory fails with EIO (Documentation/filesystems/overlayfs.rst).
    """
    if stack.fstype != "overlay" or not caller.in_user_namespace or "userxattr" in stack.options:
        return stack, ""
    note = (
        "user namespace: using userxattr, which keeps markers in user.overlay.* (redirect_dir and "
        "metacopy are off; opaque directories in layers that root created with trusted.overlay.* "
        "appear merged)"
    )
    return stack._replace(options={**stack.options, "userxattr": None}), note


def xino(stack: Stack, choice: str, facts_of: FactsOf) -> tuple[Stack, str]:
    """Return the aufs stack with the place of its xino file, and a note.

    `choice` is `auto`, `default`, `none` or a path. Raises RequestError if the options name
    a place already.
    """
    given = [name for name in ("xino", "noxino") if name in stack.options]
    if choice in ("auto", "default"):
        if given or choice == "default":
            return stack, ""
        return _auto_xino(stack, facts_of)
    if given:
        raise RequestError(
            "conflicting-options",
            f"--aufs-xino and -o {given[0]} cannot be combined",
            hint="use only one of them",
        )
    if choice == "none":
        return stack._replace(options={**stack.options, "noxino": None}), ""
    return stack._replace(options={**stack.options, "xino": choice}), ""


def can_hold_xino(directory: Directory) -> bool:
    """Tell whether aufs can keep its xino file on a directory's filesystem."""
    mount = directory.mount
    return mount is not None and aufs.can_hold_xino(
        mount.fstype, has_device=not mount.device.startswith("0:")
    )


def _auto_xino(stack: Stack, facts_of: FactsOf) -> tuple[Stack, str]:
    facts = {layer.path: facts_of(layer.path) for layer in stack.layers}
    types = {path: one.fstype for path, one in facts.items() if one.fstype is not None}
    layers = aufs.with_permissions(stack, types).layers
    fallback = facts_of(os.path.dirname(aufs.XINO_FALLBACK))
    place, holds = aufs.default_xino(
        ((layer, can_hold_xino(facts[layer.path])) for layer in layers),
        fallback_holds=can_hold_xino(fallback),
    )
    if holds:
        return stack, ""
    for candidate in XINO_CANDIDATES:
        directory = facts_of(candidate)
        if directory.is_directory and directory.fstype == "tmpfs":
            path = paths.unique(f"{candidate}/aufs-", ".xino")
            note = (
                f"aufs cannot keep its xino file in {place} ({fallback.fstype}): using a tmpfs "
                f"instead (xino={path})"
            )
            return stack._replace(options={**stack.options, "xino": path}), note
    return stack, ""

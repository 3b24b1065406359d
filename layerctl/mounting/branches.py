"""Changing the branches of a mounted aufs: by remount, verified, and undone if it differs."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence

from layerctl.errors import LayerctlError, NotPermittedError, RefusedError, RequestError
from layerctl.kernel import beneath, holders, mounts, paths, standing, syscalls
from layerctl.kernel.facts.common import directory
from layerctl.kernel.kmsg import KernelLog
from layerctl.kernel.mounts import Mounted
from layerctl.model import Layer, Stack
from layerctl.mounting import busy, readback
from layerctl.rules.aufs import permission_problem
from layerctl.rules.branches import BranchChange, changed
from layerctl.rules.flags import mount2_flags
from layerctl.rules.limits import MAX_BRANCHES
from layerctl.rules.words import count, shell

_ADDS = frozenset({"add", "append", "prepend"})


def planned(mounted: Mounted, changes: Sequence[BranchChange]) -> Stack:
    """Return the stack as it will be.

    Raises RequestError for changes that make no sense, RefusedError for a directory that does not
    exist or is a branch already.
    """
    stack = mounted.stack
    for change in changes:
        path = change.branch.path
        permission = change.branch.permission
        problem = permission_problem(permission) if permission is not None else ""
        if problem:
            raise RequestError(
                "aufs-branch-permission-unknown",
                f"branch {path}: {problem}",
                why="aufs would use another permission and say so only in the kernel log",
                hint="use one of rw, ro, rr, ro+wh, rr+wh, rw+nolwh",
            )
        if change.word in ("del", "mod"):
            if not any(layer.path == path for layer in stack.layers):
                raise RefusedError(
                    "no-such-branch",
                    f"{path} is not a branch of {mounted.entry.target}",
                    commands=(shell("layerctl", "branch", "list", mounted.entry.target),),
                )
        else:
            _check_new(stack, path)
        stack = _after(stack, change)
    if not stack.layers:
        raise RequestError(
            "too-few-layers",
            "this would remove the last branch",
            why="an aufs needs at least one branch",
            commands=(shell("layerctl", "umount", mounted.entry.target),),
        )
    return stack


def _check_new(stack: Stack, path: str) -> None:
    if len(stack.layers) >= MAX_BRANCHES:
        raise RefusedError(
            "aufs-too-many-branches",
            f"the aufs already has the maximum of {MAX_BRANCHES} branches",
            hint="remove one first",
            commands=("layerctl branch del TARGET DIR",),
        )
    place = directory(path, {})
    if place.error is not None:
        what = f"branch {path}: {os.strerror(place.error)}"
        raise RefusedError("missing-layer-directory", what, commands=(shell("mkdir", path),))
    if not place.is_directory:
        raise RefusedError(
            "layer-not-a-directory", f"branch {path} is not a directory", hint="name a directory"
        )
    known = known_path(stack, path)
    if known is not None:
        raise _duplicated(path, known)


def known_path(stack: Stack, path: str) -> str | None:
    """Return the branch that a path leads to, whatever its spelling; None if it is not a branch."""
    names = [layer.path for layer in stack.layers]
    for name in (path, paths.real(path)):
        if name in names:
            return name
    return next((name for name in names if paths.same(path, name)), None)


def _duplicated(path: str, branch: str) -> RefusedError:
    return RefusedError(
        "aufs-branch-duplicated",
        f"{path} is already a branch",
        why="" if path == branch else f"it is the directory of branch {branch} by another name",
        hint="change its permission instead",
        commands=(shell("layerctl", "branch", "mod", "TARGET", f"{branch}=PERM"),),
    )


def _after(stack: Stack, change: BranchChange) -> Stack:
    """Return the stack after one change. Raises RequestError for a position below the last."""
    try:
        return stack._replace(layers=changed(stack.layers, change))
    except IndexError:
        there = len(stack.layers)
        raise RequestError(
            "aufs-br-syntax",
            f"index {change.position} is out of range: there {'is' if there == 1 else 'are'} "
            f"{count(there, 'branch')}",
            hint=f"use an index from 0 to {there}",
        ) from None


def apply(mounted: Mounted, changes: Sequence[BranchChange]) -> tuple[Mounted, tuple[str, ...]]:
    """Make the changes one by one; return the mount as it is now, and notes.

    Raises RefusedError if the kernel refuses one, after undoing those before it.
    """
    goal = planned(mounted, changes)
    done: list[BranchChange] = []
    stack = mounted.stack
    now = mounted
    for change in changes:
        inverse = _inverse(stack, change)
        try:
            _remount(mounted, change)
            done.append(inverse)
            before, now = now, as_it_is(mounted)
            layers = now.stack.layers
            if change.word in _ADDS and layers and layers == before.stack.layers:
                # aufs accepts a branch that it has already, and does nothing: undoing that
                # would remove the branch that was there.
                done.pop()
                path = change.branch.path
                raise _duplicated(path, known_path(before.stack, path) or path)
        except LayerctlError:
            _take_back(mounted, done)
            raise
        stack = _after(stack, change)
    found = readback.compare(goal._replace(options={}, flags=()), now.stack, paths.same)
    if found.differences:
        _take_back(mounted, done)
        raise RefusedError(
            "not-as-asked",
            "the result differs from the request; it was undone",
            why="; ".join(found.differences),
            commands=(shell("layerctl", "branch", "list", mounted.entry.target),),
        )
    return now, found.notes


def as_it_is(mounted: Mounted) -> Mounted:
    """Return the mount as the kernel shows it now."""
    same = mounted.entry.mount_id
    return mounts.describe(
        next(
            (entry for entry in mounts.shown(mounts.SELF_MOUNTINFO) if entry.mount_id == same),
            mounted.entry,
        )
    )


def _inverse(stack: Stack, change: BranchChange) -> BranchChange:
    """Return the change that undoes `change`."""
    path = paths.real(change.branch.path)
    if change.word in ("del", "mod"):
        index, old = next(
            (number, layer) for number, layer in enumerate(stack.layers) if layer.path == path
        )
        return BranchChange("mod", old) if change.word == "mod" else BranchChange("add", old, index)
    return BranchChange("del", Layer(path, change.branch.role))


def _take_back(mounted: Mounted, inverses: list[BranchChange]) -> None:
    for inverse in reversed(inverses):
        with contextlib.suppress(LayerctlError):
            _remount(mounted, inverse)


def _remount(mounted: Mounted, change: BranchChange) -> None:
    entry = mounted.entry
    log = KernelLog()
    with contextlib.closing(log):
        try:
            with standing.opened(entry) as target, beneath.opened(change.branch.path) as branch:
                words = (*entry.mount_options, *mounted.stack.flags)
                bits = mount2_flags(words) | syscalls.MS_REMOUNT
                syscalls.mount(entry.source, target, "aufs", bits, change.option(branch))
        except OSError as error:
            raise _refused(mounted, change, error, log.lines("aufs")) from None


def _refused(
    mounted: Mounted, change: BranchChange, error: OSError, kernel_log: list[str]
) -> LayerctlError:
    target = mounted.entry.target
    if error.errno == errno.EPERM:
        return NotPermittedError(
            "missing-cap-sys-admin",
            f"the branches of {target} cannot be changed: not permitted",
            hint="run the command as root",
        )
    details = [f"kernel: {line}" for line in kernel_log]
    if error.errno == errno.EBUSY:
        details.extend(busy.details(holders.of(mounted.entry)))
    return RefusedError(
        "aufs-branch-busy" if error.errno == errno.EBUSY else "aufs-remount-refused",
        f"aufs refused {change.option(change.branch.path)} on {target}: {error.strerror}",
        why="a file on that branch is in use" if error.errno == errno.EBUSY else "",
        commands=(shell("layerctl", "branch", "list", target),),
        details=tuple(details),
    )

"""Put a new mount in the place of an old one, so that every name is there at any moment.

The new one is mounted beneath the old one (MOVE_MOUNT_BENEATH, Linux 6.5), and shows once the old
one is unmounted. Where the kernel cannot do that, it is mounted over the old one, which then stays
until the new one is unmounted.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from layerctl.errors import RefusedError
from layerctl.kernel import beneath, holders, mounts, process, standing, syscalls
from layerctl.model import Stack
from layerctl.mounting import busy, remount
from layerctl.mounting.prepare import Swap
from layerctl.mounting.run import Run
from layerctl.rules.words import count, shell

#: How long to wait for an old mount that is in use, in seconds: whoever walks a tree holds each
#: directory only for a moment.
_PATIENCE = 2.0
_PAUSE = 0.002


def first(swap: Swap, run: Run) -> None:
    """See that the old mount is free, and can no longer change its layers. Raises RefusedError."""
    if not (swap.lazy or swap.ours) and not _patient(lambda: _is_free(swap)):
        raise _in_use(swap, beneath_it=False)
    if swap.is_written:
        change = remount.plan(swap.old, Stack("overlay", (), flags=("ro",)), bind=False)
        remount.carry_out(change)
        run.undo.callback(_thaw, change)


def _thaw(change: remount.Remount) -> None:
    """Let the old mount be written again; a copy may have taken its place."""
    entry = mounts.find(change.mounted.entry.target)
    remount.restore(change._replace(mounted=change.mounted._replace(entry=entry)))


def _patient(done: Callable[[], bool]) -> bool:
    """Tell whether something gets done before patience ends."""
    end = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE)
    return True


def _is_free(swap: Swap) -> bool:
    """Tell whether nothing uses the old mount. Looking at it also clears the mark of MNT_EXPIRE."""
    with standing.mount_point(swap.old.entry) as place:
        try:
            syscalls.umount2(place, syscalls.MNT_EXPIRE | syscalls.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EBUSY):
                raise
            return error.errno == errno.EAGAIN
    return False


def can_mount_beneath() -> bool:
    """Ask the kernel whether it knows MOVE_MOUNT_BENEATH: it looks at flags before descriptors."""
    try:
        syscalls.move_mount(-1, -1, "", syscalls.MOVE_MOUNT_BENEATH)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True


def attach(swap: Swap, run: Run) -> bool:
    """Mount the new one beneath the old one, or over it; tell whether it is beneath."""
    target = run.enter(run.target)
    if mounts.mount_id_of(target) != swap.old.entry.mount_id:
        raise beneath.replaced(run.target)
    try:
        syscalls.move_mount(run.mount_fd, target, run.target, syscalls.MOVE_MOUNT_BENEATH)
    except OSError as error:
        # An older kernel, or a mount that can have nothing beneath it.
        if error.errno != errno.EINVAL or swap.keeps or swap.ours:
            raise
        syscalls.move_mount(run.mount_fd, target, run.target)
        run.undo.callback(standing.detach, run.mount_fd)
        return False
    run.undo.callback(_back, swap, run)
    return True


def _back(swap: Swap, run: Run) -> None:
    """Remove the new mount from beneath the old one: with it, and mount that again."""
    old = syscalls.open_tree(beneath.name_of(run.open[run.target]))
    try:
        above, name = os.path.split(swap.old.entry.target)
        parent = beneath.open_directory(above)
        try:
            for _ in range(2):  # the name leads to the old mount first, which is on the new one
                standing.detach(run.mount_fd)
            place = beneath.enter(name, parent)
            syscalls.move_mount(old, place, run.target)
            process.close(place)
        finally:
            process.close(parent)
    finally:
        process.close(old)


def finish(swap: Swap, run: Run) -> tuple[str, ...]:
    """Unmount the old one; return notes. Raises RefusedError if it is in use meanwhile."""
    target = swap.old.entry.target
    # Of the mounts on it, one is the new one.
    used = tuple(busy.details(holders.of(swap.old.entry)._replace(below=())))
    process.let_go(run.open[run.target])
    if not run.is_beneath:
        note = (
            f"mounted over the old stack on {target}, which stays below until the new one is "
            "unmounted (mounting beneath needs Linux 6.5)"
        )
        return (note, *used)
    if swap.lazy:
        with standing.mount_point(swap.old.entry) as place:
            syscalls.umount2(place, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        return tuple(f"the old stack is {one}" for one in used)
    if not _patient(lambda: _is_gone(swap)):
        raise _in_use(swap, beneath_it=True)
    return ()


def _is_gone(swap: Swap) -> bool:
    with standing.mount_point(swap.old.entry) as place:
        try:
            syscalls.umount2(place, syscalls.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
    return True


def _in_use(swap: Swap, *, beneath_it: bool) -> RefusedError:
    target = swap.old.entry.target
    found = holders.of(swap.old.entry)
    why = "the new stack shows once nothing uses the old one"
    if found.unseen:
        why += f" ({count(found.unseen, 'process')} could not be checked)"
    if beneath_it:
        what = f"the new stack is mounted beneath the old one on {target}, which is in use"
        hint = "stop what is using it, and unmount the old one, which then uncovers the new one"
        commands: tuple[str, ...] = (shell("layerctl", "umount", target),)
    else:
        what = f"{target} is in use, and was not replaced"
        hint = "stop what is using it, or detach it from the tree with --lazy"
        if swap.keeps:
            hint += " and a new upper layer (-u DIR)"
        commands = ()
    details = tuple(busy.details(found))
    return RefusedError(
        "leaked-mount-busy", what, why=why, hint=hint, commands=commands, details=details
    )

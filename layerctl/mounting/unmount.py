"""Unmount, and explain what prevents it."""

from __future__ import annotations

import errno

from layerctl.codecs.escape import printable
from layerctl.errors import NotPermittedError, RefusedError
from layerctl.kernel import holders, mounts, plinks, standing, syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.mounting import busy, fuse
from layerctl.rules.words import count, shell


def unmount(mounted: Mounted, *, lazy: bool = False, force: bool = False) -> None:
    """Unmount a layered mount; of an aufs, pseudo-links are made whole first.

    Raises NotPermittedError, NotFoundError if it is gone, and RefusedError if it is busy, with
    what uses it, or, without `force`, if hard links would be lost.
    """
    target = mounted.entry.target
    if mounted.entry.fstype == "aufs":
        plinks.flush(mounted)
        if not force:
            _refuse_losses(mounted)
    flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if lazy else 0)
    try:
        if mounted.entry.fstype == mounts.FUSE_OVERLAYFS:
            fuse.unmount(mounted.entry, flags)
        else:
            with standing.mount_point(mounted.entry) as place:
                syscalls.umount2(place, flags)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise NotPermittedError(
                "missing-cap-sys-admin",
                f"{target} cannot be unmounted: not permitted",
                why="it requires CAP_SYS_ADMIN in the user namespace that owns this mount "
                "namespace",
                commands=(shell("sudo", "layerctl", "umount", target),),
            ) from None
        if error.errno == errno.EBUSY:
            raise _busy(mounted) from None
        raise RefusedError(
            "umount-failed",
            f"{target} cannot be unmounted: {error.strerror}",
            commands=(shell("layerctl", "inspect", "mount", target),),
        ) from None


#: How many of the names that would be lost are listed.
_LISTED = 20


def _refuse_losses(mounted: Mounted) -> None:
    target = mounted.entry.target
    try:
        lost = plinks.lost(mounted)
    except OSError as error:
        raise RefusedError(
            "aufs-pseudo-links-lost",
            f"cannot tell whether unmounting {target} would break hard links: {error.strerror}",
            why=f"{error.filename} cannot be read" if error.filename else "",
            hint="unmount it anyway with --force",
            commands=(shell("layerctl", "umount", "--force", target),),
        ) from None
    if not lost:
        return
    details = [f"hard link: {printable(name)}" for name in lost[:_LISTED]]
    if len(lost) > _LISTED:
        details.append(f"and {len(lost) - _LISTED} more")
    force = shell("layerctl", "umount", "--force", target)
    writable = shell("layerctl", "mount", "-o", "remount,rw", target)
    read_only = mounted.stack.read_only
    raise RefusedError(
        "aufs-pseudo-links-lost",
        f"{count(len(lost), 'name')} in {target} would no longer be hard links",
        why="they show the copy of a hard-linked file that was changed under another name; aufs "
        "links them only while mounted, and cannot link them on the branch "
        + ("while it is read-only" if read_only else "now"),
        hint="make the mount writable first, or lose them with --force"
        if read_only
        else "run the command as root, or lose them with --force",
        commands=(writable, force) if read_only else (force,),
        details=tuple(details),
    )


def _busy(mounted: Mounted) -> RefusedError:
    target = mounted.entry.target
    found = holders.of(mounted.entry)
    details = tuple(busy.details(found))
    why = "it is still in use" if details else "nothing visible from here is using it"
    if found.unseen:
        why += f" ({count(found.unseen, 'process')} could not be checked)"
    return RefusedError(
        "leaked-mount-busy",
        f"{target} is busy",
        why=why,
        hint="stop what is using it, or detach it now with --lazy",
        commands=(shell("layerctl", "umount", "--lazy", target),),
        details=details,
    )

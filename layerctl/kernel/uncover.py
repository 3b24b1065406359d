"""Access what mounts cover, through a copy of a mount or of the whole mount namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from layerctl.kernel import child, layers, mounts, syscalls
from layerctl.model import MountEntry

T = TypeVar("T")


def copying(mount: MountEntry, rest: str) -> Callable[[], int]:
    """Return a function that opens a directory of an uncovered mount, through a copy of it."""

    def attempt() -> int:
        fd = layers.open_root(mount.target)
        try:
            if mounts.mount_id_of(fd) != mount.mount_id:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), mount.target)
            copy = syscalls.open_tree(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        try:
            return layers.open_path(rest.strip("/") or ".", copy)
        finally:
            os.close(copy)

    return attempt


def uncovering(targets: Sequence[str], path: str) -> Callable[[], int]:
    """Return a function that opens the directory at a path after unmounting others.

    They are unmounted in a private copy of the mount namespace, which only a child has, and which
    ends with it. What is opened is a copy of the mount without what is mounted
    in it, as the kernel's overlay has it.
    """

    def in_child() -> tuple[int, None]:
        leave(targets)
        return syscalls.open_tree(path), None

    def attempt() -> int:
        fd, _ = child.run(in_child)
        try:
            return layers.open_root(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    return attempt


def beneath(targets: Sequence[str], look: Callable[[], T]) -> T:
    """Return the result of `look` after unmounting others, in a child; see `leave`.

    Raises OSError if that is not permitted, and what `look` raises.
    """

    def in_child() -> tuple[int, T]:
        leave(targets)
        return -1, look()

    return child.run(in_child)[1]


def leave(targets: Sequence[str]) -> None:
    """Enter a private copy of the mount namespace, and unmount there. Raises OSError."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    # Without this, other namespaces would lose the mounts too. It fails if the root is not a mount
    # point.
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
    for target in targets:
        syscalls.umount2(target, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)

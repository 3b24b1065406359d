"""What lies beneath mounts: reached by a copy of a mount, or of the whole mount namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from layerctl.kernel import layers, mounts
from layerctl.model import MountEntry

T = TypeVar("T")


def copying(mount: MountEntry, rest: str) -> Callable[[], int]:
    """Return a way to a directory of a mount that is not covered itself, by a copy of it."""

    def way() -> int:
        from layerctl.kernel import syscalls

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

    return way


def uncovering(targets: Sequence[str], path: str) -> Callable[[], int]:
    """Return a way to what lies at a path once other mounts are gone.

    They go in a mount namespace of a child's own, a private copy in which nobody else sees it,
    and which ends with the child. What is opened is a copy of the mount without what is mounted
    in it, as the kernel's overlay has it.
    """

    def way() -> int:
        reader, writer = os.pipe()
        done, wait = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(wait)
                _tell(writer, _uncover(targets, path))
                os.read(done, 1)
            finally:
                os._exit(0)
        os.close(writer)
        os.close(done)
        try:
            with os.fdopen(reader, "rb") as file:
                number = int(file.readline() or -errno.EIO)
            if number < 0:
                raise OSError(-number, os.strerror(-number), path)
            return layers.open_root(f"/proc/{child}/fd/{number}")
        finally:
            os.close(wait)
            os.waitpid(child, 0)

    return way


def beneath(targets: Sequence[str], look: Callable[[], T]) -> T:
    """Return what `look` does where other mounts are gone: in a child, see `leave`.

    Raises OSError where that may not be, and what `look` raises.
    """
    import pickle  # between two processes of our own

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            answer: tuple[Exception | None, object]
            try:
                leave(targets)
                answer = (None, look())
            except Exception as error:
                answer = (error, None)
            with os.fdopen(writer, "wb") as file:
                pickle.dump(answer, file)
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as file:
            raw = file.read()
    finally:
        os.waitpid(child, 0)
    if not raw:
        raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))
    failure, value = pickle.loads(raw)  # noqa: S301 - what the child of ours wrote
    if failure is not None:
        raise failure
    found: T = value
    return found


def _uncover(targets: Sequence[str], path: str) -> int:
    """Return a descriptor of the directory, or an errno below zero. For a child."""
    from layerctl.kernel import syscalls

    try:
        leave(targets)
        return syscalls.open_tree(path)
    except OSError as error:
        return -(error.errno or errno.EIO)


def leave(targets: Sequence[str]) -> None:
    """Go to a private copy of the mount namespace, and unmount there. Raises OSError."""
    from layerctl.kernel import syscalls

    syscalls.unshare(syscalls.CLONE_NEWNS)
    # Without this the mounts of the others would go too. It fails in a root that is not a mount
    # point.
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
    for target in targets:
        syscalls.umount2(target, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)


def _tell(writer: int, number: int) -> None:
    os.write(writer, b"%d\n" % number)
    os.close(writer)

"""Changes to layers: every changing call, on a name in an open directory.

No symbolic link is followed. Each call goes through `attempt`, so that a test can stop the work,
or make it fail, before and after every change.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable
from typing import Any

from layerctl.kernel import syscalls

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: FS_IOC_GETFLAGS and FS_IOC_SETFLAGS (linux/fs.h), and the flags that chattr(1) sets at any time:
#: sync, immutable, append-only, nodump, noatime, dirsync.
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
_FLAGS = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000


def attempt(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Make one changing call; tests replace this function."""
    return call(*arguments, **named)


def unlink(name: str, fd: int) -> None:
    """Remove a name that is not a directory."""
    attempt(os.unlink, name, dir_fd=fd)


def rmdir(name: str, fd: int) -> None:
    """Remove an empty directory."""
    attempt(os.rmdir, name, dir_fd=fd)


def rename(name: str, fd: int, to: str, to_fd: int) -> None:
    """Rename, replacing what has the name. Raises OSError, EXDEV on another mount."""
    attempt(os.rename, name, to, src_dir_fd=fd, dst_dir_fd=to_fd)


def exchange(name: str, fd: int, to: str, to_fd: int) -> None:
    """Let two names change places in one step."""
    attempt(syscalls.renameat2, name, to, syscalls.RENAME_EXCHANGE, fd, to_fd)


def mkdir(name: str, fd: int) -> None:
    """Create a directory for the caller alone."""
    attempt(os.mkdir, name, 0o700, dir_fd=fd)


def mknod(name: str, fd: int, mode: int, device: int = 0) -> None:
    """Create a device, fifo or socket; a character device 0:0 is overlay's whiteout."""
    attempt(os.mknod, name, mode, device, dir_fd=fd)


def write(name: str, fd: int, content: bytes) -> None:
    """Create a file for the caller alone. Raises FileExistsError where the name is taken."""
    made: int = attempt(os.open, name, _NEW, 0o600, dir_fd=fd)
    try:
        while content:
            content = content[attempt(os.write, made, content) :]
    finally:
        os.close(made)


def set_attribute(attribute: str, value: bytes, fd: int, name: str = ".") -> None:
    """Set an extended attribute of a name in a directory, by default of that itself."""
    attempt(os.setxattr, _path(fd, name), attribute, value, follow_symlinks=False)


def remove_attribute(attribute: str, fd: int, name: str = ".") -> None:
    """Remove an extended attribute of a name in a directory, by default of that itself."""
    attempt(os.removexattr, _path(fd, name), attribute, follow_symlinks=False)


def set_times(accessed: int, modified: int, fd: int, name: str = ".") -> None:
    """Set the times of a name in a directory, in nanoseconds."""
    attempt(os.utime, name, ns=(accessed, modified), dir_fd=fd, follow_symlinks=False)


def flags(fd: int, name: str = ".") -> int:
    """Return which flags of chattr(1) a regular file or directory has; 0 if it has none."""
    with contextlib.suppress(OSError):
        opened = os.open(name, _FILE, dir_fd=fd)
        try:
            answer = fcntl.ioctl(opened, _GETFLAGS, bytes(8))
        finally:
            os.close(opened)
        found: int = struct.unpack_from("i", answer)[0]
        return found & _FLAGS
    return 0


def set_flags(wanted: int, fd: int, name: str = ".") -> None:
    """Set the flags of chattr(1) of a regular file or directory. Raises OSError."""
    opened = os.open(name, _FILE, dir_fd=fd)
    try:
        now = struct.unpack_from("i", fcntl.ioctl(opened, _GETFLAGS, bytes(8)))[0]
        value = struct.pack("l", (now & ~_FLAGS) | wanted)
        attempt(fcntl.ioctl, opened, _SETFLAGS, value)
    finally:
        os.close(opened)


def _path(fd: int, name: str) -> str:
    return f"/proc/self/fd/{fd}/{name}"

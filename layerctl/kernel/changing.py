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

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
#: FS_IOC_GETFLAGS (linux/fs.h), and the flags that chattr(1) sets at any time:
#: sync, immutable, append-only, nodump, noatime, dirsync.
_GETFLAGS = 0x80086601
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


def _path(fd: int, name: str) -> str:
    return f"/proc/self/fd/{fd}/{name}"

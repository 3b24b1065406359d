"""The directory of a kept run: a record, and a directory for each layer."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from layerctl.kernel import beneath, changing, locks

_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = ".new"


def open_kept(path: str, *, create: bool) -> int:
    """Open a directory, and create it for the caller alone if asked to. Raises OSError.

    EPERM if another user owns it or may write to it, EAGAIN if another layerctl works on it.
    """
    above = beneath.open_directory(os.path.dirname(path))
    try:
        name = os.path.basename(path)
        if create and not os.path.lexists(path):
            os.close(beneath.make(name, above, 0o700))
        fd = os.open(name or ".", _READ, dir_fd=above)
    finally:
        os.close(above)
    status = os.fstat(fd)
    problem: OSError | None = None
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = PermissionError(errno.EPERM, "another user may write to it", path)
    elif not locks.lock(fd, exclusive=True):
        problem = BlockingIOError(errno.EAGAIN, "another layerctl works on it", path)
    if problem is not None:
        os.close(fd)
        raise problem
    return fd


def read(fd: int, name: str) -> bytes | None:
    """Return what a file of the directory holds, None if there is no such file."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as stream:
        return stream.read()


def write(fd: int, name: str, content: bytes) -> None:
    """Write a file of the directory at once: there is the old one or the new one."""
    new = name + _NEW
    if os.access(new, os.F_OK, dir_fd=fd, follow_symlinks=False):
        os.unlink(new, dir_fd=fd)
    changing.write(new, fd, content)
    changing.sync(fd)
    changing.rename(new, fd, name, fd)
    changing.sync(fd)


def names(fd: int) -> list[str]:
    """Return the names in the directory."""
    return os.listdir(fd)


def remove(fd: int, name: str) -> None:
    """Remove a file, or a directory with all that it holds. Raises OSError."""
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        changing.unlink(name, fd)
        return
    try:
        below = os.open(name, _READ, dir_fd=fd)
    except PermissionError:  # overlay's own directory has the mode 0
        changing.set_mode(0o700, fd, name)
        below = os.open(name, _READ, dir_fd=fd)
    try:
        _all(below, lambda one: remove(below, one))
    except PermissionError:
        changing.set_mode(0o700, fd, name)
        _all(below, lambda one: remove(below, one))
    finally:
        os.close(below)
    changing.rmdir(name, fd)


def _all(fd: int, action: Callable[[str], None]) -> None:
    for one in os.listdir(fd):
        action(one)


def remove_self(path: str, fd: int) -> None:
    """Remove the directory itself, which is empty."""
    above = beneath.open_directory(os.path.dirname(path))
    try:
        beneath.remove(os.path.basename(path), above, beneath.identity(fd))
    finally:
        os.close(above)

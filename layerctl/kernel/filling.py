"""Files that are made with all that they have: content, holes, owner, mode, attributes, times."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from layerctl.kernel import changing, layers

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Zeros of this size and alignment become holes.
_HOLE = 4096
_ZEROS = bytes(_HOLE)
_ACLS = ("system.posix_acl_access", "system.posix_acl_default")


class Look(NamedTuple):
    """How a file looks: `owner` is None to keep that of the caller, `modified` in nanoseconds.

    `inherits` tells that its directory gives it an ACL, which it shall not have.
    """

    mode: int
    owner: tuple[int, int] | None
    attributes: Mapping[str, bytes]
    modified: int
    inherits: bool = False


def file(
    name: str, dir_fd: int, pieces: Iterable[tuple[int, bytes]], size: int, look: Look
) -> list[str]:
    """Create a regular file of pieces with their places; return the attributes that it lacks.

    Raises OSError, FileExistsError where the name is taken.
    """
    fd = changing.attempt(os.open, name, _NEW, 0o600, dir_fd=dir_fd)
    try:
        written = 0
        for at, piece in pieces:
            written = _write(fd, at, piece)
        if written < size:
            changing.attempt(os.ftruncate, fd, size)
        return _dress(fd, look)
    finally:
        os.close(fd)


def _write(fd: int, at: int, piece: bytes) -> int:
    """Write a piece, but leave holes for zeros; return where the last data ends."""
    if _ZEROS not in piece:
        return _write_all(fd, at, piece)
    end, start = at, -1
    for offset in range(0, len(piece) + _HOLE, _HOLE):
        block = piece[offset : offset + _HOLE]
        if block and block != _ZEROS:
            start = offset if start < 0 else start
        elif start >= 0:
            end = _write_all(fd, at + start, piece[start:offset])
            start = -1
    return end


def _write_all(fd: int, at: int, piece: bytes) -> int:
    view = memoryview(piece)
    while view:
        done = changing.attempt(os.pwrite, fd, view, at)
        at += done
        view = view[done:]
    return at


def _dress(fd: int, look: Look) -> list[str]:
    if look.owner is not None:
        status = os.fstat(fd)
        if look.owner != (status.st_uid, status.st_gid):
            changing.attempt(os.fchown, fd, *look.owner)
    changing.attempt(os.fchmod, fd, look.mode)
    missing = _attributes(look, lambda name, value: os.setxattr(fd, name, value),
                          lambda name: os.removexattr(fd, name))  # fmt: skip
    changing.attempt(os.utime, fd, ns=(look.modified, look.modified))
    return missing


def dress(name: str, dir_fd: int, look: Look, *, link: bool = False) -> list[str]:
    """Let a name in a directory look so; return the attributes that it lacks. Raises OSError."""
    if look.owner is not None:
        changing.set_owner(*look.owner, dir_fd, name)
    if not link:
        changing.set_mode(look.mode, dir_fd, name)
    missing = _attributes(
        look,
        lambda key, value: changing.set_attribute(key, value, dir_fd, name),
        lambda key: changing.remove_attribute(key, dir_fd, name),
    )
    changing.set_times(look.modified, look.modified, dir_fd, name)
    return missing


def _attributes(
    look: Look, put: Callable[[str, bytes], object], drop: Callable[[str], object]
) -> list[str]:
    if look.inherits:
        for name in _ACLS:
            if name not in look.attributes:
                with contextlib.suppress(OSError):
                    drop(name)
    missing = []
    for name, value in look.attributes.items():
        try:
            put(name, value)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EACCES):
                raise
            missing.append(name)
    return missing


_KINDS = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def special(name: str, dir_fd: int, letter: str, device: tuple[int, int]) -> None:
    """Create a device or fifo of a letter of `layers`; `device` is major and minor number."""
    changing.mknod(name, dir_fd, _KINDS[letter] | 0o600, os.makedev(*device))


def gives_acl(fd: int) -> bool:
    """Tell whether new files in an open directory get an ACL from it."""
    return layers.attribute(_ACLS[1], fd) is not None


def remove_tree(name: str, dir_fd: int) -> None:
    """Remove a name with all that it holds. Raises OSError."""
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        changing.unlink(name, dir_fd)
        return
    fd = layers.open_dir(name, dir_fd)
    try:
        for one in os.listdir(fd):
            remove_tree(one, fd)
    finally:
        os.close(fd)
    changing.rmdir(name, dir_fd)


def next_time_on(fd: int) -> int:
    """Wait until the filesystem of an open directory sets a new time; return it, in nanoseconds.

    All that is there has older times, since the clock of files ticks every few milliseconds.
    """
    first = now = _time_on(fd)
    while now == first:
        now = _time_on(fd)
    return now


def _time_on(fd: int) -> int:
    name = f".layerctl-{os.urandom(8).hex()}"
    changing.mkdir(name, fd)
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False).st_ctime_ns
    finally:
        changing.rmdir(name, fd)

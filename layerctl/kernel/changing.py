"""Changes to layers: every changing call, on a name in an open directory.

No symbolic link is followed. Each call goes through `attempt`, so that a test can stop the work,
or make it fail, before and after every change.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import sys
from collections.abc import Callable
from typing import Any

from layerctl.kernel import layers, syscalls

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: FS_IOC_GETFLAGS and FS_IOC_SETFLAGS (linux/fs.h), and the flags that chattr(1) sets at any time:
#: sync, immutable, append-only, nodump, noatime, dirsync.
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
#: Immutable and append-only, with which a file cannot be renamed or removed.
LOCKED = 0x10 | 0x20
_NO_FLAGS = bytes(8)
_FLAGS = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x10000
_FICLONE = 0x40049409
#: Why a file cannot be cloned, or copied within the kernel: another filesystem, or its kind.
_NO_CLONE = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS,
                       errno.ETXTBSY, errno.EPERM})  # fmt: skip
_MOST = 1 << 30
_SMALL = 1 << 16


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


def open_made(name: str, fd: int) -> int:
    """Open a directory that `mkdir` created. Raises FileExistsError if it is another user's."""
    made = layers.open_dir(name, fd)
    if os.fstat(made).st_uid != os.geteuid():
        os.close(made)
        raise FileExistsError(errno.EEXIST, "another user's directory took its place", name)
    return made


def mknod(name: str, fd: int, mode: int, device: int = 0) -> None:
    """Create a device, fifo or socket; a character device 0:0 is overlay's whiteout."""
    attempt(os.mknod, name, mode, device, dir_fd=fd)


def symlink(target: str, name: str, fd: int) -> None:
    """Create a symbolic link."""
    attempt(os.symlink, target, name, dir_fd=fd)


def link(name: str, fd: int, to: str, to_fd: int) -> None:
    """Give a file another name."""
    attempt(os.link, name, to, src_dir_fd=fd, dst_dir_fd=to_fd, follow_symlinks=False)


def write(name: str, fd: int, content: bytes) -> None:
    """Create a file for the caller alone. Raises FileExistsError where the name is taken."""
    made: int = attempt(os.open, name, _NEW, 0o600, dir_fd=fd)
    try:
        while content:
            content = content[attempt(os.write, made, content) :]
    finally:
        os.close(made)


def set_attribute(attribute: str, value: bytes, fd: int, name: str | None = ".") -> None:
    """Set an extended attribute of a name in a directory, by default of that itself.

    Here and below, without a name it is the open file itself.
    """
    if name is None:
        attempt(os.setxattr, fd, attribute, value)
    else:
        attempt(os.setxattr, _path(fd, name), attribute, value, follow_symlinks=False)


def remove_attribute(attribute: str, fd: int, name: str | None = ".") -> None:
    """Remove an extended attribute of a name in a directory, by default of that itself."""
    if name is None:
        attempt(os.removexattr, fd, attribute)
    else:
        attempt(os.removexattr, _path(fd, name), attribute, follow_symlinks=False)


def set_owner(uid: int, gid: int, fd: int, name: str | None = ".") -> None:
    """Set the owner of a name in a directory."""
    if name is None:
        attempt(os.fchown, fd, uid, gid)
    else:
        attempt(os.chown, name, uid, gid, dir_fd=fd, follow_symlinks=False)


def set_mode(mode: int, fd: int, name: str | None = ".") -> None:
    """Set all twelve bits of the mode of a name that is not a symbolic link."""
    if name is None:
        attempt(os.fchmod, fd, stat.S_IMODE(mode))
        return
    opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        if stat.S_ISLNK(os.fstat(opened).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        attempt(os.chmod, f"/proc/self/fd/{opened}", stat.S_IMODE(mode))
    finally:
        os.close(opened)


def set_times(accessed: int, modified: int, fd: int, name: str | None = ".") -> None:
    """Set the times of a name in a directory, in nanoseconds."""
    if name is None:
        attempt(os.utime, fd, ns=(accessed, modified))
    else:
        attempt(os.utime, name, ns=(accessed, modified), dir_fd=fd, follow_symlinks=False)


def flags(fd: int, name: str | None = ".") -> int:
    """Return which flags of chattr(1) a regular file or directory has; 0 where it has none."""
    if name is None:
        return flags_of(fd)
    with contextlib.suppress(OSError):
        opened = os.open(name, _FILE, dir_fd=fd)
        try:
            return flags_of(opened)
        finally:
            os.close(opened)
    return 0


def flags_of(fd: int) -> int:
    """Return which flags of chattr(1) an open file has; 0 where its filesystem has none."""
    try:
        answer = fcntl.ioctl(fd, _GETFLAGS, _NO_FLAGS)
    except OSError:
        return 0
    return int.from_bytes(answer[:4], sys.byteorder) & _FLAGS


def same_flags(one: int, other: int) -> bool:
    """Tell whether two open files have the same flags of chattr(1)."""
    try:
        raw = fcntl.ioctl(one, _GETFLAGS, _NO_FLAGS)
        if raw == fcntl.ioctl(other, _GETFLAGS, _NO_FLAGS):
            return True
    except OSError:  # one filesystem has none
        pass
    return flags_of(one) == flags_of(other)


def set_flags(wanted: int, fd: int, name: str | None = ".") -> None:
    """Set the flags of chattr(1) of a regular file or directory. Raises OSError."""
    opened = os.dup(fd) if name is None else os.open(name, _FILE, dir_fd=fd)
    try:
        now = struct.unpack_from("i", fcntl.ioctl(opened, _GETFLAGS, bytes(8)))[0]
        value = struct.pack("l", (now & ~_FLAGS) | wanted)
        attempt(fcntl.ioctl, opened, _SETFLAGS, value)
    finally:
        os.close(opened)


def copy_content(source: int, status: os.stat_result, to: str, to_fd: int) -> int:
    """Create a file with what an open one of this status holds: cloned if possible, holes kept.

    Returns it, open. Raises OSError, FileExistsError if the name is taken.
    """
    made: int = attempt(os.open, to, _NEW, 0o600, dir_fd=to_fd)
    try:
        _fill(source, made, status)
    except BaseException:
        os.close(made)
        raise
    return made


def _fill(source: int, made: int, status: os.stat_result) -> None:
    size = status.st_size
    if not size:
        return
    try:
        attempt(fcntl.ioctl, made, _FICLONE, source)
        return
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
    if size <= _SMALL and status.st_blocks * 512 >= size:
        _copy_small(source, made, size)
        return
    attempt(os.ftruncate, made, size)
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        at = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, made, start, at)


def _copy_small(source: int, made: int, size: int) -> None:
    """Copy a file without holes, in fewer calls than the kernel's own copying takes."""
    content = os.pread(source, size, 0)
    if len(content) < size:
        raise OSError(errno.ESTALE, "the file became shorter while it was copied")
    while content:
        content = content[attempt(os.write, made, content) :]


def _copy_range(source: int, made: int, start: int, end: int) -> None:
    while start < end:
        count = min(end - start, _MOST)
        try:
            done = attempt(os.copy_file_range, source, made, count, start, start)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            block = os.pread(source, min(count, 1 << 20), start)
            done = attempt(os.pwrite, made, block, start) if block else 0
        if not done:
            raise OSError(errno.ESTALE, "the file became shorter while it was copied")
        start += done


def sync(fd: int) -> None:
    """Write all changes of the filesystem to its disk, before what depends on them is done."""
    attempt(syscalls.syncfs, fd)


def _path(fd: int, name: str) -> str:
    return f"/proc/self/fd/{fd}/{name}"

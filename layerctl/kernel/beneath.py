"""Open, create and remove directories in places where other users can write.

A user who can write to a directory can replace any name in it with a symbolic link at any moment.
So a path is resolved once, to a descriptor, and everything is created, changed and removed beneath
that.

A symbolic link in a path is followed only if nobody but root and the caller could have put it
there, as with systemd's CHASE_SAFE and more strictly than fs.protected_symlinks (proc(5)): root
and the caller own every directory down to it, and nobody else can write to one of them (with the
sticky bit: nobody else owns the name in it).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.errors import RefusedError
from layerctl.rules.words import shell

_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: How many symbolic links the kernel follows in one path (MAXSYMLINKS).
_MOST_LINKS = 40
#: Reasons why openat2(2) can fail: a link, a kernel before 5.6, or a seccomp filter.
_BY_HAND = frozenset({errno.ELOOP, errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG})

Identity = tuple[int, int]
#: The open descriptors of this process.
FD_DIRECTORY = "/proc/self/fd"


class Swap(NamedTuple):
    """A name that another user can swap; `uid` is that user, None for a group or everyone."""

    path: str
    uid: int | None

    @property
    def who(self) -> str:
        """Who can swap it, in words."""
        return "users other than root" if self.uid is None else f"the user with uid {self.uid}"


class Exposure(NamedTuple):
    """How far other users can change where a path leads.

    `swap` is the first name in the path that another user can swap, `link` the first symbolic link
    among such names, which is not followed.
    """

    swap: Swap | None = None
    link: Swap | None = None


def identity(fd: int) -> Identity:
    """Return device and inode of what is open."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def name_of(fd: int) -> str:
    """Return a path that leads the kernel to an open descriptor, through no other name."""
    return f"{FD_DIRECTORY}/{fd}"


def leads_to(path: str, fd: int) -> bool:
    """Tell whether a path leads to what is open."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == identity(fd)


def open_directory(path: str) -> int:
    """Open the directory that an absolute path leads to (O_PATH); return the descriptor.

    Raises OSError, and RefusedError for a symbolic link that another user may have put there.
    """
    try:
        return _open_plain(path)
    except OSError as error:
        if error.errno not in _BY_HAND:
            raise
    walk = _Walk(path)
    try:
        walk.run()
        walk.check()
    except BaseException:
        os.close(walk.fd)
        raise
    return walk.fd


def _open_plain(path: str) -> int:
    from layerctl.kernel import syscalls  # ctypes is slow to import, and `list` needs none of it

    return syscalls.openat2(syscalls.AT_FDCWD, path, _OPEN, syscalls.RESOLVE_NO_SYMLINKS)


@contextlib.contextmanager
def opened(path: str) -> Iterator[str]:
    """Yield a name that leads only to the directory that a path leads to now.

    Raises what `open_directory` does.
    """
    fd = open_directory(path)
    try:
        yield name_of(fd)
    finally:
        os.close(fd)


def is_plain(path: str) -> bool:
    """Tell whether a path leads to a directory without any symbolic link, as far as is known."""
    try:
        os.close(_open_plain(path))
    except OSError:
        return False
    return True


def exposure(path: str) -> Exposure:
    """Tell how far other users can change where an absolute path leads."""
    walk = _Walk(path)
    with contextlib.suppress(OSError):
        walk.run()
    os.close(walk.fd)
    return Exposure(walk.swap, walk.link)


def enter(name: str, dir_fd: int) -> int:
    """Open a directory in an open one (O_PATH). Raises OSError for a link or anything else."""
    return os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=dir_fd)


def make(name: str, dir_fd: int, mode: int = 0o777) -> int:
    """Create a directory in an open one; return its descriptor (O_PATH).

    Raises OSError; EEXIST also if something else is there a moment later, which is left alone.
    """
    os.mkdir(name, mode, dir_fd=dir_fd)
    try:
        fd = enter(name, dir_fd)
    except OSError as error:
        if error.errno in _SWAPS:
            raise _swapped(name) from error
        _unmake(name, dir_fd)
        raise
    try:
        above, made = os.fstat(dir_fd), os.fstat(fd)
        own = made.st_uid in (os.geteuid(), above.st_uid)  # some filesystems change it
        swapped = not own or made.st_dev != above.st_dev or bool(_names(fd))
    except OSError:
        os.close(fd)
        _unmake(name, dir_fd)
        raise
    if swapped:
        os.close(fd)
        raise _swapped(name)
    return fd


#: The errors of opening a new directory that something else has replaced.
_SWAPS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def _unmake(name: str, dir_fd: int) -> None:
    """Remove a directory that was just created and cannot be opened."""
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=dir_fd)  # fails unless it is empty


def remove(name: str, dir_fd: int, expected: Identity) -> bool:
    """Remove an empty directory from an open one if it is the expected one; tell whether it did."""
    try:
        fd = enter(name, dir_fd)
    except OSError:
        return False
    try:
        if identity(fd) != expected:
            return False
        os.rmdir(name, dir_fd=dir_fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@contextlib.contextmanager
def scratch(dir_fd: int, prefix: str) -> Iterator[int]:
    """Create a directory for the caller alone in an open one; remove it with its files afterwards.

    Yields a descriptor that can be read. Raises OSError if none can be created.
    """
    name = prefix + os.urandom(8).hex()
    made = make(name, dir_fd, 0o700)
    try:
        if os.fstat(made).st_uid != os.geteuid():
            raise _swapped(name)
        fd = os.open(".", _READ, dir_fd=made)
        try:
            yield fd
        finally:
            for _ in range(_TRIES):
                with contextlib.suppress(OSError):
                    for file in _names(fd):
                        os.unlink(file, dir_fd=fd)
                    break
            os.close(fd)
    finally:
        gone = any(remove(name, dir_fd, identity(made)) for _ in range(_TRIES))
        left = not gone and _is(name, dir_fd, made)
        os.close(made)
        if left:
            raise OSError(errno.EBUSY, "a scratch directory cannot be removed", name)


#: How often removing is tried: a system short of memory may recover.
_TRIES = 3


def _is(name: str, dir_fd: int, fd: int) -> bool:
    with contextlib.suppress(OSError):
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        return (found.st_dev, found.st_ino) == identity(fd)
    return False


def _names(fd: int) -> list[str]:
    """List an open directory, opened again: btrfs shows the state at the time of opening."""
    readable = os.open(".", _READ, dir_fd=fd)
    try:
        return os.listdir(readable)
    finally:
        os.close(readable)


def _swapped(name: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "something else was put there", name)


def _untrusted(path: str, link: Swap) -> RefusedError:
    return RefusedError(
        "untrusted-symlink",
        f"{path}: {link.path} is a symbolic link that {link.who} may change",
        why="it could lead anywhere by the time that it is followed",
        hint="name the directory without the link",
        commands=(shell("realpath", path),),
    )


def replaced(path: str) -> RefusedError:
    """Return the error for a path that leads to another directory than it did."""
    return RefusedError(
        "directory-swapped",
        f"{path} is no longer the directory that was checked",
        why="another directory took its place in the meantime; nothing was mounted",
        commands=(shell("namei", "-l", path),),
    )


class _Walk:
    """A walk along an absolute path, name by name; `fd` is the current directory (O_PATH).

    It stops at a link that another user may have put there.
    """

    def __init__(self, path: str) -> None:
        self.fd = os.open("/", _OPEN)
        self.swap: Swap | None = None
        self.link: Swap | None = None
        self._trusted = _trusted()
        self._path = path
        self._at = "/"
        self._names = path.split("/")[::-1]
        self._links = 0

    def run(self) -> None:
        """Walk on to the end. Raises OSError."""
        while self._names and self.link is None:
            name = self._names.pop()
            if name not in ("", "."):
                self._step(name)

    def check(self) -> None:
        """Raise RefusedError if it stopped at a link, NotADirectoryError if at no directory."""
        if self.link is not None:
            raise _untrusted(self._path, self.link)
        if not stat.S_ISDIR(os.fstat(self.fd).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._path)

    def _step(self, name: str) -> None:
        place = os.path.join(self._at, name)
        try:
            entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError:
            self._note(place, None)
            raise
        try:
            status = os.fstat(entry)
            if name != os.pardir:
                self._note(place, status)
            if not stat.S_ISLNK(status.st_mode):
                self._go(os.dup(entry), place)
            elif self.swap is not None:
                self.link = Swap(place, self.swap.uid)
            else:
                self._follow(name, place, entry, status)
        finally:
            os.close(entry)

    def _follow(self, name: str, place: str, entry: int, status: os.stat_result) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
        if status.st_dev == os.stat("/proc").st_dev:
            # A link in /proc leads to its object, whatever its text says (proc(5)).
            self._go(os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=self.fd), place)
            return
        text = os.readlink("", dir_fd=entry)
        self._names.extend(text.split("/")[::-1])
        if text.startswith("/"):
            self._go(os.open("/", _OPEN), "/")

    def _go(self, fd: int, place: str) -> None:
        os.close(self.fd)
        self.fd, self._at = fd, place

    def _note(self, place: str, entry: os.stat_result | None) -> None:
        """Remember the first name that another user can swap."""
        directory = os.fstat(self.fd)
        if self.swap is not None:
            return
        if directory.st_uid not in self._trusted:
            self.swap = Swap(place, directory.st_uid)
        elif self._shared(directory):
            if not directory.st_mode & stat.S_ISVTX:
                self.swap = Swap(place, None)
            elif entry is not None and entry.st_uid not in self._trusted:
                self.swap = Swap(place, entry.st_uid)

    def _shared(self, directory: os.stat_result) -> bool:
        """Tell whether others than the owner can write to the current directory."""
        if directory.st_mode & stat.S_IWOTH:
            return True
        if not directory.st_mode & stat.S_IWGRP:
            return False
        if directory.st_gid not in (0, os.getegid()):
            return True
        try:  # the group's bits may be those of an access control list (acl(5))
            return "system.posix_acl_access" in os.listxattr(name_of(self.fd))
        except OSError:
            return False


def _trusted() -> frozenset[int]:
    """Return the users who are trusted: root and the caller.

    In a user namespace, root and all unmapped users have the same number, which is then trusted
    too, since they cannot be distinguished (user_namespaces(7)).
    """
    trusted = {0, os.geteuid()}
    with contextlib.suppress(OSError, ValueError):
        if _read("/proc/self/uid_map").split() != ["0", "0", "4294967295"]:
            trusted.add(int(_read("/proc/sys/kernel/overflowuid")))
    return frozenset(trusted)


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()

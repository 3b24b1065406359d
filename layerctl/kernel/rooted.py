"""Read files below a directory that is taken as the root: an evidence disk, or `/` itself.

Symbolic links and `..` are followed inside that root alone, as after chroot(2): openat2(2) with
RESOLVE_IN_ROOT, and before Linux 5.6 one step after the other.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from layerctl.kernel import beneath, syscalls

#: Bytes of the largest file that is read whole: the layer list of a store with 100,000 layers.
LARGEST = 64 << 20
#: As many links are followed as the kernel follows (path_resolution(7)).
_MOST_LINKS = 40
#: Errors of openat2(2) that say nothing of the path: an old kernel, a seccomp filter, or a `..`
#: while something is renamed or mounted anywhere on the machine (EAGAIN).
_NO_ANSWER = (errno.ENOSYS, errno.EPERM, errno.EAGAIN)


class Rooted:
    """A directory taken as the root. Paths are absolute in it. `path` is where it lies here."""

    def __init__(self, path: str) -> None:
        """Open it. Raises OSError."""
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.path = os.readlink(beneath.name_of(self._fd)).rstrip("/")
        except OSError:  # without /proc
            self.path = os.path.realpath(path).rstrip("/")

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """Open a path; no device or FIFO makes it wait. Raises OSError."""
        flags |= os.O_CLOEXEC
        if not flags & os.O_PATH:  # which cannot be combined with other flags, and does not wait
            flags |= os.O_NONBLOCK | os.O_NOCTTY
        rules = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        try:
            return syscalls.openat2(self._fd, path, flags, rules)
        except OSError as error:
            if error.errno not in _NO_ANSWER:
                raise
        return self._open_by_steps(path, flags)

    def read(self, path: str) -> bytes:
        """Return what a regular file holds. Raises OSError, EFBIG for one above LARGEST."""
        fd = self.open(path)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            if status.st_size > LARGEST:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
            return b"".join(iter(lambda: os.read(fd, status.st_size + 1), b""))
        finally:
            os.close(fd)

    def text(self, path: str) -> str:
        """Return a file as text, without the white space around it. Raises OSError."""
        return os.fsdecode(self.read(path)).strip()

    def json(self, path: str) -> Any:
        """Return the JSON document in a file. Raises OSError, and ValueError for what is none."""
        try:
            return json.loads(self.read(path))
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted. Raises OSError."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def directories(self, path: str) -> list[str]:
        """Return the names of directories in a directory, without links. Raises OSError."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))
        finally:
            os.close(fd)

    def real(self, path: str) -> str:
        """Return where a directory is on this machine, without links. Raises OSError."""
        with self._opened(path) as fd:
            return os.readlink(beneath.name_of(fd))

    def has(self, path: str) -> bool:
        """Tell whether a path leads to a directory."""
        try:
            with self._opened(path):
                return True
        except OSError:
            return False

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        fd = self.open(path, os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open_by_steps(self, path: str, flags: int) -> int:
        """Open a path like RESOLVE_IN_ROOT, name by name."""
        above: list[int] = []
        rest, links = path.split("/")[::-1], 0
        try:
            while rest:
                name = rest.pop()
                if name in ("", "."):
                    continue
                if name == "..":
                    if above:
                        os.close(above.pop())
                    continue
                here = above[-1] if above else self._fd
                link = _link(name, here)
                if link is None:
                    last = not any(one not in ("", ".") for one in rest)
                    how = flags if last else os.O_PATH | os.O_DIRECTORY
                    above.append(os.open(name, how | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here))
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if link.startswith("/"):
                    while above:
                        os.close(above.pop())
                rest += link.split("/")[::-1]
            return above.pop() if above else os.open(".", flags, dir_fd=self._fd)
        finally:
            for fd in above:
                os.close(fd)


def _link(name: str, dir_fd: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:  # no link
            return None
        raise

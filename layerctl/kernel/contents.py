"""What files of layers hold, on its way into archives: read once, with holes as zeros."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.kernel.streams import PIECE

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_OWN = _FLAGS | os.O_NOATIME
#: Files of at most this many bytes are read by one call.
_SMALL = 1 << 17
_ZEROS = bytes(PIECE)


class Read(NamedTuple):
    """A regular file: its status, the names of its attributes, and what it holds.

    `content` is None if that is more than a little; `fd` is then open for `pieces`.
    """

    status: os.stat_result
    attributes: list[str]
    content: bytes | None
    fd: int


def read(name: str, dir_fd: int) -> Read:
    """Read a regular file in a directory. Raises OSError, EINVAL for anything else."""
    try:
        fd = os.open(name, _OWN, dir_fd=dir_fd)
    except PermissionError as error:
        if error.errno != errno.EPERM:  # only the owner of a file may leave its access time
            raise
        fd = os.open(name, _FLAGS, dir_fd=dir_fd)
    try:
        status = os.fstat(fd)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        try:
            attributes = os.listxattr(fd)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            attributes = []
        if size > _SMALL:
            kept, fd = fd, -1
            return Read(status, attributes, None, kept)
        content = os.read(fd, size) if size else b""
        if len(content) < size:
            content += b"".join(_exactly(fd, len(content), size))
        return Read(status, attributes, content, -1)
    finally:
        if fd >= 0:
            os.close(fd)


def pieces(fd: int, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of an open file, and close it; holes are not read.

    Raises OSError, ESTALE where the file has become shorter.
    """
    at = 0
    try:
        sparse = os.fstat(fd).st_blocks * 512 < size
        while at < size:
            start, end = _data(fd, at, size) if sparse else (at, size)
            yield from _zeros(start - at)
            yield from _exactly(fd, start, end)
            at = end
    finally:
        os.close(fd)


def _data(fd: int, at: int, size: int) -> tuple[int, int]:
    """Return where the next data begin and end; (size, size) for none."""
    try:
        start = os.lseek(fd, at, os.SEEK_DATA)
        end = os.lseek(fd, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size, size
    return min(start, size), min(end, size)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield _ZEROS[:count]
        count -= PIECE


def _exactly(fd: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        piece = os.pread(fd, min(PIECE, end - start), start)
        if not piece:
            raise OSError(errno.ESTALE, "the file became shorter while it was read")
        start += len(piece)
        yield piece

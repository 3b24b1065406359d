"""A file that is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from layerctl.errors import NotFoundError, RefusedError
from layerctl.kernel import beneath
from layerctl.kernel.paths import absolute

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def new_file(path: str, *, force: bool) -> Iterator[int]:
    """Yield a descriptor to write to; the file gets its name when all is written.

    A device or fifo is written to directly. Raises RefusedError if the file exists, unless `force`
    replaces it, and OSError.
    """
    above, name = os.path.split(absolute(path))
    try:
        directory = beneath.open_directory(above or "/")
    except OSError as error:
        raise NotFoundError(
            "target-missing",
            f"{above} cannot be opened: {error.strerror}",
            why="the file is created in this directory",
            hint="create the directory, or correct the path",
        ) from None
    try:
        there = _status(name, directory)
        if there is not None and not stat.S_ISREG(there.st_mode):
            if stat.S_ISLNK(there.st_mode) or stat.S_ISDIR(there.st_mode):
                raise _exists(path)
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
            yield (fd := os.open(name, flags, dir_fd=directory))
            os.close(fd)
            return
        if there is not None and not force:
            raise _exists(path)
        yield from _written(directory, name, path, force=force)
    finally:
        os.close(directory)


def _written(directory: int, name: str, path: str, *, force: bool) -> Iterator[int]:
    part = f".{name[:200]}.{os.urandom(4).hex()}.layerctl-part"
    fd = os.open(part, _NEW, 0o666, dir_fd=directory)
    try:
        try:
            yield fd
        finally:
            os.close(fd)
        if force:
            os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            try:
                os.link(part, name, src_dir_fd=directory, dst_dir_fd=directory)
            except FileExistsError:
                raise _exists(path) from None
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):  # no links, as on FAT
                    raise
                os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=directory)


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _exists(path: str) -> RefusedError:
    return RefusedError(
        "target-exists",
        f"{path} exists already",
        why="nothing is overwritten unless that is asked for",
        hint="name another file, or use --force to replace a file",
    )

"""Reading the directories of layers, without trusting them.

Nothing is written, no symbolic link inside a layer is followed, access times stay as they are
where the caller may ask for that. A file is never opened here, only directories.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK

#: One letter for each type of file, `w` being the character device 0:0, overlay's whiteout.
LETTERS = "dflcbpsw"

_SPECIAL = {
    stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p", stat.S_IFSOCK: "s",
    stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l",
}  # fmt: skip


def letter_of(status: os.stat_result) -> str:
    """Return the letter of a file's type."""
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return "w"
    return _SPECIAL[stat.S_IFMT(status.st_mode)]


def open_root(path: str) -> int:
    """Open a layer's own directory; as for the kernel, it may be reached by symbolic links."""
    return _open(path, _DIRECTORY, None)


def open_dir(name: str, dir_fd: int) -> int:
    """Open a directory inside another one. Raises OSError, ENOTDIR or ELOOP for anything else."""
    return _open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd)


def _open(name: str, flags: int, dir_fd: int | None) -> int:
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError as error:
        if error.errno != errno.EPERM:  # only the owner of a file may keep its access time
            raise
    return os.open(name, flags, dir_fd=dir_fd)


def open_path(path: str, dir_fd: int) -> int:
    """Open the directory `path`, which leads down from `dir_fd`, one name at a time."""
    here = os.dup(dir_fd)
    for name in path.split("/"):
        if name:
            try:
                below = open_dir(name, here)
            finally:
                os.close(here)
            here = below
    return here


def scan(fd: int, table: Mapping[str, T]) -> dict[str, T]:
    """Return every name of a directory with what `table` has for the letter of its type.

    Costs a stat only for what is neither file, directory nor symbolic link. Raises OSError.
    """
    file, directory, symlink = table["f"], table["d"], table["l"]
    found: dict[str, T] = {}
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                found[entry.name] = file
            elif entry.is_dir(follow_symlinks=False):
                found[entry.name] = directory
            elif entry.is_symlink():
                found[entry.name] = symlink
            else:
                try:
                    found[entry.name] = table[letter_of(entry.stat(follow_symlinks=False))]
                except FileNotFoundError:
                    continue  # gone since it was listed
    return found


def status(name: str, dir_fd: int) -> os.stat_result | None:
    """Return lstat(2) of a name in a directory, None where there is no such name."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise


def attribute_names(fd: int, name: str | None = None) -> list[str]:
    """Return the names of the extended attributes of a directory, or of a name inside it.

    Empty where the filesystem has none or the file has gone. `trusted.*` is left out by the
    kernel for callers without CAP_SYS_ADMIN in the first user namespace.
    """
    try:
        return os.listxattr(fd) if name is None else _of_file(os.listxattr, fd, name)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOENT, errno.ENODATA):
            return []
        raise


def attribute(attribute_name: str, fd: int, name: str | None = None) -> bytes | None:
    """Return the value of an extended attribute of a directory, or of a name inside it."""
    try:
        if name is None:
            return os.getxattr(fd, attribute_name)
        return os.getxattr(_beneath(fd, name), attribute_name, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT):
            return None
        raise


def _of_file(call: object, fd: int, name: str) -> list[str]:
    return os.listxattr(_beneath(fd, name), follow_symlinks=False)


def _beneath(fd: int, name: str) -> str:
    """Name a file by its directory's descriptor: there is no getxattrat(2) before Linux 6.13."""
    return f"/proc/self/fd/{fd}/{name}"


def module_parameters() -> dict[str, str]:
    """Return the overlay module's parameters, its defaults for mounts; none without the module."""
    base = "/sys/module/overlay/parameters"
    found = {}
    try:
        for name in os.listdir(base):
            with open(f"{base}/{name}", encoding="ascii", errors="replace") as file:
                found[name] = file.read().strip()
    except OSError:
        return {}
    return found


def real_path(fd: int) -> str:
    """Return where an open directory lies, as the kernel names it."""
    return os.readlink(f"/proc/self/fd/{fd}")

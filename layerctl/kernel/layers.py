"""Reading the directories of layers, without trusting them.

Nothing is written, no symbolic link inside a layer is followed, and access times do not change if
the caller is permitted to prevent it. Files are opened only to compare their contents.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from typing import TypeVar

from layerctl.kernel import syscalls
from layerctl.kernel.process import raise_open_files

T = TypeVar("T")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK

#: One letter per type of file; `w` is the character device 0:0, overlay's whiteout.
LETTERS = "dflcbpsw"
LETTER_OF = {letter: letter for letter in LETTERS}

_SPECIAL = {
    stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p", stat.S_IFSOCK: "s",
    stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l",
}  # fmt: skip


def cached(fd: int, path: str) -> bool | None:
    """Tell whether a mount has a path below `fd` cached as existing, without a lookup.

    None if nothing is cached, or that is unknown (openat2(2) with RESOLVE_CACHED, Linux 5.12).
    """
    try:
        found = syscalls.openat2(
            fd, path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, syscalls.RESOLVE_CACHED
        )
    except OSError as error:
        return False if error.errno == errno.ENOENT else None
    os.close(found)
    return True


def letter_of(status: os.stat_result) -> str:
    """Return the letter of a file's type."""
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return "w"
    return _SPECIAL[stat.S_IFMT(status.st_mode)]


def open_root(path: str) -> int:
    """Open the directory of a layer; as in the kernel, its path may contain symbolic links."""
    return _open(path, _DIRECTORY, None)


def identity(path: str) -> tuple[int, int] | None:
    """Return device and inode of a directory, or None on error."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_without_mounts(fd: int) -> int:
    """Open a directory again, on a copy of its mount in which nothing else is mounted."""
    copy = syscalls.open_tree(real_path(fd))
    try:
        opened = os.open(".", _DIRECTORY, dir_fd=copy)
    finally:
        os.close(copy)
    one, other = os.fstat(fd), os.fstat(opened)
    if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino):
        os.close(opened)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return opened


def open_dir(name: str, dir_fd: int) -> int:
    """Open a directory inside another one. Raises OSError, ENOTDIR or ELOOP for anything else."""
    return _open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd)


def _open(name: str, flags: int, dir_fd: int | None) -> int:
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError as error:
        if error.errno != errno.EPERM:  # only for the owner of a file
            raise
    return os.open(name, flags, dir_fd=dir_fd)


def open_path(path: str, dir_fd: int) -> int:
    """Open the directory `path` below `dir_fd`, one name at a time."""
    here = os.dup(dir_fd)
    for name in path.split("/"):
        if name:
            try:
                below = open_dir(name, here)
            finally:
                os.close(here)
            here = below
    return here


def directories(root: int, unread: Callable[[str, OSError], None]) -> Iterator[tuple[int, str]]:
    """Yield an open directory and every one below it, open while in use, with their paths.

    Most are opened from their parents; only those with subdirectories are opened again. What cannot
    be read is reported to `unread`.
    """
    return _tree(root, lambda fd, path: _directories_in(fd, path, unread), unread)


def listed(
    root: int, unread: Callable[[str, OSError], None]
) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Like `directories`, with the names in each and the letters of their types: it is read once.

    What cannot be read is reported to `unread`, and has no names.
    """
    below: list[str] = []
    for fd, path in _tree(root, lambda _, __: below.copy(), unread):
        names = {}
        try:
            names = scan(fd, LETTER_OF)
        except OSError as error:
            unread(path, error)
        below[:] = [name for name, letter in names.items() if letter == "d"]
        yield fd, path, names


def _tree(
    root: int, below_of: Callable[[int, str], list[str]], unread: Callable[[str, OSError], None]
) -> Iterator[tuple[int, str]]:
    """Yield the directories of a tree; `below_of` is asked after each for those in it."""
    yield root, ""
    waiting = [("", below_of(root, ""))]
    while waiting:
        path, names = waiting.pop()
        above = _tried(open_path, path, root, path, unread)
        if above is None:
            continue
        try:
            for name in names:
                place = f"{path}/{name}" if path else name
                fd = _tried(open_dir, name, above, place, unread)
                if fd is None:
                    continue
                try:
                    yield fd, place
                    if below := below_of(fd, place):
                        waiting.append((place, below))
                finally:
                    os.close(fd)
        finally:
            os.close(above)


def _tried(
    opener: Callable[[str, int], int],
    name: str,
    dir_fd: int,
    path: str,
    unread: Callable[[str, OSError], None],
) -> int | None:
    try:
        return opener(name, dir_fd)
    except OSError as error:
        unread(path, error)
        return None


def _directories_in(fd: int, path: str, unread: Callable[[str, OSError], None]) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        unread(path, error)
        return []


def scan(fd: int, table: Mapping[str, T]) -> dict[str, T]:
    """Return every name of a directory with the entry of `table` for the letter of its type.

    Needs a stat only for what is neither file, directory nor symbolic link. Raises OSError.
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
                    continue  # removed since it was listed
    return found


def scan_markers(
    fd: int,
    table: Mapping[str, T],
    prefix: str,
    also: Collection[str] = (),
    files: list[str] | None = None,
) -> dict[str, T]:
    """Like `scan`, but without most files and symbolic links.

    It keeps those whose names begin with `prefix` or are among `also`. The names of the omitted
    files are added to `files`, if given.
    """
    file, directory, symlink = table["f"], table["d"], table["l"]
    found: dict[str, T] = {}
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                name = entry.name
                if name in also or name.startswith(prefix):
                    found[name] = file
                elif files is not None:
                    files.append(name)
            elif entry.is_dir(follow_symlinks=False):
                found[entry.name] = directory
            elif entry.is_symlink():
                name = entry.name
                if name in also or name.startswith(prefix):
                    found[name] = symlink
            else:
                try:
                    found[entry.name] = table[letter_of(entry.stat(follow_symlinks=False))]
                except FileNotFoundError:
                    continue
    return found


#: A filesystem without attributes, or a removed file: there is nothing to read.
_WITHOUT = frozenset({errno.ENOTSUP, errno.ENOENT, errno.ENODATA})


def with_attributes(
    fd: int, names: Iterable[str], wanted: Container[str], unread: Callable[[str, OSError], None]
) -> dict[str, list[str]]:
    """Return the files of a directory that have any of the wanted attributes, with those.

    Changes the working directory meanwhile: one call per file, with no path to resolve. Files whose
    attributes cannot be read are reported to `unread`.
    """
    found: dict[str, list[str]] = {}
    back = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.fchdir(fd)
        for name in names:
            try:
                attributes = os.listxattr(name, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _WITHOUT:
                    unread(name, error)
                continue
            if attributes:
                present = [attribute for attribute in attributes if attribute in wanted]
                if present:
                    found[name] = present
    finally:
        os.fchdir(back)
        os.close(back)
    return found


def status(name: str, dir_fd: int) -> os.stat_result | None:
    """Return lstat(2) of a name in a directory, None if there is no such name."""
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise


def letter_at(name: str, dir_fd: int) -> str | None:
    """Return the letter of the type of a name in a directory, None if there is no such name."""
    found = status(name, dir_fd)
    return None if found is None else letter_of(found)


def attribute_names(fd: int, name: str | None = None) -> list[str]:
    """Return the names of the extended attributes of a directory, or of a name inside it.

    Empty if the filesystem has none or the file was removed. The kernel omits `trusted.*` for
    callers without CAP_SYS_ADMIN in the first user namespace.
    """
    try:
        return (
            os.listxattr(fd)
            if name is None
            else os.listxattr(_beneath(fd, name), follow_symlinks=False)
        )
    except OSError as error:
        if error.errno in _WITHOUT:
            return []
        raise


def attribute(attribute_name: str, fd: int, name: str | None = None) -> bytes | None:
    """Return the value of an extended attribute of a directory, or of a name inside it."""
    try:
        if name is None:
            return os.getxattr(fd, attribute_name)
        return os.getxattr(_beneath(fd, name), attribute_name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _WITHOUT:
            return None
        raise


def _beneath(fd: int, name: str) -> str:
    """Name a file by the descriptor of its directory, since getxattrat(2) needs Linux 6.13."""
    return f"/proc/self/fd/{fd}/{name}"


def names(path: str) -> list[str]:
    """Return the names in a directory, without changing its access time. Raises OSError."""
    fd = open_root(path)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def is_read_only(fd: int) -> bool:
    """Tell whether an open directory is on a filesystem, or a mount, that cannot be written to."""
    return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)


def real_path(fd: int) -> str:
    """Return the path of an open directory, as the kernel names it."""
    return os.readlink(f"/proc/self/fd/{fd}")


_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_BLOCK = 1 << 18


def open_file(name: str, dir_fd: int) -> int:
    """Open a regular file in a directory for reading. Raises OSError, EINVAL for anything else."""
    fd = _open(name, _FILE, dir_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return fd


def blocks(fd: int) -> Iterator[bytes]:
    """Yield what an open file holds, and close it. Raises OSError."""
    try:
        while block := os.read(fd, _BLOCK):
            yield block
    finally:
        os.close(fd)


def holds_data(name: str, dir_fd: int) -> bool:
    """Tell whether a regular file has anything but holes. Raises OSError."""
    fd = open_file(name, dir_fd)
    try:
        os.lseek(fd, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    finally:
        os.close(fd)
    return True


def same_content(name: str, fd: int, other_name: str, other_fd: int, size: int) -> bool:
    """Tell whether two regular files of the same size have the same contents. Raises OSError."""
    one = _open(name, _FILE, fd)
    try:
        other = _open(other_name, _FILE, other_fd)
        try:
            return same_open(one, other, size)
        finally:
            os.close(other)
    finally:
        os.close(one)


def open_pair(name: str, fd: int, other_fd: int) -> tuple[int, int] | None:
    """Open a regular file in two directories; None if one cannot be opened for reading."""
    try:
        one = os.open(name, _FILE | os.O_NOATIME, dir_fd=fd)
    except OSError:
        return None
    try:
        return one, os.open(name, _FILE | os.O_NOATIME, dir_fd=other_fd)
    except OSError:
        os.close(one)
        return None


def same_open(one: int, other: int, size: int) -> bool:
    """Tell whether two open files of the same size have the same contents. Raises OSError."""
    if size < _BLOCK:
        return os.read(one, size + 1) == os.read(other, size + 1)
    while True:
        block = _read_full(one)
        if block != _read_full(other):
            return False
        if not block:
            return True


def _read_full(fd: int) -> bytes:
    """Read a whole block, or the rest of the file."""
    parts: list[bytes] = []
    missing = _BLOCK
    while missing:
        part = os.read(fd, missing)
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def attributes(fd: int, name: str | None = None) -> dict[str, bytes]:
    """Return all readable extended attributes of a directory, or of a name inside it."""
    found = {}
    for attribute_name in attribute_names(fd, name):
        value = attribute(attribute_name, fd, name)
        if value is not None:
            found[attribute_name] = value
    return found


def directories_at_once(layers: int) -> int:
    """Return how many directories can be open per layer; raises the limit if possible."""
    limit = raise_open_files(64 * (layers + 1))
    return max(2, min(48, (limit - 64) // (layers + 1) - 1))

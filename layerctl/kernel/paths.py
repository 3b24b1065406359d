"""Absolute paths, as the kernel resolves them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from layerctl.errors import NotFoundError
from layerctl.kernel import beneath


def absolute(path: str) -> str:
    """Return `path` from the root, without `.`, `..`, doubled or trailing slashes.

    `..` after a symbolic link is resolved like in the kernel, not textually. Raises RefusedError
    for `..` after a link that another user can change, and NotFoundError if the working directory
    is gone, or for an empty name, which is not the working directory for the kernel either
    (path_resolution(7)).
    """
    if not path:
        raise NotFoundError(
            "target-missing",
            "the name is empty",
            why="an empty name does not mean the working directory",
            hint="name a directory; use '.' for the working directory",
        )
    whole = _from_root(path)
    if os.pardir in path.split("/"):
        above, _, below = whole.rpartition(f"/{os.pardir}")
        whole = _real(f"{above}/{os.pardir}") + below
    clean = os.path.normpath(whole)
    return clean[1:] if clean.startswith("//") else clean


def real(path: str) -> str:
    """Return a path without symbolic links, as far as it exists."""
    return os.path.realpath(path)


def exists(path: str) -> bool:
    """Tell whether a path leads to something."""
    return os.path.exists(path)


def same(one: str, other: str) -> bool:
    """Tell whether two paths lead to the same directory; False if unknown."""
    if one == other:
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def on_one_filesystem(names: Iterable[str]) -> bool:
    """Tell whether all paths lead to the same filesystem; False if unknown."""
    try:
        return len({os.stat(name).st_dev for name in names}) == 1
    except OSError:
        return False


def unique(prefix: str, suffix: str = "") -> str:
    """Return a unique name."""
    return f"{prefix}{os.urandom(6).hex()}{suffix}"


def _real(path: str) -> str:
    """Return the directory that a path leads to, without links. Raises RefusedError.

    Links that other users can change are not followed, since the result would not show them.
    """
    try:
        fd = beneath.open_directory(path)
    except OSError:
        return path  # it leads nowhere
    try:
        return os.readlink(beneath.name_of(fd))
    except OSError:
        return os.path.realpath(path)  # without /proc
    finally:
        os.close(fd)


def _from_root(path: str) -> str:
    if path.startswith("/"):
        return path
    try:
        return os.path.join(os.getcwd(), path)
    except FileNotFoundError:
        raise NotFoundError(
            "target-missing",
            "the working directory was deleted, so relative paths cannot be resolved",
            hint="change to an existing directory, or use absolute paths",
        ) from None


def names(directory: str) -> list[tuple[str, bool]]:
    """Return the names in a directory, and which are directories; none if it cannot be read."""
    try:
        with os.scandir(directory) as entries:
            return [(entry.name, entry.is_dir()) for entry in entries]
    except OSError:
        return []


def directories_in(directory: str) -> list[str]:
    """Return the names of the directories in a directory, without links; none if unreadable."""
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def shared_in(directory: str) -> list[str]:
    """Return the names of the directories of others in a directory to which the caller may write.

    Empty if it cannot be read.
    """
    me = os.geteuid()
    return [
        name
        for name in directories_in(directory)
        if os.access(path := f"{directory}/{name}", os.W_OK | os.X_OK, effective_ids=True)
        and os.lstat(path).st_uid != me
    ]


def is_directory(path: str) -> bool:
    """Tell whether a name leads to a directory."""
    return os.path.isdir(path)


def is_image(path: str) -> bool:
    """Tell whether a path is a regular file, or names a partition of one (FILE:NUMBER)."""
    if os.path.isdir(path):
        return False
    file, colon, number = path.rpartition(":")
    return os.path.isfile(path) or bool(colon and number.isdecimal() and os.path.isfile(file))


def is_plain_directory(path: str) -> bool:
    """Tell whether a name is that of a directory, and of no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def taken(path: str) -> bool:
    """Tell whether the name exists, even as a dangling link."""
    return os.path.lexists(path)

"""Compare two objects of the same type, the cheapest properties first."""

from __future__ import annotations

import os
import stat

from layerctl.inspecting.resolvers.tree import Part
from layerctl.kernel import layers
from layerctl.rules.overlay import FUSE, TRUSTED, USER

#: Two files written within this many nanoseconds may have the same time (a tick, or FAT's 2 s).
_COARSE = 2 * 10**9

#: A result: `unchanged`, `metadata` or `modified`, and the names of the differences.
Verdict = tuple[str, tuple[str, ...]]


def compare_files(name: str, now: int, was: int, *, content: bool) -> Verdict | None:
    """Compare regular files of the same name in two directories, with one lookup each.

    Returns None if one cannot be opened for reading. Raises OSError.
    """
    pair = layers.open_pair(name, now, was)
    if pair is None:
        return None
    one_fd, other_fd = pair
    try:
        one, other = os.fstat(one_fd), os.fstat(other_fd)
        if one.st_ino == other.st_ino and one.st_dev == other.st_dev:
            return "unchanged", ()
        differs = what_differs(one, other)
        size = one.st_size
        if size != other.st_size:
            return "modified", ("size", *differs)
        if size and (content or is_open(one, other)) and not layers.same_open(*pair, size):
            return "modified", ("content", *differs)
        if differs:
            return "metadata", differs
        if attributes_differ(one_fd, None, other_fd, None):
            return "metadata", ("xattrs",)
        return "unchanged", ()
    finally:
        os.close(one_fd)
        os.close(other_fd)


def what_differs(one: os.stat_result, other: os.stat_result) -> tuple[str, ...]:
    """Return which of mode, uid, gid and mtime differ."""
    differs = owner_and_mode(one, other)
    return differs if one.st_mtime_ns == other.st_mtime_ns else (*differs, "mtime")


def attributes_differ(one: int, name: str | None, other: int, other_name: str | None) -> bool:
    """Tell whether the attributes of two open objects, or names in them, differ."""
    ours = plain_attributes(layers.attributes(one, name))
    return ours != plain_attributes(layers.attributes(other, other_name))


def plain_attributes(attributes: dict[str, bytes]) -> dict[str, bytes]:
    """Return the attributes without those of overlay."""
    return {
        name: value
        for name, value in attributes.items()
        if not name.startswith((TRUSTED, USER, FUSE))
    }


def owner_and_mode(one: os.stat_result, other: os.stat_result) -> tuple[str, ...]:
    """Return which of mode, uid and gid differ."""
    differs = []
    if one.st_mode != other.st_mode:
        differs.append("mode")
    if one.st_uid != other.st_uid:
        differs.append("uid")
    if one.st_gid != other.st_gid:
        differs.append("gid")
    return tuple(differs)


def is_open(now: os.stat_result, was: os.stat_result) -> bool:
    """Tell whether the metadata of two files of the same size do not decide if they are equal.

    A copy-up keeps the mtime, so the same mtime means the same contents, unless the file was
    written right then, since clocks are coarse. An mtime that was set later shows in a later ctime.
    """
    if now.st_mtime_ns != was.st_mtime_ns:
        return True
    return now.st_ctime_ns - now.st_mtime_ns < _COARSE


def special_differs(
    name: str, now: Part, was: Part, one: os.stat_result, other: os.stat_result
) -> str:
    """Compare two links or devices; return `target`, `device` or nothing."""
    if stat.S_ISLNK(one.st_mode):
        same = os.readlink(name, dir_fd=now.fd) == os.readlink(name, dir_fd=was.fd)
        return "" if same else "target"
    if stat.S_ISCHR(one.st_mode) or stat.S_ISBLK(one.st_mode):
        return "" if one.st_rdev == other.st_rdev else "device"
    return ""

"""Whether two files are the same in everything that the merged tree shows of them."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from layerctl.kernel import changing, layers


class File(NamedTuple):
    """A file of a layer: a name in an open directory."""

    name: str
    fd: int
    status: os.stat_result


def own(attributes: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    """Return the attributes that the merged tree shows: all but overlay's own.

    Those that are escaped belong to an overlay in this one, and are shown.
    """
    return {name: value for name, value in attributes.items() if not is_marker(name, prefix)}


def is_marker(attribute: str, prefix: str) -> bool:
    """Tell whether an attribute is one of overlay's own."""
    return attribute.startswith(prefix) and not attribute.startswith(f"{prefix}overlay.")


def same_metadata(one: File, other: File, prefix: str, *, times: bool = True) -> bool:
    """Tell whether type, mode, owner, times, device and attributes are the same."""
    a, b = one.status, other.status
    if (a.st_mode, a.st_uid, a.st_gid) != (b.st_mode, b.st_uid, b.st_gid):
        return False
    if times and a.st_mtime_ns != b.st_mtime_ns:
        return False
    if a.st_rdev != b.st_rdev:
        return False
    ours = own(layers.attributes(one.fd, one.name), prefix)
    if ours != own(layers.attributes(other.fd, other.name), prefix):
        return False
    if stat.S_ISREG(a.st_mode) or stat.S_ISDIR(a.st_mode):
        return changing.flags(one.fd, one.name) == changing.flags(other.fd, other.name)
    return True


def same_file(one: File, other: File, prefix: str, *, times: bool = True) -> bool:
    """Tell whether two files that are no directories are the same, contents included.

    A file with several names never counts as the same, since its names would no longer be one file.
    """
    if one.status.st_nlink > 1 or other.status.st_nlink > 1:
        return False
    if one.status.st_size != other.status.st_size:  # the cheapest to know
        return False
    return same_metadata(one, other, prefix, times=times) and same_content(one, other)


def same_content(one: File, other: File) -> bool:
    """Tell whether two files that are no directories are of one type and hold the same."""
    a, b = one.status, other.status
    if stat.S_IFMT(a.st_mode) != stat.S_IFMT(b.st_mode) or a.st_size != b.st_size:
        return False
    if stat.S_ISLNK(a.st_mode):
        return os.readlink(one.name, dir_fd=one.fd) == os.readlink(other.name, dir_fd=other.fd)
    if stat.S_ISREG(a.st_mode) and a.st_size:
        return layers.same_content(one.name, one.fd, other.name, other.fd, a.st_size)
    return True


def same_open(
    one: int,
    other: int,
    a: os.stat_result,
    b: os.stat_result,
    prefix: str,
    *,
    times: bool = True,
) -> bool | None:
    """Tell whether two open files with these statuses are the same, as `same_file` does.

    None where one is not a regular file, or has markers of overlay other than an origin, so that
    only a lookup can tell.
    """
    if not (stat.S_ISREG(a.st_mode) and stat.S_ISREG(b.st_mode)):
        return None
    if a.st_nlink > 1 or b.st_nlink > 1 or a.st_size != b.st_size or a.st_mode != b.st_mode:
        return False
    if a.st_uid != b.st_uid or a.st_gid != b.st_gid:
        return False
    if times and a.st_mtime_ns != b.st_mtime_ns:
        return False
    ours, theirs = layers.attribute_names(one), layers.attribute_names(other)
    if ours or theirs:
        if any(is_marker(name, prefix) and name != f"{prefix}origin" for name in (*ours, *theirs)):
            return None
        if own(layers.attributes(one), prefix) != own(layers.attributes(other), prefix):
            return False
    return changing.same_flags(one, other) and layers.same_open(one, other, a.st_size)

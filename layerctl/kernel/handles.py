"""File handles of layers, by which overlay records the origin of a copy."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from layerctl.codecs import handles
from layerctl.codecs.handles import Handle
from layerctl.kernel import layers, syscalls

_BIG_ENDIAN = sys.byteorder == "big"
#: FS_IOC_GETFSUUID (6.9): struct fsuuid2, a length and 16 bytes.
_GETFSUUID = 0x80111500
_UUID_BYTES = 16


def remembered(attribute: str, fd: int, name: str | None = None) -> Handle | None:
    """Return the handle in an attribute of a directory, or of a name in it; None without one."""
    raw = layers.attribute(attribute, fd, name)
    return None if raw is None else parsed(raw)


def parsed(raw: bytes) -> Handle | None:
    """Return the handle in the value of an attribute; None if it says that it is unknown."""
    return handles.parse(raw, big_endian=_BIG_ENDIAN)


def named(name: str) -> Handle | None:
    """Return the handle whose hex digits are a name in the index, None if they are none."""
    try:
        return handles.parse(bytes.fromhex(name), big_endian=_BIG_ENDIAN)
    except ValueError:
        return None


def of(fd: int, name: str = "", uuid: bytes | None = None) -> Handle | None:
    """Return the handle of an open file, or of a name in an open directory.

    None if the filesystem has none. `uuid` is that of the filesystem, zeros where it is None.
    """
    try:
        kind, data = syscalls.name_to_handle_at(name, fd)
    except OSError:
        return None
    return handles.encode(kind, data, uuid or bytes(_UUID_BYTES), big_endian=_BIG_ENDIAN)


def filesystem_uuid(fd: int) -> bytes | None:
    """Return the UUID of the filesystem that a descriptor is on, None if it does not say."""
    try:
        answer = fcntl.ioctl(fd, _GETFSUUID, bytes(1 + _UUID_BYTES))
    except OSError:
        return None
    return answer[1:] if answer[0] == _UUID_BYTES else bytes(_UUID_BYTES)


def decode(handle: Handle, mount_fd: int) -> os.stat_result | None:
    """Return what a handle names on a filesystem, None if that has no such file.

    Raises OSError (EPERM) without CAP_DAC_READ_SEARCH.
    """
    try:
        fd = syscalls.open_by_handle_at(mount_fd, handle.type, handle.handle)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)

"""The file handles that overlay stores in its attributes (struct ovl_fb in overlayfs.h). Pure."""

from __future__ import annotations

from typing import NamedTuple

#: Version, magic, length, flags, type, UUID: the header of a handle.
_HEAD = 21
_MAGIC = 0xFB
#: OVL_FH_FLAG_ANY_ENDIAN, OVL_FH_FLAG_BIG_ENDIAN and OVL_FH_FLAG_PATH_UPPER.
_BIG, _ANY, _PATH_UPPER = 1, 2, 4


class Handle(NamedTuple):
    """One file handle: `raw` is the whole value; its hex digits are a name in the index."""

    type: int
    handle: bytes
    uuid: bytes
    raw: bytes


def parse(raw: bytes, *, big_endian: bool) -> Handle | None:
    """Parse the value of an attribute; None for what overlay treats as an unknown origin."""
    if len(raw) <= _HEAD or raw[1] != _MAGIC or not _HEAD <= raw[2] <= len(raw):
        return None
    raw = raw[: raw[2]]
    flags = raw[3]
    if raw[0] != 0 or flags & ~(_BIG | _ANY | _PATH_UPPER):
        return None
    if not flags & _ANY and bool(flags & _BIG) != big_endian:
        return None
    return Handle(raw[4], raw[_HEAD:], raw[5:_HEAD], raw)


def encode(kind: int, handle: bytes, uuid: bytes, *, big_endian: bool) -> Handle:
    """Return the handle of a lower file as overlay writes it (ovl_encode_real_fh)."""
    flags = _BIG if big_endian else 0
    head = bytes((0, _MAGIC, _HEAD + len(handle), flags, kind))
    return Handle(kind, handle, uuid, head + uuid + handle)

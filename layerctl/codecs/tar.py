"""The headers of tar archives, as POSIX pax writes them.

tarfile of the standard library takes five times as long for each. Sources: pax(1) and tar(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

BLOCK = 512
#: Attributes are records of this prefix, their values as they are.
ATTRIBUTE = b"SCHILY.xattr."
FILE, LINK, SYMLINK, CHAR, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"

_NO_ATTRIBUTES: Mapping[str, bytes] = {}
_REST = b"ustar\x0000" + bytes(64)
#: After the type: no link, no names of users, no device.
_PLAIN = bytes(100) + _REST + b"0000000\x000000000\0" + bytes(167)
_PLAIN_SUM = sum(_PLAIN)
_MOST_ID, _MOST_SIZE = 0o7777777, 0o77777777777


class Entry(NamedTuple):
    """One entry of an archive; `modified` is in nanoseconds, `device` major and minor number."""

    name: bytes
    kind: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    modified: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    attributes: Mapping[str, bytes] = _NO_ATTRIBUTES


def encode(entry: Entry) -> bytes:
    """Return the headers of an entry, to be followed by its content and `padding`."""
    name, kind, mode, uid, gid, size, modified, link, device, attributes = entry[:10]
    seconds, rest = divmod(modified, 10**9)
    records = b""
    if rest or not 0 <= seconds <= _MOST_SIZE:
        records = record(b"mtime", _time(modified))
        seconds = min(max(seconds, 0), _MOST_SIZE)
    if len(name) > 100 or len(link) > 100:
        records += record(b"path", name) if len(name) > 100 else b""
        records += record(b"linkpath", link) if len(link) > 100 else b""
        name, link = name[:100], link[:100]
    if uid > _MOST_ID or gid > _MOST_ID or size > _MOST_SIZE:
        for key, value in ((b"uid", uid), (b"gid", gid), (b"size", size)):
            records += record(key, b"%d" % value)
        uid, gid, size = uid & _MOST_ID, gid & _MOST_ID, size & _MOST_SIZE
    for attribute in sorted(attributes):
        records += record(ATTRIBUTE + attribute.encode("utf-8", "surrogateescape"),
                          attributes[attribute])  # fmt: skip
    start = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b" % (
        name.ljust(100, b"\0"), mode & 0o7777, uid, gid, size, seconds, kind,
    )  # fmt: skip
    if link or device[0] or device[1]:
        tail = b"%b%b%07o\0%07o\0" % (link.ljust(100, b"\0"), _REST, *device) + bytes(167)
        total = sum(start) + sum(tail)
    else:
        tail, total = _PLAIN, sum(start) + _PLAIN_SUM
    own = b"%b%06o\0 %b%b" % (start[:148], total, start[156:], tail)
    return b"%b%b%b" % (_extended(records), own, b"") if records else own


def record(key: bytes, value: bytes) -> bytes:
    """Return one record of an extended header: its own length, key and value."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def padding(size: int) -> bytes:
    """Return what fills the last block after a content of this size."""
    return bytes(-size % BLOCK)


#: The headers of extended headers by their sizes, of which there are few.
_EXTENDED: dict[int, bytes] = {}


def _extended(records: bytes) -> bytes:
    size = len(records)
    head = _EXTENDED.get(size)
    if head is None:
        head = encode(Entry(b"././@PaxHeader", b"x", 0o644, size=size))
        if len(_EXTENDED) < 1000:
            _EXTENDED[size] = head
    return head + records + padding(size)


def _time(nanoseconds: int) -> bytes:
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    text = f"{'-' if nanoseconds < 0 else ''}{seconds}"
    return f"{text}.{rest:09}".rstrip("0").encode() if rest else text.encode()

"""Filesystem images: what is in a file, where its partitions are, and loop devices for them.

Nothing in an image is trusted: every number is checked against the size of the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.kernel import syscalls
from layerctl.rules.overlay import OWN_LOOP, OWN_TMPFS, own_place

#: LOOP_CTL_GET_FREE and LOOP_CONFIGURE (Linux 5.8), LO_FLAGS_READ_ONLY and LO_FLAGS_AUTOCLEAR
#: (linux/loop.h).
_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR = 1, 4
_TRIES = 64
_SECTOR = 512
#: More partitions than this are in no table that is meant.
_MOST_PARTITIONS = 256

#: A filesystem that can be a layer: its type, where its magic number is, and that.
_MAGIC = (
    ("squashfs", 0, b"hsqs"),
    ("xfs", 0, b"XFSB"),
    ("erofs", 1024, bytes.fromhex("e2e1f5e0")),
    ("ext4", 1080, bytes.fromhex("53ef")),
    ("iso9660", 32769, b"CD001"),
    ("btrfs", 65600, b"_BHRfS_M"),
)
FSTYPES = tuple(row[0] for row in _MAGIC)
#: What a filesystem needs to be mounted read-only beside its twin, which has the same UUID.
OPTIONS = {"xfs": "nouuid"}


class Span(NamedTuple):
    """A part of a file, in bytes."""

    start: int
    size: int


def open_image(path: str) -> int:
    """Open a regular file that may be an image. Raises OSError, EINVAL for another kind of file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


def filesystem(fd: int, span: Span) -> str | None:
    """Return the type of the filesystem in a part of an open file, None if it is unknown."""
    for fstype, offset, magic in _MAGIC:
        inside = offset + len(magic) <= span.size
        if inside and os.pread(fd, len(magic), span.start + offset) == magic:
            return fstype
    return None


def whole(fd: int) -> Span:
    """Return the span of a whole file."""
    return Span(0, os.fstat(fd).st_size)


def partitions(fd: int) -> dict[int, Span]:
    """Return the partitions of a disk image by their numbers, as the kernel counts them.

    Those that do not lie in the file are left out. It reads GPT and MBR with logical partitions.
    """
    size = os.fstat(fd).st_size
    first = os.pread(fd, _SECTOR, 0)
    if len(first) < _SECTOR or first[510:] != b"\x55\xaa":
        return {}
    kinds = [first[446 + 16 * number + 4] for number in range(4)]
    found = dict(_gpt(fd) if 0xEE in kinds else _mbr(fd, first))
    return {
        number: span for number, span in found.items()
        if 0 < span.start < size and 0 < span.size <= size - span.start
    }  # fmt: skip


def _gpt(fd: int) -> Iterator[tuple[int, Span]]:
    for sector in (_SECTOR, 4096):
        header = os.pread(fd, 92, sector)
        if len(header) == 92 and header[:8] == b"EFI PART":
            break
    else:
        return
    table, count, length = struct.unpack_from("<QII", header, 72)
    if length < 128 or table > 1 << 40:
        return
    for number in range(min(count, _MOST_PARTITIONS)):
        entry = os.pread(fd, 128, table * sector + number * length)
        if len(entry) < 128:
            return
        first, last = struct.unpack_from("<QQ", entry, 32)
        if any(entry[:16]) and first <= last < 1 << 50:
            yield number + 1, Span(first * sector, (last + 1 - first) * sector)


#: Types of a partition that holds a chain of logical ones.
_EXTENDED = (0x05, 0x0F, 0x85)


def _mbr(fd: int, first: bytes) -> Iterator[tuple[int, Span]]:
    base = 0
    for number in range(4):
        kind, start, count = _entry(first, number)
        if kind in _EXTENDED:
            base = base or start
        elif kind:
            yield number + 1, Span(start * _SECTOR, count * _SECTOR)
    at, number = base, 5
    while at and number < _MOST_PARTITIONS:  # each names the next one, from the first on
        sector = os.pread(fd, _SECTOR, at * _SECTOR)
        if len(sector) < _SECTOR or sector[510:] != b"\x55\xaa":
            return
        kind, start, count = _entry(sector, 0)
        if kind:
            yield number, Span((at + start) * _SECTOR, count * _SECTOR)
            number += 1
        kind, start, _ = _entry(sector, 1)
        at = base + start if kind in _EXTENDED and start else 0


def _entry(sector: bytes, number: int) -> tuple[int, int, int]:
    """Return the type, first sector and number of sectors of an entry of a partition table."""
    at = 446 + 16 * number
    start, count = struct.unpack_from("<II", sector, at + 8)
    return sector[at + 4], start, count


def attach(fd: int, span: Span) -> tuple[int, int]:
    """Attach a part of an open file to a loop device, read-only; return its number and descriptor.

    The kernel detaches it once nothing uses it (LO_FLAGS_AUTOCLEAR). Raises OSError.
    """
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            number = fcntl.ioctl(control, _GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                limit = 0 if span == whole(fd) else span.size
                fcntl.ioctl(device, _CONFIGURE, _configuration(fd, span.start, limit))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # another program was faster
                    raise
            else:
                return number, device
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no loop device is free")


def _configuration(fd: int, start: int, limit: int) -> bytes:
    """Return a struct loop_config (linux/loop.h)."""
    name = os.fsencode(os.readlink(f"/proc/self/fd/{fd}"))[:63]
    info = struct.pack("QQQQQIIII64s64s32sQQ", 0, 0, 0, start, limit, 0, 0, 0,
                       _READ_ONLY | _AUTOCLEAR, name, b"", b"", 0, 0)  # fmt: skip
    return struct.pack("II", fd, 0) + info + bytes(64)


def backing_file(number: int) -> tuple[str, Span] | None:
    """Return the file that a loop device shows, and which part of it, None if it has none now.

    `size` of the part is 0 for all that follows its start.
    """
    place = f"/sys/block/loop{number}/loop"
    try:
        with open(f"{place}/backing_file", "rb") as file:
            path = os.fsdecode(file.read().removesuffix(b"\n"))
        with open(f"{place}/offset") as file:
            start = int(file.read())
        with open(f"{place}/sizelimit") as file:
            return path, Span(start, int(file.read()))
    except (OSError, ValueError):
        return None


def reopen(number: int) -> int:
    """Return the root of the filesystem on a loop device that a mount holds (O_PATH).

    It is the same superblock, so that nothing is read twice. Raises OSError.
    """
    source = f"/dev/loop{number}"
    device = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fstype = filesystem(device, Span(0, 1 << 62))
        if fstype is None:
            raise OSError(errno.EINVAL, "not a known filesystem", source)
        context = syscalls.fsopen(fstype)
        try:
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "source", source)
            for word in ("ro", *filter(None, OPTIONS.get(fstype, "").split(","))):
                syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, word, None)
            syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE, None, None)
            return syscalls.fsmount(context)
        finally:
            os.close(context)
    finally:
        os.close(device)


def named(path: str) -> str | None:
    """Return the image that a layer of a live mount is on, None for other layers."""
    place = own_place(path)
    if place is None or place == OWN_TMPFS:
        return None
    found = backing_file(int(place.removeprefix(OWN_LOOP)))
    if found is None:
        return None
    image, span = found
    return f"{image}, from byte {span.start} on" if span.start else image

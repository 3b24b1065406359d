"""Read a bbolt database, as containerd keeps its metadata in: a B+ tree of pages, read only.

No daemon is asked and no lock taken: bbolt never overwrites a page that its newest meta page
leads to, so what is read is one transaction as long as that meta page stays the newest
(https://github.com/etcd-io/bbolt, internal/common: page.go, meta.go, bucket.go). Whatever a damaged
or hostile file says, each page is read at most once a search and no more than LARGEST at a time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAGIC, VERSION = 0xED0CDAED, 2
#: The kinds of pages that hold keys, and what marks a value as a bucket.
_BRANCH, _LEAF, _META = 0x01, 0x02, 0x04
_IS_BUCKET = 0x01
_PAGE = struct.Struct("<QHHI")  # id, flags, count, overflow
_METADATA = struct.Struct("<IIIIQQQQQQ")  # ..., page size, flags, root, sequence, ..., txid, sum
_CHECKED = _METADATA.size - 8
_BRANCH_ELEMENT = struct.Struct("<IIQ")  # position, key size, page
_LEAF_ELEMENT = struct.Struct("<IIII")  # flags, position, key size, value size
_BUCKET = struct.Struct("<QQ")  # root page (0: inline), sequence
#: Page sizes that a kernel may have, and so where the second meta page may be.
_PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
#: Bytes of the longest run of pages that is read, and how deep a tree may go.
LARGEST = 64 << 20
_DEEPEST = 32


class DamagedError(ValueError):
    """The file is not a bbolt database, or a part of it is invalid."""


class _Meta(NamedTuple):
    page_size: int
    root: int
    txid: int


#: Reads the page of a number, header and all.
_Read = Callable[[int], bytes]


class Bucket:
    """A bucket: names that lead to values, and to more buckets."""

    __slots__ = ("_read", "_start")

    def __init__(self, read: _Read, start: bytes) -> None:
        """`start` is the first page of its tree, `read` gets the others."""
        self._read = read
        self._start = start

    def items(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Yield names and what each leads to, sorted. Raises DamagedError."""
        yield from self._below(self._start, set(), 0)

    def _below(
        self, page: bytes, seen: set[int], depth: int
    ) -> Iterator[tuple[bytes, bytes | Bucket]]:
        if depth > _DEEPEST:
            raise DamagedError("the tree is too deep")
        if _flags(page) & _LEAF:
            yield from self._leaf(page)
            return
        for _, number in _branches(page):
            if number in seen:
                raise DamagedError(f"page {number} is in the tree twice")
            seen.add(number)
            yield from self._below(self._read(number), seen, depth + 1)

    def _leaf(self, page: bytes) -> Iterator[tuple[bytes, bytes | Bucket]]:
        for name, flags, value in _values(page):
            yield name, self._bucket(value) if flags & _IS_BUCKET else value

    def _bucket(self, value: bytes) -> Bucket:
        if len(value) < _BUCKET.size:
            raise DamagedError("a bucket is cut short")
        root, _ = _BUCKET.unpack_from(value)
        return Bucket(self._read, value[_BUCKET.size :] if root == 0 else self._read(root))

    def get(self, name: bytes) -> bytes | Bucket | None:
        """Return what a name leads to, None if it is not there. Raises DamagedError."""
        page = self._start
        for _ in range(_DEEPEST):
            if _flags(page) & _LEAF:
                return dict(self._leaf(page)).get(name)
            below = None
            for first, number in _branches(page):
                if below is not None and first > name:
                    break
                below = number
            if below is None:
                return None
            page = self._read(below)
        raise DamagedError("the tree is too deep")

    def bucket(self, *names: bytes) -> Bucket | None:
        """Return the bucket that a chain of names leads to, None if there is none."""
        here: Bucket = self
        for name in names:
            found = here.get(name)
            if not isinstance(found, Bucket):
                return None
            here = found
        return here

    def value(self, name: bytes) -> bytes:
        """Return the value of a name, empty if there is none."""
        found = self.get(name)
        return found if isinstance(found, bytes) else b""

    def buckets(self) -> Iterator[tuple[bytes, Bucket]]:
        """Yield the buckets in this one with their names."""
        for name, found in self.items():
            if isinstance(found, Bucket):
                yield name, found


def read_whole(fd: int, read: Callable[[Bucket], object], attempts: int = 5) -> None:
    """Let `read` have the root of the database in an open file, as of one transaction.

    A writer that commits meanwhile has it called again. Raises DamagedError, and OSError.
    """
    for _ in range(attempts):
        meta = _newest(fd)
        damage: DamagedError | None = None
        try:
            read(Bucket(_reader(fd, meta.page_size), _reader(fd, meta.page_size)(meta.root)))
        except DamagedError as error:
            damage = error
        if _newest(fd).txid != meta.txid:
            continue
        if damage is not None:
            raise damage
        return
    raise DamagedError("it changes faster than it can be read")


def _newest(fd: int) -> _Meta:
    """Return the newest of the two meta pages that is whole. Raises DamagedError."""
    first = _meta(os.pread(fd, _PAGE.size + _METADATA.size, 0))
    sizes = _PAGE_SIZES if first is None else (first.page_size,)
    others = (_meta(os.pread(fd, _PAGE.size + _METADATA.size, size)) for size in sizes)
    whole = [one for one in (first, *others) if one is not None]
    if not whole:
        raise DamagedError("no meta page is whole")
    return max(whole, key=lambda one: one.txid)


def _meta(page: bytes) -> _Meta | None:
    if len(page) < _PAGE.size + _METADATA.size or not _flags(page) & _META:
        return None
    raw = page[_PAGE.size :]
    magic, version, page_size, _, root, _, _, _, txid, checksum = _METADATA.unpack_from(raw)
    if (magic, version) != (MAGIC, VERSION) or checksum != _fnv1a(raw[:_CHECKED]):
        return None
    return _Meta(page_size, root, txid) if page_size in _PAGE_SIZES else None


def _fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash, which guards a meta page."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _reader(fd: int, page_size: int) -> _Read:
    def read(number: int) -> bytes:
        offset = number * page_size
        try:
            page = os.pread(fd, page_size, offset)
        except (OverflowError, OSError) as error:
            raise DamagedError(f"page {number} cannot be read: {error}") from None
        if len(page) < _PAGE.size:
            raise DamagedError(f"page {number} is beyond the end")
        own, _, _, overflow = _PAGE.unpack_from(page)
        size = (overflow + 1) * page_size
        if own != number or size > LARGEST:
            raise DamagedError(f"page {number} is damaged")
        return os.pread(fd, size, offset) if overflow else page

    return read


def _flags(page: bytes) -> int:
    if len(page) < _PAGE.size:
        raise DamagedError("a page is cut short")
    flags: int = _PAGE.unpack_from(page)[1]
    return flags


def _elements(page: bytes, form: struct.Struct) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield where each element of a page is, and its fields. Raises DamagedError."""
    count: int = _PAGE.unpack_from(page)[2]
    if _PAGE.size + count * form.size > len(page):
        raise DamagedError("a page is cut short")
    for offset in range(_PAGE.size, _PAGE.size + count * form.size, form.size):
        yield offset, form.unpack_from(page, offset)


def _branches(page: bytes) -> Iterator[tuple[bytes, int]]:
    if not _flags(page) & _BRANCH:
        raise DamagedError("a page is of no kind that holds names")
    for offset, (position, size, number) in _elements(page, _BRANCH_ELEMENT):
        yield _cut(page, offset + position, size), number


def _values(page: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    for offset, (flags, position, key, value) in _elements(page, _LEAF_ELEMENT):
        start = offset + position
        yield _cut(page, start, key), flags, _cut(page, start + key, value)


def _cut(page: bytes, start: int, size: int) -> bytes:
    if start + size > len(page):
        raise DamagedError("a page is cut short")
    return page[start : start + size]

"""The entries of a layer archive, read one after the other by tarfile, and checked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from layerctl.errors import RefusedError
from layerctl.kernel.streams import PIECE, CompressedError

#: Bytes that the headers of one entry may have: names, and attributes of at most 64 KiB each.
_MOST_HEADERS = 2 << 20
#: Names deeper than this are in no layer that is meant.
_DEEPEST = 500
_XATTR = "SCHILY.xattr."
_IDS = (1 << 32) - 1


class Member(NamedTuple):
    """An entry: the parts of its name, what it is, and how it looks; times in nanoseconds.

    `kind` is the letter of a file as in `kernel.layers`, or `h` for another name of a file.
    `parts` is empty for the root. `sparse` are the starts and lengths of data, None for all.
    """

    parts: tuple[str, ...]
    kind: str
    mode: int
    uid: int
    gid: int
    modified: int
    size: int
    link: str
    device: tuple[int, int]
    attributes: dict[str, bytes]
    sparse: list[tuple[int, int]] | None

    @property
    def path(self) -> str:
        """The name, as it is shown."""
        return "/".join(self.parts) or "."


class DamagedError(ValueError):
    """The archive ends too early, or has headers that are none."""


class _Bytes:
    """A file to read pieces from; what the headers of an entry may take is limited."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""
        self.budget: int | None = None

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end."""
        found = [self._rest]
        have = len(self._rest)
        while have < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            found.append(piece)
            have += len(piece)
        whole = b"".join(found)
        self._rest = whole[size:]
        if self.budget is not None:
            self.budget -= size
            if self.budget < 0:
                raise DamagedError("the headers of an entry are larger than 2 MiB")
        return whole[:size]


class _Info(tarfile.TarInfo):
    """Damaged headers are errors, where tarfile takes some of them for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> _Info:
        try:
            return super(_Info, cls).fromtarfile(tarfile)  # noqa: UP008 - else cls is unused
        except Exception as error:
            if type(error).__name__ in ("EOFHeaderError", "EmptyHeaderError"):
                raise
            raise DamagedError(str(error)) from None


class Members:
    """Reads the entries of an archive, and what they hold."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._bytes = _Bytes(pieces)
        self._pieces = pieces
        self._tar: Any = None  # typeshed does not know a TarFile's members and stream

    def __iter__(self) -> Iterator[Member]:
        try:
            while (info := self._next()) is not None:
                yield _member(info)
            self._bytes.budget = None
            while self._bytes.read(PIECE):  # to the end, for the digests
                pass
        except (DamagedError, CompressedError, tarfile.TarError) as error:
            raise damaged(str(error)) from None

    def _next(self) -> tarfile.TarInfo | None:
        self._bytes.budget = _MOST_HEADERS
        if self._tar is None:
            try:
                self._tar = tarfile.open(  # noqa: SIM115 - there is nothing to close
                    fileobj=self._bytes, mode="r|", tarinfo=_Info, bufsize=1 << 16,  # type: ignore[call-overload]
                    encoding="utf-8", errors="surrogateescape",
                )  # fmt: skip
            except tarfile.ReadError as error:
                if str(error) == "empty file":
                    return None
                raise
        info: tarfile.TarInfo | None = self._tar.next()
        self._tar.members.clear()  # it would keep them all
        self._bytes.budget = None
        return info

    def placed(self, member: Member) -> Iterator[tuple[int, bytes]]:
        """Yield the data of the current entry, a file, with their places. Raises RefusedError."""
        spans = [(0, member.size)] if member.sparse is None else member.sparse
        for start, size in spans:
            if start < 0 or size < 0 or start + size > member.size:
                raise damaged("a sparse file has data beyond its end")
            yield from self._content(start, size)

    def _content(self, at: int, size: int) -> Iterator[tuple[int, bytes]]:
        end = at + size
        while at < end:
            try:
                piece: bytes = self._tar.fileobj.read(min(end - at, PIECE))
            except CompressedError as error:
                raise damaged(str(error)) from None
            if not piece:
                raise damaged("it ends within a file")
            yield at, piece
            at += len(piece)


def damaged(why: str) -> RefusedError:
    """Return the error for an archive that cannot be read."""
    return RefusedError(
        "archive-damaged",
        "the archive cannot be read to its end",
        why=why,
        hint="fetch or write it again; what was unpacked of it has been removed",
    )


def unsafe(path: str, why: str) -> RefusedError:
    """Return the error for an entry that no layer can have."""
    return RefusedError(
        "archive-unsafe",
        f"the archive has the entry '{path}'",
        why=why,
        hint="do not trust this archive; nothing of it has been kept",
    )


_KINDS = {
    tarfile.REGTYPE: "f", tarfile.AREGTYPE: "f", tarfile.CONTTYPE: "f", tarfile.GNUTYPE_SPARSE: "f",
    tarfile.LNKTYPE: "h", tarfile.SYMTYPE: "l", tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b",
    tarfile.DIRTYPE: "d", tarfile.FIFOTYPE: "p",
}  # fmt: skip


def _member(info: tarfile.TarInfo) -> Member:
    kind = _KINDS.get(info.type)
    if kind is None:
        raise unsafe(info.name, f"its type {info.type!r} is unknown")
    if not (0 <= info.uid < _IDS and 0 <= info.gid < _IDS and info.size >= 0):
        raise unsafe(info.name, "its owner or size is not possible")
    attributes = {
        key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
        for key, value in info.pax_headers.items()
        if key.startswith(_XATTR)
    }
    sparse: Any = info.sparse if info.issparse() else None  # pairs, whatever typeshed says
    return Member(
        parts_of(info.name), kind, info.mode & 0o7777, info.uid, info.gid, _modified(info),
        info.size, info.linkname, (info.devmajor, info.devminor), attributes, sparse,
    )  # fmt: skip


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a name below the root. Raises RefusedError for one that leads out."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise unsafe(name, "a name with '..' could lead out of the directory")
    if "\0" in name or len(parts) > _DEEPEST:
        raise unsafe(name, "no file can have this name")
    return parts


def _modified(info: tarfile.TarInfo) -> int:
    """Return the modification time, to the nanosecond where tarfile rounds it."""
    text = info.pax_headers.get("mtime", "")
    whole, _, rest = text.partition(".")
    try:
        if not text:
            return int(info.mtime) * 10**9
        sign = -1 if whole.startswith("-") else 1
        return int(whole) * 10**9 + sign * int(rest[:9].ljust(9, "0") or 0)
    except ValueError:
        raise unsafe(info.name, f"its time '{text}' is not a number") from None

"""Bytes on their way into archives and out of them: read, hashed, (de)compressed, written.

That work is done in threads of its own: hashlib, zlib, read(2) and write(2) let others run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from layerctl.errors import RefusedError

#: Bytes of a piece, and how many of them wait at most.
PIECE = 1 << 19
_WAITING = 4
#: log2 of the largest window of zstd that is decompressed, hence of the memory that it takes.
_WINDOW = 25
GZIP, ZSTD, NONE = "gzip", "zstd", "none"
_MAGIC = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}
#: Frames of zstd to be skipped begin with one of these, then three bytes that are the same.
_SKIPPED = b"\x2a\x4d\x18"
_GZIP_WINDOW = 31  # zlib: with the header and trailer of gzip


class Digests(NamedTuple):
    """The digests of an archive: of its bytes uncompressed (the diff id), and as they are."""

    diff: str
    blob: str
    size: int
    compression: str = NONE


class CompressedError(ValueError):
    """Compressed bytes are damaged."""


class _Hash:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces, hashed."""
        for piece in pieces:
            self._hash.update(piece)
            self.size += len(piece)
            yield piece

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


class Ahead:
    """An iterator that runs ahead in a thread. Its exceptions are raised where it is read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING)
        self._stopped = threading.Event()
        self._pieces = pieces
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            for piece in self._pieces:
                if not self._put(piece):
                    break
        except BaseException as error:
            last = error
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
        self._put(last)

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop it; wait a moment, unless it waits for a reader or a writer itself."""
        self._stopped.set()
        self._thread.join(1)


class Source:
    """An archive that is read: its bytes uncompressed, and afterwards its digests."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._blob, self._diff = _Hash(), _Hash()
        self._compression = NONE
        self._ahead = Ahead(self._diff.through(self._plain(self._blob.through(pieces))))

    def _plain(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        first = b""
        for piece in pieces:
            first += piece
            if len(first) >= 4:
                break
        self._compression = compression_of(first)
        yield from decompressed(_chained(first, pieces), self._compression)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._ahead)

    def close(self) -> None:
        """Stop reading."""
        self._ahead.close()

    def digests(self) -> Digests:
        """Return the digests, once everything has been read."""
        return Digests(self._diff.digest, self._blob.digest, self._blob.size, self._compression)


def _chained(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def compression_of(start: bytes) -> str:
    """Return how bytes are compressed, by the first four of them."""
    if start[1:4] == _SKIPPED and 0x50 <= start[0] <= 0x5F:
        return ZSTD
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), NONE)


def decompressed(pieces: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Yield what compressed pieces hold, in pieces of limited size. Raises CompressedError."""
    if compression == NONE:
        yield from pieces
    elif compression == GZIP:
        yield from _gunzip(pieces)
    else:
        module = _zstd_module()
        yield from _through_program(pieces, "-d") if module is None else _unzstd(module, pieces)


def _gunzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    begun = False
    try:
        for piece in pieces:
            rest = piece
            while rest:
                if inflate.eof:  # another member, or zeros after the last one
                    rest = rest.lstrip(b"\0")
                    if not rest:
                        break
                    inflate, begun = zlib.decompressobj(_GZIP_WINDOW), False
                begun = True
                if out := inflate.decompress(rest, PIECE):
                    yield out
                rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    except zlib.error as error:
        raise CompressedError(f"gzip: {error}") from None
    if begun and not inflate.eof:
        raise CompressedError("gzip: it ends too early")


def _zstd_module() -> Any:
    """Return compression.zstd of Python 3.14 and later, None before."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return None


def _unzstd(module: Any, pieces: Iterable[bytes]) -> Iterator[bytes]:
    options = {module.DecompressionParameter.window_log_max: _WINDOW}
    decompressor = module.ZstdDecompressor(options=options)
    begun = False
    try:
        for piece in pieces:
            rest = piece
            while rest or (begun and not decompressor.needs_input and not decompressor.eof):
                if decompressor.eof:
                    decompressor = module.ZstdDecompressor(options=options)
                begun = True
                if out := decompressor.decompress(rest, PIECE):
                    yield out
                rest = decompressor.unused_data if decompressor.eof else b""
    except module.ZstdError as error:
        raise CompressedError(f"zstd: {error}") from None
    if begun and not decompressor.eof:
        raise CompressedError("zstd: it ends too early")


def _through_program(pieces: Iterable[bytes], *options: str) -> Iterator[bytes]:
    """Yield what zstd(1) makes of the pieces. Raises CompressedError, RefusedError without it."""
    program = shutil.which("zstd")
    if program is None:
        raise RefusedError(
            "no-zstd",
            "the archive is compressed with zstd, for which there is no program",
            why="Python has a module for zstd since 3.14; before, zstd(1) is needed",
            hint="install zstd, or compress the archive with gzip",
            commands=("apt-get install zstd",),
        )
    words = (program, "-q", "-c", f"--memory={1 << _WINDOW}", *options)
    with subprocess.Popen(  # noqa: S603 - no shell, and the words are ours
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin is not None  # noqa: S101 - as asked for
        assert child.stdout is not None  # noqa: S101
        assert child.stderr is not None  # noqa: S101
        failed: list[BaseException] = []
        feeder = threading.Thread(target=_feed, args=(child.stdin, pieces, failed), daemon=True)
        feeder.start()
        try:
            while piece := child.stdout.read(PIECE):
                yield piece
        except GeneratorExit:
            child.kill()
            raise
        feeder.join()
        words_of = child.stderr.read().decode("utf-8", "replace").strip()
    if failed:
        raise failed[0]
    if child.returncode:
        raise CompressedError(f"zstd: {words_of.rpartition(': ')[2] or child.returncode}")


def _feed(stream: Any, pieces: Iterable[bytes], failed: list[BaseException]) -> None:
    try:
        for piece in pieces:
            stream.write(piece)
    except BrokenPipeError:  # the program has said why
        pass
    except BaseException as error:
        failed.append(error)
    finally:
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def _compressed(pieces: Iterable[bytes], compression: str) -> Iterator[bytes]:
    if compression == GZIP:
        deflate = zlib.compressobj(6, zlib.DEFLATED, _GZIP_WINDOW)  # its header has no time
        for piece in pieces:
            if out := deflate.compress(piece):
                yield out
        yield deflate.flush()
    elif compression == ZSTD:
        module = _zstd_module()
        if module is None:
            yield from _through_program(pieces, "-3", "-T1")
            return
        compressor = module.ZstdCompressor(level=3)
        for piece in pieces:
            if out := compressor.compress(piece):
                yield out
        yield compressor.flush()
    else:
        yield from pieces


def deliver(pieces: Iterable[bytes], compression: str, write: Callable[[bytes], None]) -> Digests:
    """Compress pieces, which another thread makes, and write them; return the digests.

    Raises what making and writing them raises.
    """
    diff, blob = _Hash(), _Hash()
    ahead = Ahead(pieces)
    try:
        for piece in blob.through(_compressed(diff.through(ahead), compression)):
            write(piece)
    finally:
        ahead.close()
    return Digests(diff.digest, blob.digest, blob.size, compression)


def read(fd: int) -> Iterator[bytes]:
    """Yield what can be read from a descriptor. Raises OSError."""
    while piece := os.read(fd, PIECE):
        yield piece


def write(fd: int, piece: bytes) -> None:
    """Write all of it to a descriptor. Raises OSError."""
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def open_archive(path: str) -> int:
    """Open a file to be read to its end. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)


def read_and_close(fd: int) -> Iterator[bytes]:
    """Yield what can be read from a descriptor, and close it."""
    try:
        yield from read(fd)
    finally:
        os.close(fd)


def part_of(fd: int, start: int, size: int) -> Iterator[bytes]:
    """Yield a part of an open file. Raises OSError."""
    while size > 0:
        piece = os.pread(fd, min(size, PIECE), start)
        if not piece:
            return
        yield piece
        start += len(piece)
        size -= len(piece)


def file_of(fd: int) -> BinaryIO:
    """Return a file object of a descriptor, which stays open."""
    os.lseek(fd, 0, os.SEEK_SET)
    return open(fd, "rb", closefd=False)


def spooled(pieces: Iterable[bytes]) -> BinaryIO:
    """Return a temporary file without a name that has all pieces."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        for piece in pieces:
            file.write(piece)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def first_block(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes of an archive, uncompressed, and all of its pieces again."""
    kept: list[bytes] = []

    def keeping() -> Iterator[bytes]:
        for piece in pieces:
            kept.append(piece)
            yield piece

    start, source = b"", keeping()
    first = next(source, b"")
    with contextlib.suppress(CompressedError, RefusedError):
        for piece in decompressed(_chained(first, source), compression_of(first)):
            start += piece
            if len(start) >= _START:
                break
    return start[:_START], itertools.chain(kept, pieces)


_START = 16 << 10

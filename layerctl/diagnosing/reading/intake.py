"""Reads a text of any size: long texts are searched once, and only relevant lines are kept.

A short text is kept whole. Of a long one, usually a log, only the lines around those that name a
layered filesystem are read closely, so that the time is linear and the memory constant.
"""

from __future__ import annotations

import re
from collections import deque
from typing import BinaryIO

#: A text up to this size is read closely as a whole.
WHOLE = 64 << 10
#: No line is kept longer: the longest option strings have two pages, and logs quote them.
LONGEST = 16 << 10
_CHUNK = 1 << 20
#: Words of which a line of a long text must have one. Each needs a pass over the text, so there are
#: no redundant ones.
_WORDS = (b"verlay", b"aufs")
#: Patterns of a kernel configuration.
_CONFIG, _SWITCHES = b"CONFIG_", (b"OVERLAY_FS", b"AUFS_FS")
#: The number of lines around such a line to keep, and how many different ones are kept from the
#: beginning and from the end.
_BEFORE, _AFTER = 6, 12
_KEPT = 600
_NUMBERS = re.compile(rb"\d+|\b[0-9a-f]{6,}\b")
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def take(file: BinaryIO) -> str:
    """Return the parts of a text to read closely."""
    start = file.read(WHOLE + 1)
    if start[:2] in _BOMS:
        start = (start + file.read(_CHUNK * 4)).decode(_BOMS[start[:2]], "replace").encode()
        return sift(start.decode())
    if len(start) <= WHOLE:
        return decode(start)
    sieve = _Sieve(_words(start))
    sieve.feed(start + file.readline(LONGEST))
    while chunk := file.read(_CHUNK):
        sieve.feed(chunk + file.readline(LONGEST))
    return "\n".join(map(decode, sieve.kept()))


def _words(start: bytes) -> tuple[bytes, ...]:
    return _WORDS + _SWITCHES if _CONFIG in start else _WORDS


def sift(text: str) -> str:
    """Return the parts of a long text to read closely; see `take`."""
    if len(text) <= WHOLE:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    sieve = _Sieve(_words(raw[:WHOLE]))
    sieve.feed(raw)
    return "\n".join(map(decode, sieve.kept()))


def decode(raw: bytes) -> str:
    """Decode bytes as UTF-8, or else as Latin-1, which can decode any byte."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class _Sieve:
    """Keeps relevant lines, each kind once, the first and the last of them."""

    def __init__(self, words: tuple[bytes, ...]) -> None:
        self._words = words
        self._seen: set[bytes] = set()
        self._first: list[bytes] = []
        self._last: deque[bytes] = deque(maxlen=_KEPT)
        self._waiting = 0

    def kept(self) -> list[bytes]:
        """Return all lines that were kept."""
        return [*self._first, *self._last]

    def feed(self, block: bytes) -> None:
        """Search whole lines."""
        reached = 0
        if self._waiting:
            reached = self._take(block, 0, self._waiting)
        for start in sorted(self._hits(block)):
            if start >= reached:
                begin = start
                for _ in range(_BEFORE):
                    if begin <= reached:
                        break
                    begin = block.rfind(b"\n", 0, begin - 1) + 1
                reached = self._take(block, max(begin, reached), _BEFORE + 1 + _AFTER)
            elif block.count(b"\n", start, reached) < _AFTER:
                reached = self._take(block, reached, _AFTER)

    def _hits(self, block: bytes) -> set[int]:
        """Return the starts of lines with one of the words; each kind of line counts once."""
        starts: set[int] = set()
        for word in self._words:
            place = block.find(word)
            while place >= 0:
                start = block.rfind(b"\n", 0, place) + 1
                starts.add(start)
                end = block.find(b"\n", place)
                place = block.find(word, end) if end >= 0 else -1
        return starts

    def _take(self, block: bytes, start: int, count: int) -> int:
        """Keep `count` lines from `start` on; return where they end."""
        self._waiting = 0
        for done in range(count):
            if start >= len(block):
                self._waiting = count - done
                break
            end = block.find(b"\n", start)
            end = len(block) if end < 0 else end
            self._keep(block[start : min(end, start + LONGEST)])
            start = end + 1
        return start

    def _keep(self, line: bytes) -> None:
        kind = _NUMBERS.sub(b"#", line[:400])
        if kind in self._seen or not line.strip():
            return
        if len(self._seen) < _KEPT * 16:
            self._seen.add(kind)
        if len(self._first) < _KEPT:
            self._first.append(line)
        else:
            self._last.append(line)

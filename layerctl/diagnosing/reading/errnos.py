"""Which errnos are in a text: by name, by number, or by words in any language."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.diagnosing.reading.text import folded

#: Phrases of other C libraries and runtimes (musl, Go, older glibc), and of mount programs other
#: than util-linux.
_MORE = {
    "EBUSY": ("resource busy", "is busy", "mount point busy"),
    "ELOOP": ("symbolic link loop",),
    "EXDEV": ("cross-device link", "cross-device link not permitted"),
    "EIO": ("i/o error",),
    "ENOMEM": ("out of memory",),
    "ESTALE": ("stale nfs file handle",),
    "ENODEV": (
        "unknown filesystem type",
        "unknown file system type",
        "unsupported filesystem type",
    ),
    "EINVAL": ("wrong fs type", "bad superblock"),
    "ENOENT": ("special device", "no such file"),
    "EPERM": (
        "operation not allowed",
        "only root can do that",
        "only root can mount",
        "must be superuser",
    ),
    "EOPNOTSUPP": ("not supported by filesystem", "operation not supported"),
    "ENOSPC": ("disk full",),
    "ENAMETOOLONG": ("filename too long",),
    "ENOTEMPTY": ("directory not empty",),
    "ECONNABORTED": ("software caused connection abort",),
    "EOVERFLOW": ("value too large for defined data type",),
    "EMLINK": ("too many links",),
    "ENODATA": ("no data available",),
    "E2BIG": ("argument list too long",),
}

_NAMED = Lazy(r"\bE[A-Z0-9]{2,14}\b")
_NUMBERED = Lazy(
    r"(?:\berrno|\berr|\berror|\bos error|\bcode|\brc|\breturned|\bstatus|failed:?)"
    r"\s*[:=(]?\s*-?(\d{1,3})\b",
    re.IGNORECASE,
)
_ALIASES = {"EWOULDBLOCK": "EAGAIN", "ENOTSUP": "EOPNOTSUPP"}


class Errno(NamedTuple):
    """An errno in a text: its name, the phrase for it, and the cause that the phrase names."""

    name: str
    words: str
    cause: str = ""


def _phrases_file() -> str:
    return os.path.join(os.path.dirname(__file__), "phrases.tsv")


@functools.cache
def phrases() -> dict[str, tuple[str, str]]:
    """Return phrases with the name of the errno and the cause that they name (empty for most)."""
    found = {words: (name, "") for name, several in _MORE.items() for words in several}
    with open(_phrases_file(), encoding="utf-8") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if len(fields) == 3 and not line.startswith("#"):
                found[fields[1]] = (fields[0], fields[2])
    return found


@functools.cache
def _by_beginning(*, ascii_only: bool) -> dict[str, list[str]]:
    """Return the phrases by their beginnings, longest first: a first word, or two characters.

    Chinese and Japanese do not separate words, so their phrases can begin anywhere.
    """
    found: dict[str, list[str]] = {}
    for words in sorted(phrases(), key=len, reverse=True):
        if ascii_only and not words.isascii():
            continue
        first = (_ASCII_FIRST if ascii_only else _FIRST).match(words)
        begin = first[0] if first is not None and ord(words[0]) < _WIDE else words[:2]
        found.setdefault(begin, []).append(words)
    return found


#: From here on: scripts without spaces between words.
_WIDE = 0x2E80
_FIRST = Lazy(r"[^\W\u2e80-\uffff]+")
_ASCII_FIRST = Lazy(r"[a-z0-9_]+")
_WIDE_PAIR = Lazy(r"(?=([\u2e80-\uffff][\w\u2e80-\uffff]))")


def _phrases_in(small: str) -> Iterator[tuple[int, str]]:
    """Yield each phrase of a folded text with its position; the longest if several begin there."""
    index = _by_beginning(ascii_only=small.isascii())
    places: Iterator[tuple[int, str]]
    first = _ASCII_FIRST if small.isascii() else _FIRST
    places = ((match.start(), match[0]) for match in first.finditer(small))
    if not small.isascii():
        wide = ((match.start(), match[1]) for match in _WIDE_PAIR.finditer(small))
        places = itertools.chain(places, wide)
    for start, begin in places:
        for words in index.get(begin, ()):
            end = start + len(words)
            if small.startswith(words, start) and not _goes_on(small, words, end):
                yield start, words
                break


def _goes_on(small: str, words: str, end: int) -> bool:
    """Tell whether a phrase is only the beginning of a longer word."""
    last = words[-1]
    return last.isalnum() and ord(last) < _WIDE and small[end : end + 1].isalnum()


def find(text: str) -> list[Errno]:
    """Return every errno in a text, in order, once per cause that it names."""
    found: list[tuple[int, Errno]] = []
    small = folded(text)
    for start, words in _phrases_in(small):
        name, cause = phrases()[words]
        found.append((start, Errno(name, words, cause)))
    for match in _NAMED.finditer(text):
        name = _ALIASES.get(match[0], match[0])
        if hasattr(errno, name):
            found.append((match.start(), Errno(name, match[0])))
    for match in _NUMBERED.finditer(text):
        known = errno.errorcode.get(int(match[1]))
        if known is not None and _is_errno(match[0], int(match[1])):
            found.append((match.start(), Errno(_ALIASES.get(known, known), match[0])))
    once: dict[tuple[str, str], Errno] = {}
    for _, one in sorted(found, key=lambda item: item[0]):
        once.setdefault((one.name, one.cause), one)
    return list(once.values())


def _is_errno(words: str, number: int) -> bool:
    """Distinguish an errno from an exit status: 1, 2 and 32 can be either."""
    if re.match(r"(?i)code|rc|returned|status|failed", words):
        return number not in (1, 2, 4, 5, 8, 9, 12, 13, 16, 32) and "-" in words
    return True

"""Which errno a text tells of: by name, by number, or by words in any language."""

from __future__ import annotations

import errno
import functools
import os
import re
from dataclasses import dataclass

from layerctl.doctor.reading.text import folded

#: Words of other C libraries and runtimes than the table's (musl, Go, older glibc), and of mount
#: programs that are not util-linux.
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
    "EPERM": ("only root can do that", "only root can mount", "must be superuser"),
    "EOPNOTSUPP": ("not supported by filesystem", "operation not supported"),
    "ENOSPC": ("disk full",),
    "ENAMETOOLONG": ("filename too long",),
    "E2BIG": ("argument list too long",),
}

_NAMED = re.compile(r"\bE[A-Z0-9]{2,14}\b")
_NUMBERED = re.compile(
    r"(?:\berrno|\berr|\berror|\bos error|\bcode|\brc|\breturned|\bstatus|failed:?)"
    r"\s*[:=(]?\s*-?(\d{1,3})\b",
    re.IGNORECASE,
)
_ALIASES = {"EWOULDBLOCK": "EAGAIN", "ENOTSUP": "EOPNOTSUPP"}


@dataclass(frozen=True, slots=True)
class Told:
    """An errno that a text tells: its name, the words that tell it, and the cause they name."""

    name: str
    words: str
    cause: str = ""


def _phrases_file() -> str:
    return os.path.join(os.path.dirname(__file__), "phrases.tsv")


@functools.cache
def phrases() -> dict[str, tuple[str, str]]:
    """Return words with the errno's name and the cause that they tell (empty for most)."""
    found = {words: (name, "") for name, several in _MORE.items() for words in several}
    with open(_phrases_file(), encoding="utf-8") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if len(fields) == 3 and not line.startswith("#"):
                found[fields[1]] = (fields[0], fields[2])
    return found


@functools.cache
def _finder() -> re.Pattern[str]:
    """Return one expression for all phrases; the longest wins where several begin together."""
    return re.compile("|".join(map(_bounded, sorted(phrases(), key=len, reverse=True))))


def _bounded(words: str) -> str:
    """Return a phrase that is no part of a longer word, in scripts that part words."""
    escaped = re.escape(words)
    before = r"(?<!\w)" if words[0].isalnum() and ord(words[0]) < 0x2E80 else ""
    after = r"(?!\w)" if words[-1].isalnum() and ord(words[-1]) < 0x2E80 else ""
    return before + escaped + after


def find(text: str) -> list[Told]:
    """Return every errno that a text tells, in its order, each once for each cause it names."""
    found: list[tuple[int, Told]] = []
    small = folded(text)
    for match in _finder().finditer(small):
        name, cause = phrases()[match[0]]
        found.append((match.start(), Told(name, match[0], cause)))
    for match in _NAMED.finditer(text):
        name = _ALIASES.get(match[0], match[0])
        if hasattr(errno, name):
            found.append((match.start(), Told(name, match[0])))
    for match in _NUMBERED.finditer(text):
        known = errno.errorcode.get(int(match[1]))
        if known is not None and _is_errno(match[0], int(match[1])):
            found.append((match.start(), Told(_ALIASES.get(known, known), match[0])))
    told: dict[tuple[str, str], Told] = {}
    for _, one in sorted(found, key=lambda item: item[0]):
        told.setdefault((one.name, one.cause), one)
    return list(told.values())


def _is_errno(words: str, number: int) -> bool:
    """Tell an errno from an exit status: 1, 2 and 32 mean something else where a program ended."""
    if re.match(r"(?i)code|rc|returned|status|failed", words):
        return number not in (1, 2, 4, 5, 8, 9, 12, 13, 16, 32) and "-" in words
    return True

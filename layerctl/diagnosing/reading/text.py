"""A pasted text as lines that can be searched: no colours, plain quotes, wrapped lines joined."""

from __future__ import annotations

import re
from typing import NamedTuple

from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.rules.releases import Release, release

_COLOUR = Lazy(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b\x0c\x0e-\x1f]")
_QUOTES = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u00b4", "'") | dict.fromkeys("\u201c\u201d\u201e", '"')
)
#: No line is read further: the longest option strings have two pages.
LONGEST = 16 << 10
#: JSON and Go escape quotes and newlines in strings.
_ESCAPED = Lazy(r'\\+(["\'])')
_ESCAPED_LINE = Lazy(r"\\n(?=[\s\[\"']|$)")

#: The prefix of messages of overlayfs and aufs; aufs adds the place and the process.
_NAME = Lazy(r"(?<![\w./-])(overlayfs|overlay|aufs)(\s+\w+:\d+:[^\[\]]*\[\d+\])?\s*:\s")
#: What can precede it in a log: a level, a time, a host, the names of syslog and journald.
_LOG = Lazy(
    r"^(?:<\d+>|\W|\d{4}-\d\d-\d\dT\S+|[A-Z][a-z]{2}\s+\d+ [\d:.]+)*\s*"
    r"(?:\[\s*[+<]?\s*[\d.]+\s*>?\]|\[[A-Z][a-z]{2} [A-Z][a-z]{2}\s+\d+ [\d:]+ \d{4}\]|"
    r"\S+\s+kernel:|kernel:)"
)


class Line(NamedTuple):
    """One line; `kernel` marks one written by the kernel.

    `body` is the text after the name of a filesystem, `fs` its type; also if a program repeats a
    kernel message. `own` means that the message begins with the name.
    """

    text: str
    kernel: bool = False
    body: str = ""
    fs: str | None = None
    own: bool = False


def plain(text: str) -> str:
    """Return a text without colours and control characters, its quotes straight."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_QUOTES)
    text = _COLOUR.sub("", text)
    text = _ESCAPED.sub(r"\1", text)
    text = _ESCAPED_LINE.sub("\n", text)
    return "\n".join(line[:LONGEST] for line in text.split("\n"))


def lines(text: str) -> list[Line]:
    """Return the lines of a plain text that are not empty."""
    return [_line(raw.strip()) for raw in text.split("\n") if raw.strip()]


#: The time of the kernel, after the prefix of syslog.
_STAMP = Lazy(r"\[\s*[\d.]+\]")


def _line(text: str) -> Line:
    logged = _LOG.search(text)
    found = _NAME.search(text)
    if found is None:
        return Line(text, logged is not None)
    fs = "aufs" if found[1] == "aufs" else "overlay"
    starts = found.start() == 0 or not text[: found.start()].strip(" \"'`>*-")
    before = text[logged.end() if logged is not None else 0 : found.start()]
    own = starts or bool(found[2]) or not _STAMP.sub("", before).strip(" :")
    return Line(text, logged is not None or starts or bool(found[2]), text[found.end() :], fs, own)


def folded(text: str) -> str:
    """Return a text in lower case with single spaces, as in the table of phrases."""
    for quote in '"`\u00ab\u00bb':
        text = text.replace(quote, "'")
    return re.sub(r"\s+", " ", text.lower())


_VERSION = Lazy(
    r"(?:linux(?: version)?|kernel(?: version)?|uname -\w+|vmlinuz-?|/lib/modules/)"
    r"[\s:=/v-]{0,4}(?:linux \S+ )?([2-9]\.\d{1,2})(?:\.\d+)?[\w.+~-]*",
    re.IGNORECASE,
)


def kernel_version(text: str) -> Release | None:
    """Return the kernel version that a text names, or None."""
    found = _VERSION.search(text)
    return None if found is None else release(found[1])

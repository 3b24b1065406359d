"""Every message that overlayfs and aufs can log: what it means and what it points to. Pure.

The tables hold the kernel's format strings; patterns are made from those, never from samples.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.diagnosing.messages.row import Kind, Message

__all__ = ["Kind", "Match", "Message", "messages", "pattern_of", "search"]

#: A conversion of printk (Documentation/core-api/printk-formats.rst) and of the context log.
_CONVERSION = re.compile(
    r"%(?:\.\*)?(?:\*)?[-+ #0]*(pd2|pD2|pd|pD|ps|phN|lld|llu|llx|lu|ld|zd|zu|[diuxosc])"
)
_NUMBER = r"-?(?:0x)?[0-9a-fA-F]+"
_QUOTES = "'\"`\u2018\u2019\u201c\u201d"


class Match(NamedTuple):
    """A message found in a line: its row, the values of its conversions, its position."""

    message: Message
    format: str
    values: tuple[str, ...]
    start: int
    end: int

    @property
    def literal(self) -> int:
        """How many characters of the format are not conversions."""
        return len(_CONVERSION.sub("", self.format))


def pattern_of(text: str) -> str:
    """Return the regular expression of a format string, one group for each conversion."""
    parts = []
    position = 0
    for conversion in _CONVERSION.finditer(text):
        parts.append(_literal(text[position : conversion.start()], closing=position > 0))
        letter = conversion[1]
        numeric = letter[0] in "diuxol" or letter in ("zd", "zu")
        if numeric:
            parts.append(f"({_NUMBER})")
        else:
            parts.append("(.*?)" if conversion.end() < len(text) else r"(\S.*|)")
        position = conversion.end()
    parts.append(_literal(text[position:], closing=position > 0))
    return "".join(parts)


def _literal(text: str, *, closing: bool) -> str:
    """Escape text; quotes match any quote, a final full stop is optional, spaces match any number.

    An opening quote is optional; a `closing` one, right after a value, only at the end of a line.
    """
    out = []
    text = text.removesuffix(".")
    for index, char in enumerate(text):
        if char in _QUOTES:
            must = closing and index == 0
            out.append(rf"\\?(?:[{_QUOTES}]|$)" if must else rf"\\?[{_QUOTES}]?")
        elif char == " ":
            out.append(r"\s+")
        else:
            out.append(re.escape(char))
    return "".join(out)


def messages() -> tuple[Message, ...]:
    """Return the whole table."""
    from layerctl.diagnosing.messages import aufs, generic, overlay  # they import this module

    return (*overlay.MESSAGES, *generic.MESSAGES, *aufs.MESSAGES)


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    """Return a format's pattern, made when a line has its anchor: there are hundreds."""
    return re.compile(pattern_of(text))


@functools.cache
def _formats() -> tuple[tuple[Message, str, str, tuple[str, ...]], ...]:
    rows = [
        (message, text, _anchor(text), _words(text))
        for message in messages()
        for text in message.formats
        if text
    ]
    # the most literal text first: 'failed to verify upper root origin' before 'failed to verify %s'
    rows.sort(key=lambda row: -len(_CONVERSION.sub("", row[1])))
    return tuple(rows)


def _words(text: str) -> tuple[str, ...]:
    """Return the runs of words of a format, in their order."""
    runs = re.findall(r"[\w+ -]+", _CONVERSION.sub("\n", text))
    return tuple(run.strip() for run in runs if run.strip())


def _in_order(words: tuple[str, ...], line: str) -> bool:
    """Tell whether a line has all runs in order: only then is the pattern tried.

    A pattern with several values is slow to fail on a long line.
    """
    place = 0
    for word in words:
        place = line.find(word, place)
        if place < 0:
            return False
        place += len(word)
    return True


def _anchor(text: str) -> str:
    """Return the longest word of a format, without which a line is not examined."""
    literal = _CONVERSION.sub(" ", text)
    words = re.findall(r"[\w+-]+", literal)
    return max(words, key=len, default="")


def search(line: str, fs: str | None = None, *, short: bool = False) -> Iterator[Match]:
    """Yield the messages in a line, each place of the line once.

    `fs` limits it to one type. With `short`, formats that are too short to be recognised in any
    line count too, if they match from the start of the line.
    """
    taken: list[tuple[int, int]] = []
    plain = " ".join(line.split())
    for message, text, anchor, words in _formats():
        if anchor not in line or (fs is not None and message.fs not in (fs, "any")):
            continue
        if (not message.bare and not short) or not _in_order(words, plain):
            continue
        pattern = _pattern(text)
        places = pattern.finditer(line) if message.bare else filter(None, [pattern.match(line)])
        for found in places:
            start, end = found.span()
            if start == end or any(start < e and s < end for s, e in taken):
                continue
            taken.append((start, end))
            values = tuple(value.strip(_QUOTES + "\\ .") for value in found.groups())
            yield Match(message, text, values, start, end)

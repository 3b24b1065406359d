"""Regular expressions that are compiled on first use, since most texts need only a few."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property


class Lazy:
    """An expression that is compiled on first use."""

    def __init__(self, words: str, flags: int = 0) -> None:
        self._words = words
        self._flags = flags

    @cached_property
    def made(self) -> re.Pattern[str]:
        """The expression itself."""
        return re.compile(self._words, self._flags)

    def search(self, text: str, start: int = 0, end: int = 1 << 40) -> re.Match[str] | None:
        """Return the first match."""
        return self.made.search(text, start, end)

    def match(self, text: str) -> re.Match[str] | None:
        """Return a match at the beginning."""
        return self.made.match(text)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """Return a match of the whole text."""
        return self.made.fullmatch(text)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Yield all matches."""
        return self.made.finditer(text)

    def sub(self, new: str | Callable[[re.Match[str]], str], text: str) -> str:
        """Return a text with its matches replaced."""
        return self.made.sub(new, text)

"""Progress of a long walk, on one line of standard error; only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Seconds before the first line, and between two of them.
_FIRST, _NEXT = 1.0, 0.2


def watched(items: Iterable[T], weigh: Callable[[T], int], *, shown_as_found: bool) -> Iterable[T]:
    """Return `items`, counting them on standard error as they pass.

    Nothing is shown if standard error is not a terminal, or if the items themselves appear on a
    terminal at once (`shown_as_found`). `weigh` returns how many things an item counts for.
    """
    if not sys.stderr.isatty() or (shown_as_found and sys.stdout.isatty()):
        return items
    return _count(items, weigh)


def lines_of(batch: list[str]) -> int:
    """Return how many lines of JSON a batch holds."""
    return sum(text.count("\n") + 1 for text in batch)


def _count(items: Iterable[T], weigh: Callable[[T], int]) -> Iterator[T]:
    total = 0
    shown = False
    due = time.monotonic() + _FIRST
    try:
        for item in items:
            total += weigh(item)
            now = time.monotonic()
            if now >= due:
                due, shown = now + _NEXT, True
                sys.stderr.write(f"\rlayerctl: {total:,} so far \033[K")
                sys.stderr.flush()
            yield item
    finally:
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

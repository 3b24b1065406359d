"""Long names made short for a table on a terminal: hashes, paths, the steps of images."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HASH = r"\b([0-9a-f]{12})[0-9a-f]{20,}(?![0-9a-z])"
#: What builders write around the command of a step: before what runs nothing, before what a shell
#: runs (with the arguments of the build), and behind what BuildKit made.
_NOTHING = r"^(?:RUN )?(?:\|\d+ .*? )?/bin/sh -c #\(nop\)\s+"
_SHELL = r"^(?:RUN )?(?:\|\d+ .*? )?/bin/sh -c "
_BEHIND = r"\s+# buildkit$"
#: No name is cut to fewer characters.
SHORTEST = 12
#: The blanks between two columns of a table.
GAP = 3


def short_hashes(text: str, mark: str) -> str:
    """Return a text with 12 digits of each long hash; `mark` stands for the rest."""
    return re.sub(_HASH, rf"\1{mark}", text)


def plain_step(step: str) -> str:
    """Return the command of an image's step as it was in its Dockerfile, on one line."""
    plain = re.sub(_BEHIND, "", re.sub(_NOTHING, "", step))
    return " ".join(re.sub(_SHELL, "RUN ", plain).split())


def cut(text: str, width: int, side: str, mark: str) -> str:
    """Return a text no longer than `width`, cut at its `left` or `right` side."""
    if len(text) <= width:
        return text
    kept = max(0, width - len(mark))
    return mark + text[len(text) - kept :] if side == "left" else text[:kept] + mark


def fitting(widths: Sequence[int], elides: Sequence[bool], room: int) -> int | None:
    """Return how wide the columns that can be cut may be, None if a table has no room even so.

    `widths` are those that the columns need for all of their text.
    """

    def total(limit: int) -> int:
        cut = (
            min(width, limit) if can else width for width, can in zip(widths, elides, strict=True)
        )
        return sum(cut) + GAP * (len(widths) - 1)

    limit = max(widths, default=0)
    while total(limit) > room:
        limit -= 1
        if limit < SHORTEST:
            return None
    return limit

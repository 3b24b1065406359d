"""The terminal face: a rich console that adds nothing to what it is given."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

#: Wide enough that nothing is folded where output goes to a file or a pipe.
_PIPE_WIDTH = 10_000


def wants_colour(color: str = "auto") -> bool:
    """Tell whether standard output is to be coloured: where it is a terminal, or was asked for."""
    if color == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return color == "always"


def console(color: str = "auto") -> Console:
    """Return a console on standard output; not on a terminal, nothing is cut or folded.

    `color` is auto (on a terminal, unless NO_COLOR is set), always or never.
    """
    from rich.console import Console

    colors: dict[str, Literal["standard"] | None] = {"always": "standard", "never": None}
    return Console(
        markup=False,
        emoji=False,
        highlight=False,
        width=None if sys.stdout.isatty() else _PIPE_WIDTH,
        force_terminal=True if color == "always" else None,
        no_color=False if color == "always" else None,
        color_system=colors.get(color, "auto"),
    )


def wrapped(text: str) -> list[str]:
    """Return a paragraph as one entry of lines of at most 92 columns, the later ones indented."""
    import textwrap

    paragraph = textwrap.wrap(text, 84, break_long_words=False, break_on_hyphens=False)
    return ["\n        ".join(paragraph)] if paragraph else []


def size_of(number: int) -> str:
    """Return a number of bytes in the largest unit of which there is at least one: 80.0 MiB."""
    if number < 1024:
        return f"{number} B"
    size, units = float(number), iter("KMGTPE")
    unit = ""
    while size >= 1023.95:  # what would be written as 1024.0
        size, unit = size / 1024, next(units)
    return f"{size:.1f} {unit}iB"

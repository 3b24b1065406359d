"""The terminal face: a rich console that adds nothing to what it is given."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: Wide enough that nothing is folded where output goes to a file or a pipe.
_PIPE_WIDTH = 10_000


def console(color: str = "auto") -> Console:
    """Return a console on standard output; not on a terminal, nothing is cut or folded.

    `color` is auto (on a terminal, unless NO_COLOR is set), always or never.
    """
    from rich.console import Console

    return Console(
        markup=False,
        emoji=False,
        highlight=False,
        width=None if sys.stdout.isatty() else _PIPE_WIDTH,
        force_terminal=True if color == "always" else None,
        no_color={"always": False, "never": True}.get(color),
        color_system="standard" if color == "always" else "auto",
    )

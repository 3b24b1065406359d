"""Output for people: a rich console that does not change the text that it is given."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

#: Wide enough not to wrap output to a file or a pipe.
_PIPE_WIDTH = 10_000


#: The colours of layers: readable on black and white in any default palette, so no blue.
_HUES = (32, 36, 33, 35, 31, 92, 96, 93, 95, 91)
#: After the last colour they repeat underlined, then inverse, then both.
_STYLES = ("", "4;", "7;", "4;7;")

#: The colour of each kind of change and of each state of a layer.
WORDS = {
    "added": "32", "modified": "33", "metadata": "36", "deleted": "31", "replaced": "35",
    "renamed": "95", "unchanged": "2", "provides": "32;1", "merged": "36", "hidden": "33",
    "whiteout": "31", "absent": "2",
}  # fmt: skip


class Signs(NamedTuple):
    """Graphic characters: of trees, rules of tables, marks of findings and of what is cut."""

    branch: str
    last: str
    trunk: str
    rule: str
    good: str
    bad: str
    neither: str
    cut: str

    @property
    def marks(self) -> dict[bool | None, str]:
        """The marks for good, bad and neither."""
        return {True: self.good, False: self.bad, None: self.neither}


_DRAWN = Signs("├── ", "└── ", "│   ", "─", "✓", "✗", "·", "…")
_ASCII = Signs("|-- ", "`-- ", "|   ", "-", "+", "x", "-", "..")


def signs() -> Signs:
    """Return the characters for this locale: only ASCII under C, which Python treats as UTF-8."""
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((name for name in names if name), "")
    if locale == "C.UTF-8" and sys.flags.utf8_mode and not os.environ.get("LC_ALL"):
        locale = os.environ.get("LANG") or locale  # Python has set LC_CTYPE itself (PEP 538)
    is_ascii = locale in ("C", "POSIX") or not sys.stdout.encoding.lower().startswith("utf")
    return _ASCII if is_ascii else _DRAWN


def layer_code(layer: int) -> str:
    """Return the escape code of a layer's colour; the first forty differ."""
    style = _STYLES[layer // len(_HUES) % len(_STYLES)]
    return f"{style}{_HUES[layer % len(_HUES)]}"


def paint(text: str, code: str, *, colour: bool) -> str:
    """Return the text in the colour of an escape code, if colour is wanted."""
    return f"\033[{code}m{text}\033[0m" if colour else text


def wants_colour(color: str = "auto") -> bool:
    """Tell whether to colour standard output: if it is a terminal, or if requested."""
    if color == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return color == "always"


def coloured_help(text: str) -> str:
    """Return a help text, with bold headings and coloured options if colour is wanted."""
    if not wants_colour():
        return text
    text = re.sub(r"(?m)^(\w+:)", "\033[1m\\1\033[0m", text)
    return re.sub(r"(?m)^  (-.*?)(?=  |$)", "  \033[36m\\1\033[0m", text)


def console(color: str = "auto") -> Console:
    """Return a console on standard output; if that is not a terminal, text is not cut or wrapped.

    `color` is auto (on a terminal, unless NO_COLOR is set), always or never.
    """
    from rich.console import Console  # slow to import, and scripts need none

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
    """Return a paragraph wrapped to 92 columns, with a hanging indent."""
    import textwrap  # lists need none

    paragraph = textwrap.wrap(text, 84, break_long_words=False, break_on_hyphens=False)
    return ["\n        ".join(paragraph)] if paragraph else []

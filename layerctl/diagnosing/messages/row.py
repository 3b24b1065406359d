"""One row of the table of kernel messages."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The severity of a message: something failed, will cause trouble, or needs no action."""

    FAILURE = "failure"
    WARNING = "warning"
    NOISE = "noise"


class Message(NamedTuple):
    """A message: its format strings, what it means, and what it points to.

    `causes` are the catalogue's, most likely first. `bare` is False for formats that are too short
    to be recognised in other text.
    """

    fs: str
    kind: Kind
    causes: tuple[str, ...]
    meaning: str
    formats: tuple[str, ...]
    bare: bool = True


def rows(fs: str, *entries: tuple[Kind, str, str, tuple[str, ...]]) -> tuple[Message, ...]:
    """Return rows from (kind, causes separated by spaces, meaning, formats)."""
    return tuple(
        Message(fs, kind, tuple(causes.split()), meaning, formats)
        for kind, causes, meaning, formats in entries
    )

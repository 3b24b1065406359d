"""Numbers with their nouns, the one place that knows plurals. Pure."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 process`, `2 processes`, `0 directories`."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"

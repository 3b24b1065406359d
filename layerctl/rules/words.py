"""Numbers with nouns, plurals, and text for enums. Pure."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 process`, `2 processes`, `0 directories`."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def with_article(noun: str) -> str:
    """Return a noun with its article: `an ext4`, `a tmpfs`, `an xfs`."""
    vowels = ("a", "e", "i", "o", "f2", "hf", "mq", "nf", "nt", "xf")
    return f"{'an' if noun.startswith(vowels) else 'a'} {noun}"


def plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def shell(*words: str) -> str:
    """Return a command to paste into a shell, its words quoted where they need it."""
    import shlex  # which errors alone need

    return shlex.join(words)


def size_of(number: int) -> str:
    """Return a number of bytes in the largest unit that gives at least 1, as ls -h: 12.4M."""
    size, units = float(number), iter("KMGTPE")
    unit = "B"
    while abs(size) >= (1023.95 if unit != "B" else 1024):  # would be written as 1024.0
        size, unit = size / 1024, next(units)
    return f"{size:.1f}".removesuffix(".0") + unit

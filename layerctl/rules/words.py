"""Numbers with their nouns, the one place that knows plurals; words for what enums name. Pure."""

from __future__ import annotations

from layerctl.model import Aliasing

_ALIASING = {
    Aliasing.FIRST: "'{other}' was copied from the same file: whichever of the two is looked up "
    "first is shown",
    Aliasing.STALE: "'{other}' was copied from the same file: once that is looked up, a lookup "
    "here ends in ESTALE",
    Aliasing.SHARED: "'{other}' was copied from this file: once that is looked up, it is shown "
    "here too",
    Aliasing.INDEXED: "it was changed by another of its names, and the index has the changed file",
    Aliasing.BAD_INDEX: "the index has something else in its place: a lookup ends in EIO",
    Aliasing.ABSENT: "the mount remembers, from before its layers were changed beneath it, that "
    "there is no such name",
    Aliasing.PSEUDO_LINK: "it was changed by another of its names, and the copy is shown until the "
    "mount ends (a pseudo-link)",
}


def aliasing(what: Aliasing, other: str) -> str:
    """Say what another path to the same file does to a path of an overlay."""
    return _ALIASING[what].format(other=other)


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

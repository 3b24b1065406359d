"""Numbers with nouns, plurals, and text for enums. Pure."""

from __future__ import annotations

from layerctl.model import Aliasing

_ALIASING = {
    Aliasing.FIRST: "'{other}' was copied from the same file: the one that is looked up first is "
    "shown",
    Aliasing.STALE: "'{other}' was copied from the same file: after a lookup of that, a lookup "
    "here fails with ESTALE",
    Aliasing.SHARED: "'{other}' was copied from this file: after a lookup of that, this shows it "
    "as well",
    Aliasing.INDEXED: "it was changed under another of its names, and the index has the changed "
    "file",
    Aliasing.BAD_INDEX: "the index has something else in its place, so a lookup fails with EIO",
    Aliasing.ABSENT: "the layers were changed while mounted, and the mount remembers that the name "
    "did not exist",
    Aliasing.PSEUDO_LINK: "it was changed under another of its names, and the copy is shown until "
    "unmounted (a pseudo-link)",
}


def aliasing(what: Aliasing, other: str) -> str:
    """Return how another path to the same file affects a path of an overlay."""
    return _ALIASING[what].format(other=other)


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

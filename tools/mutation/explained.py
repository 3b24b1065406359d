"""The mutants that no test can notice, or need, each with its reason: explained.txt.

One stands on three lines: the module with a colon and the line of source that is changed, what is
done to it as it is printed, and why it does not matter. Blank lines and `#` are for people.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tools.mutation.mutants import Mutant

_FILE = Path(__file__).with_name("explained.txt")


class Key(NamedTuple):
    """What a mutant is known by: no numbers of lines, which change."""

    place: str
    what: str


def key(file: str, mutant: Mutant) -> Key:
    """Return what a mutant of the module `file` is known by."""
    return Key(f"{file}: {' '.join(mutant.text.split())}", " ".join(mutant.what.split()))


def read() -> dict[Key, str]:
    """Return the reason of each mutant that is explained."""
    lines = [line.strip() for line in _FILE.read_text(encoding="utf-8").splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    return {
        Key(place, what): why
        for place, what, why in zip(kept[::3], kept[1::3], kept[2::3], strict=True)
    }

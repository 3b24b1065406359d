"""The mutants that no test can or need notice, with the reasons: explained.txt.

Each takes three lines: the module, a colon and the changed line of source; the change as it is
printed; and why it does not matter. Blank lines and `#` are ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tools.mutation.mutants import Mutant

_FILE = Path(__file__).with_name("explained.txt")


class Key(NamedTuple):
    """Identifies a mutant, without line numbers, which change."""

    place: str
    what: str


def key(file: str, mutant: Mutant) -> Key:
    """Return the key of a mutant of the module `file`."""
    return Key(f"{file}: {' '.join(mutant.text.split())}", " ".join(mutant.what.split()))


def read() -> dict[Key, str]:
    """Return the reasons, by mutant."""
    lines = [line.strip() for line in _FILE.read_text(encoding="utf-8").splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    return {
        Key(place, what): why
        for place, what, why in zip(kept[::3], kept[1::3], kept[2::3], strict=True)
    }

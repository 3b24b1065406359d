"""What is remembered of a run: its layers, over which directories, and since when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from layerctl.errors import RefusedError

#: The file of a kept run that holds its record.
NAME = "run.json"
_VERSION = 1


class Place(NamedTuple):
    """One layer: over which directory, which that was, and how the layer's root looked at first.

    `identity` are the device and inode of the directory, `source` what was mounted there.
    """

    number: int
    target: str
    identity: tuple[int, int]
    fstype: str
    source: str
    look: str


class Record(NamedTuple):
    """A run: when it began, in nanoseconds by the clock of file times, and its layers.

    `user` means that attributes of users hold overlay's markers. `applying` is when applying it
    began, 0 if it did not.
    """

    started: int
    user: bool
    places: tuple[Place, ...]
    command: tuple[str, ...]
    applying: int = 0

    @property
    def prefix(self) -> str:
        """The prefix of overlay's attributes."""
        return "user.overlay." if self.user else "trusted.overlay."

    @property
    def numbers(self) -> Mapping[str, int]:
        """The number of each layer by its target."""
        return {place.target: place.number for place in self.places}


def encode(record: Record) -> bytes:
    """Return a record as a file holds it; bytes of names survive."""
    document = record._asdict() | {"version": _VERSION}
    document["places"] = [place._asdict() for place in record.places]
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def decode(raw: bytes, path: str) -> Record:
    """Return the record in a file. Raises RefusedError for anything else."""
    try:
        document: dict[str, Any] = json.loads(raw)
        known = {_VERSION: document}[document.pop("version")]
        places = tuple(
            Place(**{**one, "identity": tuple(one["identity"])}) for one in known.pop("places")
        )
        return Record(**{**known, "places": places, "command": tuple(known["command"])})
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            "not-a-kept-run",
            f"{path} is not the record of a run: {error}",
            why="layerctl run --keep writes it, and nothing else should",
            hint="name the directory that was given to --keep",
        ) from None

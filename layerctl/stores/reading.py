"""What the readers of stores share: files of which any may be missing or damaged, and OCI's ids."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any

from layerctl.kernel.rooted import Rooted

#: No more of what could not be read is kept word for word.
_MOST_UNKNOWN = 20


class Reading:
    """Reads the files of one store; what cannot be read is recorded and treated as empty."""

    def __init__(self, root: Rooted, path: str) -> None:
        """`path` is the store's directory in `root`."""
        self.root = root
        self.path = path.rstrip("/")
        self.place = f"{root.path}{self.path}" or "/"
        self._unknown: dict[str, None] = {}
        self._more = 0
        #: Whether every record that names layers could be read.
        self.whole = True

    def lost(self, what: str) -> None:
        """Note what could not be read or does not fit together."""
        if len(self._unknown) < _MOST_UNKNOWN:
            self._unknown[what] = None
        elif what not in self._unknown:
            self._more += 1

    def unknown(self) -> tuple[str, ...]:
        """Return what was noted."""
        more = (f"{self._more} more could not be read",) if self._more else ()
        return (*self._unknown, *more)

    def _failed(self, path: str, error: OSError | ValueError, *, optional: bool = False) -> None:
        if optional and isinstance(error, OSError) and error.errno == errno.ENOENT:
            return
        reason = error.strerror if isinstance(error, OSError) else "it is not valid JSON"
        self.lost(f"{self.place}/{path}: {reason}")

    def names(self, path: str, *, optional: bool = False) -> list[str]:
        """Return the names in a directory of the store."""
        try:
            return self.root.names(f"{self.path}/{path}")
        except OSError as error:
            self._failed(path, error, optional=optional)
            return []

    def directories(self, path: str) -> dict[str, str]:
        """Return the directories in one of the store, by name, and where each lies here."""
        try:
            names = self.root.directories(f"{self.path}/{path}")
            place = self.root.real(f"{self.path}/{path}")
        except OSError as error:
            self._failed(path, error)
            return {}
        return {name: f"{place}/{name}" for name in names}

    def text(self, path: str, *, optional: bool = False) -> str:
        """Return a small file of the store, without white space around it."""
        try:
            return self.root.text(f"{self.path}/{path}")
        except OSError as error:
            self._failed(path, error, optional=optional)
            return ""

    def json(self, path: str, *, optional: bool = False) -> Any:
        """Return a JSON document of the store, None if it cannot be read."""
        try:
            return self.root.json(f"{self.path}/{path}")
        except (OSError, ValueError) as error:
            self._failed(path, error, optional=optional)
            return None

    def directory(self, path: str) -> str:
        """Return where a directory of the store is on this machine, empty if it is gone."""
        try:
            return self.root.real(f"{self.path}/{path}")
        except OSError as error:
            self._failed(path, error)
            return ""

    @staticmethod
    def mapping(value: Any) -> dict[str, Any]:
        """Return a JSON object, an empty one for anything else."""
        return value if isinstance(value, dict) else {}

    @staticmethod
    def objects(value: Any) -> list[dict[str, Any]]:
        """Return the objects in a JSON list."""
        listed = value if isinstance(value, list) else []
        return [one for one in listed if isinstance(one, dict)]


def strings(value: Any) -> list[str]:
    """Return the strings in a JSON list."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def short_name(name: str) -> str:
    """Return an image's name as people say it: without what the engine adds to any name.

    That is Docker's registry, and podman's word for what was made here.
    """
    for prefix in ("localhost/", "docker.io/library/", "docker.io/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def chain_ids(diffs: Iterable[str]) -> list[str]:
    """Return the chain ids of layers from their diff ids, lowest first (OCI image spec, config)."""
    chains: list[str] = []
    for diff in diffs:
        text = f"{chains[-1]} {diff}" if chains else diff
        chains.append(
            diff if not chains else "sha256:" + hashlib.sha256(os.fsencode(text)).hexdigest()
        )
    return chains


def steps_of(config: dict[str, Any], layers: int) -> tuple[str, ...]:
    """Return the command that made each of an image's layers, topmost first.

    `config` is the image's configuration; its history has steps that made no layer, too. Empty
    where history and layers do not fit together.
    """
    history = Reading.objects(config.get("history"))
    made = [one for one in history if one.get("empty_layer") is not True]
    if len(made) != layers:
        return ()
    return tuple(str(one.get("created_by") or one.get("comment") or "") for one in made)[::-1]


def step(steps: Sequence[str], index: int) -> str:
    """Return the step that made one layer, empty if it is not known."""
    return steps[index] if index < len(steps) else ""

"""Changes of the branches of an aufs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from layerctl.model import Layer


class BranchChange(NamedTuple):
    """A change of one branch: `word` is aufs's option (`add`, `append`, `prepend`, `del`, `mod`).

    Only `add` has a `position`, counted from the top.
    """

    word: str
    branch: Layer
    position: int | None = None

    def option(self, path: str) -> str:
        """Return the option, with `path` for the branch."""
        place = "" if self.position is None else f"{self.position}:"
        permission = "" if self.branch.permission is None else f"={self.branch.permission}"
        return f"{self.word}={place}{path}{permission}"


def changed(layers: Sequence[Layer], change: BranchChange) -> tuple[Layer, ...]:
    """Return the branches after a change, as aufs applies it.

    Raises IndexError for a position below the last, KeyError for a branch that does not exist.
    """
    place = change.position
    if change.word in ("del", "mod"):
        path = change.branch.path
        place = next((n for n, one in enumerate(layers) if same_path(one.path, path)), None)
        if place is None:
            raise KeyError(path)
        changed = layers[place]._replace(permission=change.branch.permission)
        return (*layers[:place], *([changed] if change.word == "mod" else []), *layers[place + 1 :])
    if change.word in ("append", "prepend"):
        place = len(layers) if change.word == "append" else 0
    if place is None or place > len(layers):
        raise IndexError(place)
    return (*layers[:place], change.branch, *layers[place:])


def same_path(one: str, other: str) -> bool:
    """Tell whether two paths differ only in `.`, `//` and a trailing slash."""
    return _parts(one) == _parts(other)


def _parts(path: str) -> tuple[bool, list[str]]:
    return path.startswith("/"), [part for part in path.split("/") if part not in ("", ".")]

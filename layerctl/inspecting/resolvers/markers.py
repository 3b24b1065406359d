"""Common parts of the markers of overlay and aufs: their description, and their readers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from layerctl.inspecting.resolvers.tree import Entry, MergedDir, Part, noun

#: Reasons why a marker has no effect; each filesystem decides for itself.
NOTHING_BELOW = "no lower layer has the name"
INSIDE_OPAQUE = "inside an opaque directory, where nothing from below is visible anyway"
MADE_NEW = "no lower layer has that directory: it is new"


class Whiteout(NamedTuple):
    """One marker: `path` is the name it hides, `marker` the file (or directory) that does it.

    `kind` is chardev, xattr, aufs or opaque; `hides` the layers of what it hides; `effective` is
    yes, lookup-only or no, and `reason` says why. `by` is the layer of what made it unnecessary,
    None if nothing did.
    """

    path: str
    marker: str
    layer: int
    kind: str
    hides: tuple[int, ...]
    effective: str
    reason: str
    by: int | None = None


#: What a whiteout hides: the letter of its type, and its layer.
Covered = tuple[str, int]


class Hidden(NamedTuple):
    """A directory of one layer that the merged tree does not show."""

    layer: int
    path: str
    cause: str
    by: int | None


class MarkerReader(Protocol):
    """Reads the markers of one kind of filesystem, directory by directory."""

    def read(self, directory: MergedDir) -> list[Entry]:
        """Read markers and what they may hide; return the directories, sorted."""

    def on_root(self, root: MergedDir) -> Iterable[Whiteout]:
        """Return the markers on the layers' own directories."""

    def inside(self, directory: MergedDir) -> list[Whiteout]:
        """Return the whiteouts in a directory that was read."""

    def directories(self, part: Part) -> Iterable[str]:
        """Return the names of a part's directories, except those that are markers."""

    def may_bear(self, directory: MergedDir) -> bool:
        """Tell whether a directory of one layer may have a marker itself."""

    def on_directory(
        self, directory: MergedDir, name: str, below: MergedDir | None
    ) -> Iterable[Whiteout]:
        """Return the opaque markers of `below`, the merged directory `name` of `directory`."""

    def moved(self, directory: MergedDir, name: str, below: MergedDir) -> Iterable[Part]:
        """Return the parts of the merged directory `name` that are elsewhere in their layers."""

    def hider(self, directory: MergedDir, name: str, layer: int) -> tuple[str, int] | None:
        """Return what excludes the directory `name` of `layer`, as text, and its layer."""

    def unseen(self, part: Part, reason: str, by: int | None) -> list[Whiteout]:
        """Read a directory that is not shown, and return the markers on and in it."""


class Places:
    """Describes where markers are, and what they hide."""

    def __init__(self, layers: tuple[str, ...]) -> None:
        self._layers = layers
        self._words: dict[tuple[Covered, ...], tuple[tuple[int, ...], str]] = {}

    def path(self, part: Part, *names: str) -> str:
        """Return the path of a directory of a layer, or of what is in it."""
        return "/".join(filter(None, (self._layers[part.layer], part.path, *names)))

    def words(self, hides: tuple[Covered, ...]) -> tuple[tuple[int, ...], str]:
        """Return the layers of what is hidden, and a description: `the file in layer 1` ..."""
        known = self._words.get(hides)
        if known is None:
            words = " and ".join(f"the {noun(letter)} in layer {layer}" for letter, layer in hides)
            known = self._words[hides] = tuple(layer for _, layer in hides), words
        return known


def directories_in(layers: Iterable[int]) -> str:
    """Return a description of the directories that an opaque one hides."""
    return " and ".join(f"the directory in layer {layer}" for layer in layers)


def only_directories(entries: Iterable[Entry]) -> list[Entry]:
    """Return the directories among sorted entries."""
    return [entry for entry in entries if entry[1].letter == "d"]

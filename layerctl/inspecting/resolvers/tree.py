"""What the resolvers of overlay and aufs find: entries, and the directories they are in."""

from __future__ import annotations

import os
from typing import NamedTuple

from layerctl.kernel import layers
from layerctl.rules.aliasing import Aliasing, aliasing

#: The published name of each letter of `layers.LETTERS`.
TYPES = {
    "d": "dir", "f": "file", "l": "symlink", "c": "char", "b": "block", "p": "fifo",
    "s": "socket", "w": "char",
}  # fmt: skip

_NOUNS = {
    "d": "directory", "f": "file", "l": "symbolic link", "c": "character device",
    "b": "block device", "p": "fifo", "s": "socket", "w": "character device",
}  # fmt: skip


def noun(letter: str) -> str:
    """Return the noun for this type of file."""
    return _NOUNS[letter]


class Alias(NamedTuple):
    """What another path to the same file does to a path.

    `other` is that path, an upper file's; for INDEXED it is the file's name in the index. `certain`
    means that the mount has shown which of the two it looked up first.
    """

    what: Aliasing
    other: str
    certain: bool = False

    @property
    def of_two(self) -> bool:
        """Whether there is another path, `other`."""
        return self.what in (Aliasing.FIRST, Aliasing.STALE, Aliasing.SHARED)

    @property
    def by_order(self) -> bool:
        """Whether it hangs on the order of lookups, which is not known."""
        return self.of_two and not self.certain

    @property
    def why(self) -> str:
        """What that means, as text."""
        return aliasing(self.what, self.other)


#: Known aliases: by directory, then by name.
Aliases = dict[str, dict[str, Alias]]


class EntryKind:
    """Everything about an entry except its name; one object for all entries with the same values.

    `letter` is its type, `layer` the index of the layer that provides it, `merged` the layers of a
    directory that has several. `reachable` is False for what a listing shows and a lookup denies,
    `uncertain` True if an attribute that cannot be read, or the order of lookups, could change the
    answer. `by_attribute` tells a whiteout by attribute from a device. `alias` is another path to
    the same file.
    """

    __slots__ = (
        "alias", "by_attribute", "layer", "letter", "merged", "reachable", "uncertain", "why",
    )  # fmt: skip

    def __init__(
        self,
        letter: str,
        layer: int,
        merged: tuple[int, ...] = (),
        *,
        reachable: bool = True,
        uncertain: bool = False,
        why: str = "",
        by_attribute: bool = False,
        alias: Alias | None = None,
    ) -> None:
        self.letter = letter
        self.layer = layer
        self.merged = merged
        self.reachable = reachable
        self.uncertain = uncertain
        self.why = why
        self.by_attribute = by_attribute
        self.alias = alias

    @property
    def type(self) -> str:
        """The published name of the type."""
        return TYPES[self.letter]


class EntryKinds:
    """Creates each `EntryKind` once, so that results for one can be reused."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], EntryKind] = {}
        self._tables: dict[tuple[int, bool, bool], dict[str, EntryKind]] = {}

    def get(
        self,
        letter: str,
        layer: int,
        merged: tuple[int, ...] = (),
        *,
        reachable: bool = True,
        uncertain: bool = False,
        why: str = "",
        by_attribute: bool = False,
    ) -> EntryKind:
        """Return the one `EntryKind` with these values."""
        key = (letter, layer, merged, reachable, uncertain, why, by_attribute)
        kind = self._made.get(key)
        if kind is None:
            kind = EntryKind(
                letter, layer, merged, reachable=reachable, uncertain=uncertain, why=why,
                by_attribute=by_attribute,
            )  # fmt: skip
            self._made[key] = kind
        return kind

    def table(
        self, layer: int, *, uncertain: bool = False, devices: bool = False
    ) -> dict[str, EntryKind]:
        """Return a table for `layers.scan`: a kind for every letter, in one layer.

        With `devices`, a 0:0 device is an entry that no lookup finds, as in a listing of a single
        layer.
        """
        key = (layer, uncertain, devices)
        table = self._tables.get(key)
        if table is None:
            table = {
                letter: self.get(letter, layer, uncertain=uncertain) for letter in layers.LETTERS
            }
            if devices:
                table["w"] = self.get(
                    "w", layer, reachable=False, uncertain=uncertain,
                    why="a 0:0 device: a lookup takes it for a whiteout, a listing of a directory "
                    "that is not merged does not",
                )  # fmt: skip
            self._tables[key] = table
        return table


def aliased(kind: EntryKind, alias: Alias, merged: tuple[int, ...] = ()) -> EntryKind:
    """Return the kind of a path that is affected by another path to the same file.

    It is uncertain, since the order of lookups is unknown.
    """
    return EntryKind(
        kind.letter,
        0 if alias.what in (Aliasing.SHARED, Aliasing.INDEXED) else kind.layer,
        merged or kind.merged,
        reachable=alias.what not in (Aliasing.STALE, Aliasing.BAD_INDEX, Aliasing.ABSENT),
        uncertain=kind.uncertain or alias.by_order,
        why=alias.why,
        alias=alias,
    )


Entry = tuple[str, EntryKind]


class Part:
    """One layer's share of a merged directory.

    `path` is where it is in its layer (`` for the layer's own directory), which redirects can make
    another than the merged path. `fd` is -1 while closed, `names` what a scan found. `attributes`
    are overlay's own, without their prefix, `strange` those that look like them but are in another
    spelling than this mount reads. A `twin` is the same directory of the same layer in another
    resolver, read already.
    """

    __slots__ = ("attributes", "fd", "layer", "names", "path", "strange", "twin")

    def __init__(self, layer: int, fd: int, path: str) -> None:
        self.layer = layer
        self.fd = fd
        self.path = path
        self.attributes: tuple[str, ...] = ()
        self.strange: tuple[str, ...] = ()
        self.names: dict[str, EntryKind] = {}
        self.twin: Part | None = None


class MergedDir:
    """A directory of the merged tree: the parts it is made of, topmost first."""

    __slots__ = (
        "indexed", "opaque", "parts", "path", "uncertain", "whiteouts", "xattr_whiteouts",
    )  # fmt: skip

    def __init__(self, path: str, parts: list[Part]) -> None:
        self.path = path
        self.parts = parts
        self.uncertain = False
        #: Whether it is in the index of an overlay.
        self.indexed = False
        #: The layer whose part says that nothing below it counts, None if none does.
        self.opaque: int | None = None
        #: Whether a listing leaves out 0:0 devices, as it does where layers are merged.
        self.whiteouts = len(parts) > 1
        #: Whether any part says that a listing must look for whiteouts by attribute.
        self.xattr_whiteouts = False

    def close(self) -> None:
        """Close the descriptors; the paths stay known."""
        for part in self.parts:
            if part.fd >= 0:
                os.close(part.fd)
                part.fd = -1

    def child_path(self, name: str) -> str:
        """Return the merged path of a name in here."""
        return f"{self.path}/{name}" if self.path else name

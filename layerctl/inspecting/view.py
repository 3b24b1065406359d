"""What the resolvers of overlay and aufs share: merged directories, entries, what is unknown."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from layerctl.kernel import layers

#: The published name of each letter of `layers.LETTERS`.
TYPES = {
    "d": "dir", "f": "file", "l": "symlink", "c": "char", "b": "block", "p": "fifo",
    "s": "socket", "w": "char",
}  # fmt: skip

#: How many reasons of one walk are kept; more are only counted.
_KEPT_REASONS = 1000


class Kind:
    """Everything about an entry but its name. One object for all entries that share it.

    `letter` is its type, `layer` the index of the layer that provides it, `merged` the layers of
    a directory that has several. `reachable` is False for what a listing shows and a lookup
    denies, `uncertain` True where an attribute that cannot be read could change the answer.
    """

    __slots__ = ("layer", "letter", "merged", "reachable", "uncertain", "why")

    def __init__(
        self,
        letter: str,
        layer: int,
        merged: tuple[int, ...] = (),
        *,
        reachable: bool = True,
        uncertain: bool = False,
        why: str = "",
    ) -> None:
        self.letter = letter
        self.layer = layer
        self.merged = merged
        self.reachable = reachable
        self.uncertain = uncertain
        self.why = why

    @property
    def type(self) -> str:
        """The published name of the type."""
        return TYPES[self.letter]


class Kinds:
    """Makes each `Kind` once, so that what is worked out for one serves all alike."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Kind] = {}
        self._tables: dict[tuple[int, bool, bool], dict[str, Kind]] = {}

    def get(
        self,
        letter: str,
        layer: int,
        merged: tuple[int, ...] = (),
        *,
        reachable: bool = True,
        uncertain: bool = False,
        why: str = "",
    ) -> Kind:
        """Return the one `Kind` with these values."""
        key = (letter, layer, merged, reachable, uncertain, why)
        kind = self._made.get(key)
        if kind is None:
            kind = Kind(letter, layer, merged, reachable=reachable, uncertain=uncertain, why=why)
            self._made[key] = kind
        return kind

    def table(
        self, layer: int, *, uncertain: bool = False, devices: bool = False
    ) -> dict[str, Kind]:
        """Return a table for `layers.scan`: a kind for every letter, in one layer.

        `devices` makes of a 0:0 device an entry that no lookup finds, which is what it is where
        a listing comes from a single layer unread.
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


class Part:
    """One layer's share of a merged directory.

    `path` is where it lies in its layer (`` for the layer's own directory), which redirects can
    make another than the merged path. `fd` is -1 while closed, `names` what a scan found.
    `attributes` are overlay's own, without their prefix, `strange` those that look like them but
    are in another spelling than this mount reads.
    """

    __slots__ = ("attributes", "fd", "layer", "names", "path", "strange")

    def __init__(self, layer: int, fd: int, path: str) -> None:
        self.layer = layer
        self.fd = fd
        self.path = path
        self.attributes: tuple[str, ...] = ()
        self.strange: tuple[str, ...] = ()
        self.names: dict[str, Kind] = {}


class Stop(NamedTuple):
    """Why a search in the layers went no deeper: what stands in which layer, at which path.

    `kind` is `whiteout` (a device 0:0), `xattr` (a whiteout by attribute), `aufs` (`.wh.NAME`),
    `opaque`, or the letter of a file that is no directory.
    """

    kind: str
    layer: int
    path: str


class Directory:
    """A directory of the merged tree: the parts it is made of, topmost first."""

    __slots__ = ("parts", "path", "uncertain", "whiteouts", "xattr_whiteouts")

    def __init__(self, path: str, parts: list[Part]) -> None:
        self.path = path
        self.parts = parts
        self.uncertain = False
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


@dataclass(slots=True)
class Found:
    """What a lookup of one name found.

    `letter` is None for nothing, `parts` the layers it is made of (one, but for directories),
    `error` an errno where the kernel refuses, `stop` what ended the search, `data` where a
    metacopy file's contents lie (layer and path), `refused` a sentence for `error`.
    """

    letter: str | None = None
    parts: list[Part] = field(default_factory=list)
    error: int = 0
    refused: str = ""
    stop: Stop | None = None
    data: tuple[int, str] | None = None
    metacopy: bool = False
    redirects: tuple[tuple[int, str], ...] = ()
    xattr_whiteouts: bool = False
    opaque: int | None = None

    def close(self) -> None:
        """Close what is open."""
        for part in self.parts:
            if part.fd >= 0:
                os.close(part.fd)
                part.fd = -1


class Unknown(NamedTuple):
    """Something that could not be read: which layer, where in it, and why."""

    layer: int
    path: str
    reason: str


class Reasons:
    """Collects what could not be read, up to a bound."""

    def __init__(self) -> None:
        self.kept: list[Unknown] = []
        self.more = 0

    def add(self, layer: int, path: str, error: OSError) -> None:
        """Note a failure, but for names that have merely gone since they were listed."""
        if error.errno == errno.ENOENT:
            return
        if len(self.kept) < _KEPT_REASONS:
            self.kept.append(Unknown(layer, path, error.strerror or str(error)))
        else:
            self.more += 1


Entry = tuple[str, Kind]


class Resolver(Protocol):
    """What the walk, the story and the lists ask of overlay and aufs alike."""

    reasons: Reasons
    kinds: Kinds
    roots: list[int]

    def root(self) -> Directory:
        """Return the root of the merged tree."""

    def read(self, directory: Directory) -> list[Entry]:
        """Return what a listing shows, sorted; leaves each part's names in it."""

    def enter(
        self, directory: Directory, name: str, kind: Kind
    ) -> tuple[Kind | None, Directory | None]:
        """Return the whole kind of a directory just listed, and the directory unless denied.

        The kind is None where a listing leaves it out, because a lookup is denied.
        """

    def lookup(self, directory: Directory, name: str) -> Found:
        """Look one name up, as the kernel does."""

    def directory(self, directory: Directory, name: str, found: Found) -> Directory:
        """Make the merged directory out of what a lookup found."""

    def reopen(self, directory: Directory) -> None:
        """Open what `Directory.close` closed."""


class Chunk(NamedTuple):
    """Some entries of one directory, in order; `ended` with the last of them.

    `depth` is 1 for what lies in the root.
    """

    directory: Directory
    entries: list[Entry]
    depth: int
    ended: bool


def walk(
    resolver: Resolver, *, max_depth: int | None = None, open_at_once: int = 48
) -> Iterator[Chunk]:
    """Yield the merged tree from the top down, each directory sorted by name.

    A directory's entry comes before what it holds. No more than `open_at_once` directories are
    held open, however deep the tree is.
    """
    root = resolver.root()
    stack: list[tuple[Directory, Iterator[Entry]]] = [(root, iter(resolver.read(root)))]
    shut = 0  # how many of the stack, from its bottom, are closed
    while stack:
        directory, entries = stack[-1]
        chunk: list[Entry] = []
        below: Directory | None = None
        for name, kind in entries:
            if kind.letter != "d":
                chunk.append((name, kind))
                continue
            whole, below = resolver.enter(directory, name, kind)
            if whole is None:
                continue
            chunk.append((name, whole))
            if below is not None and max_depth is not None and len(stack) >= max_depth:
                below.close()
                below = None
            if below is not None:
                break
        if chunk:
            ended = below is None or entries.__length_hint__() == 0  # type: ignore[attr-defined]
            yield Chunk(directory, chunk, len(stack), ended)
        if below is not None:
            stack.append((below, iter(resolver.read(below))))
            if len(stack) - shut > open_at_once:
                stack[shut][0].close()
                shut += 1
        else:
            directory.close()
            stack.pop()
            if stack and shut == len(stack):
                shut -= 1
                resolver.reopen(stack[-1][0])


def open_layers(paths: Iterable[str]) -> list[int]:
    """Open the directory of every layer. Raises OSError with the path."""
    opened: list[int] = []
    try:
        for path in paths:
            opened.append(layers.open_root(path))
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    return opened

"""What the resolvers of overlay and aufs have in common: lookups, and what cannot be read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from enum import Enum, auto
from typing import NamedTuple, Protocol

from layerctl.inspecting.resolvers.tree import (
    Alias,
    Entry,
    EntryKind,
    EntryKinds,
    MergedDir,
    Part,
)
from layerctl.kernel import layers

#: How many reasons of one walk are kept; more are only counted.
_KEPT_REASONS = 1000


class Stop(NamedTuple):
    """Why a search in the layers went no deeper: what stands in which layer, at which path.

    `kind` is `whiteout` (a device 0:0), `xattr` (a whiteout by attribute), `aufs` (`.wh.NAME`),
    `opaque`, or the letter of a file that is not a directory.
    """

    kind: str
    layer: int
    path: str


class Marker(Enum):
    """A whiteout in one layer, and what it does there.

    DEVICE and ATTRIBUTE are the file itself, the others a file beside it: NAME counts, IGNORED does
    not in its branch, INVALID is no regular file, which makes a lookup fail.
    """

    DEVICE = auto()
    ATTRIBUTE = auto()
    NAME = auto()
    IGNORED = auto()
    INVALID = auto()

    @property
    def is_entry(self) -> bool:
        """Whether it has the name that it hides."""
        return self in (Marker.DEVICE, Marker.ATTRIBUTE)


class Found:
    """What a lookup of one name found.

    `letter` is None for nothing, `parts` the layers it is made of (one, but for directories),
    `error` an errno where the kernel refuses and `refused` why it does, `stop` what ended the
    search, `data` where a metacopy file's contents lie (layer and path), `between` the layers and
    paths of those with metadata alone on the way there, `redirects` the layers and targets of
    those that were followed, `opaque` the layer where a directory is opaque. Of an overlay's index
    `indexed` tells whether it has it, `misplaced` whether it has something else instead, `copied`
    the name there of what is shown for a lower file. `alias` is another path to the same file.
    """

    __slots__ = (
        "alias", "between", "copied", "data", "error", "indexed", "letter", "metacopy",
        "misplaced", "opaque", "parts", "redirects", "refused", "stop", "xattr_whiteouts",
    )  # fmt: skip

    def __init__(self, letter: str | None = None) -> None:
        self.letter = letter
        self.parts: list[Part] = []
        self.error = 0
        self.refused = ""
        self.stop: Stop | None = None
        self.data: tuple[int, str] | None = None
        self.between: tuple[tuple[int, str], ...] = ()
        self.metacopy = False
        self.redirects: tuple[tuple[int, str], ...] = ()
        self.xattr_whiteouts = False
        self.opaque: int | None = None
        self.indexed = self.misplaced = False
        self.copied: str | None = None
        self.alias: Alias | None = None

    @property
    def origin(self) -> tuple[int, str] | None:
        """The first lower file under a metacopy file."""
        return self.between[0] if self.between else self.data

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
    """Collects what could not be read, each once, up to a bound."""

    def __init__(self) -> None:
        self._kept: dict[Unknown, None] = {}
        self.more = 0

    @property
    def kept(self) -> list[Unknown]:
        """What could not be read; `more` counts what is not here."""
        return list(self._kept)

    def add(self, layer: int, path: str, error: OSError) -> None:
        """Note a failure, but for names that have merely gone since they were listed."""
        if error.errno != errno.ENOENT:
            self._keep(Unknown(layer, path, error.strerror or str(error)))

    def _keep(self, one: Unknown) -> None:
        if len(self._kept) < _KEPT_REASONS:
            self._kept[one] = None
        elif one not in self._kept:
            self.more += 1

    def merge(self, other: Reasons) -> None:
        """Take in what another process could not read; both may have met the same."""
        for one in other._kept:
            self._keep(one)
        self.more += other.more


class LowerReasons(Reasons):
    """Adds to the reasons of a whole stack what cannot be read of its layers from `since` down."""

    def __init__(self, whole: Reasons, since: int) -> None:
        super().__init__()
        self._whole = whole
        self._since = since

    def add(self, layer: int, path: str, error: OSError) -> None:
        """Note a failure in a layer of the lower ones."""
        self._whole.add(layer + self._since, path, error)


class Resolver(Protocol):
    """What the walk, the story and the lists ask of overlay and aufs alike."""

    reasons: Reasons
    kinds: EntryKinds
    roots: list[int]
    #: Whether a listing reads the attributes of every file.
    thorough: bool
    #: Whether files may have their contents in a layer below their metadata.
    metacopies: bool

    def ask(self, mount: int) -> None:
        """Let a live mount, open at `mount`, tell what the layers alone do not."""

    @property
    def index(self) -> int:
        """The open index of an overlay, which has files for names of others; -1 without one."""

    def close(self) -> None:
        """Close what was opened besides the layers' own directories."""

    def below(self, since: int) -> Resolver:
        """Return a resolver for the layers from `since` down alone; its layers begin with 0."""

    def root(self) -> MergedDir:
        """Return the root of the merged tree."""

    def read(self, directory: MergedDir) -> list[Entry]:
        """Return what a listing shows, sorted; leaves each part's names in it."""

    def enter(
        self, directory: MergedDir, name: str, kind: EntryKind
    ) -> tuple[EntryKind | None, MergedDir | None]:
        """Return the whole kind of a directory just listed, and the directory unless denied.

        The kind is None if a listing leaves it out, because a lookup is denied.
        """

    def lookup(self, directory: MergedDir, name: str) -> Found:
        """Look one name up, as the kernel does."""

    def directory(self, directory: MergedDir, name: str, found: Found) -> MergedDir:
        """Make the merged directory out of what a lookup found."""

    def acts_on(self, part: Part, name: str) -> bool:
        """Tell whether a part that was read has a name, or a whiteout for it."""

    def is_metacopy(self, part: Part, name: str) -> bool:
        """Tell whether a file of an open part has only metadata."""

    def marker(
        self, layer: int, fd: int, name: str, status: os.stat_result | None
    ) -> Marker | None:
        """Return the whiteout for a name in an open directory of a layer, be it in vain.

        `status` is that of the name itself. Raises OSError.
        """

    def reopen(self, directory: MergedDir, above: MergedDir | None = None) -> None:
        """Open what `MergedDir.close` closed; `above` is an open directory that it is in."""


def reopen(
    roots: list[int], reasons: Reasons, directory: MergedDir, above: MergedDir | None
) -> None:
    """Open the parts of a directory, from those of the one above or from the layers' own."""
    near = {} if above is None else {part.layer: part for part in above.parts if part.fd >= 0}
    for part in directory.parts:
        if part.fd >= 0:
            continue
        fd, path = roots[part.layer], part.path
        base = near.get(part.layer)
        if base is not None and path.startswith(base.path + "/"):
            fd, path = base.fd, path[len(base.path) + 1 :]
        try:
            part.fd = layers.open_path(path, fd)
        except OSError as error:
            reasons.add(part.layer, part.path, error)


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


def descend(resolver: Resolver, path: str) -> tuple[MergedDir, str, Found | None]:
    """Look a path up name by name, as far as directories lead.

    Returns the last directory, open, and what was found in it under the next name, if that is no
    directory or is denied; None if the whole path was gone down.
    """
    directory = resolver.root()
    for name in filter(None, path.split("/")):
        found = resolver.lookup(directory, name)
        if found.error or found.letter != "d":
            return directory, name, found
        above, directory = directory, resolver.directory(directory, name, found)
        above.close()
    return directory, "", None


def find_directory(resolver: Resolver, path: str) -> MergedDir | None:
    """Return a directory of the merged tree by its path, None if there is none."""
    directory, _, found = descend(resolver, path)
    if found is None:
        return directory
    found.close()
    directory.close()
    return None


def look_up(resolver: Resolver, path: str) -> Found:
    """Look a whole path up from the root; nothing if a directory on the way is none."""
    above, _, name = path.rpartition("/")
    directory, _, found = descend(resolver, above)
    try:
        if found is None:
            return resolver.lookup(directory, name)
        found.close()
        return Found()
    finally:
        directory.close()

"""Common parts of the resolvers of overlay and aufs: lookups, and what cannot be read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from enum import Enum, auto
from typing import NamedTuple, Protocol

from layerctl.inspecting.resolvers.tree import (
    Alias,
    Aliases,
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
    """Why a search in the layers ended: what is in which layer, at which path.

    `kind` is `whiteout` (a device 0:0), `xattr` (a whiteout by attribute), `aufs` (`.wh.NAME`),
    `opaque`, or the letter of a file that is not a directory.
    """

    kind: str
    layer: int
    path: str


class Marker(Enum):
    """A whiteout in one layer, and what it does there.

    DEVICE and ATTRIBUTE are the file itself, the others another file: NAME counts, IGNORED does not
    count in its branch, INVALID is not a regular file, so that a lookup fails.
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

    `letter` is None for nothing, `parts` are the layers (one, except for directories), `error` is
    an errno if the kernel refuses and `refused` the reason, `stop` what ended the search, `data`
    the layer and path of a metacopy file's contents, `between` the layers and paths of metacopy
    files on the way there, `redirects` the layers and targets of followed redirects, `opaque` the
    layer in which a directory is opaque. `indexed` means that the index of an overlay has it,
    `misplaced` that it has something else instead, `copied` is the name in the index of what is
    shown for a lower file. `alias` is another path to the same file.
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
    """Collects what could not be read, each once, up to a limit."""

    def __init__(self) -> None:
        self._kept: dict[Unknown, None] = {}
        self.more = 0

    @property
    def kept(self) -> list[Unknown]:
        """What could not be read; `more` is the number of omitted reasons."""
        return list(self._kept)

    def add(self, layer: int, path: str, error: OSError) -> None:
        """Record a failure, except for names that were removed since they were listed."""
        if error.errno != errno.ENOENT:
            self._keep(Unknown(layer, path, error.strerror or str(error)))

    def _keep(self, one: Unknown) -> None:
        if len(self._kept) < _KEPT_REASONS:
            self._kept[one] = None
        elif one not in self._kept:
            self.more += 1

    def merge(self, other: Reasons) -> None:
        """Merge what another process could not read; both may have the same reasons."""
        for one in other._kept:
            self._keep(one)
        self.more += other.more


class LowerReasons(Reasons):
    """Adds what cannot be read in the layers from `since` on to the reasons of a whole stack."""

    def __init__(self, whole: Reasons, since: int) -> None:
        super().__init__()
        self._whole = whole
        self._since = since

    def add(self, layer: int, path: str, error: OSError) -> None:
        """Record a failure in one of the lower layers."""
        self._whole.add(layer + self._since, path, error)


class Resolver(Protocol):
    """The interface of the resolvers of overlay and aufs."""

    reasons: Reasons
    kinds: EntryKinds
    roots: list[int]
    #: Whether a listing reads the attributes of every file.
    thorough: bool
    #: Whether files can have their contents in a layer below their metadata.
    metacopies: bool
    #: Whether markers are attributes that cannot be read without privilege.
    blind: bool
    #: What names of markers begin with; empty if they have no names of their own.
    marker_prefix: str

    def ask(self, mount: int) -> None:
        """Use a live mount, open at `mount`, to find out what the layers do not show."""

    @property
    def aliases(self) -> Aliases:
        """Paths that are one inode with another."""

    @property
    def index(self) -> int:
        """The open index of an overlay, -1 without one."""

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
        """Return the full kind of a directory that was just listed, and the directory if reachable.

        The kind is None if a listing omits it because its lookup fails.
        """

    def lookup(self, directory: MergedDir, name: str) -> Found:
        """Look one name up, as the kernel does."""

    def directory(self, directory: MergedDir, name: str, found: Found) -> MergedDir:
        """Return the merged directory for the result of a lookup."""

    def acts_on(self, part: Part, name: str) -> bool:
        """Tell whether a part that was read has a name, or a whiteout for it."""

    def is_metacopy(self, part: Part, name: str) -> bool:
        """Tell whether a file of an open part has only metadata."""

    def marker(
        self, layer: int, fd: int, name: str, status: os.stat_result | None
    ) -> Marker | None:
        """Return the whiteout for a name in an open directory of a layer, even without effect.

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
    """Look a path up name by name, as far as there are directories.

    Returns the last directory, open, and the result for the next name if it is not a directory or
    not reachable; None if the whole path was found.
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
    """Look a whole path up from the root; finds nothing if a parent is not a directory."""
    above, _, name = path.rpartition("/")
    directory, _, found = descend(resolver, above)
    try:
        if found is None:
            return resolver.lookup(directory, name)
        found.close()
        return Found()
    finally:
        directory.close()

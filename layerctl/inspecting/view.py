"""What the resolvers of overlay and aufs share: merged directories, entries, what is unknown."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from layerctl.inspecting.marks import BEGIN, END, HOLE
from layerctl.kernel import layers

if TYPE_CHECKING:
    from layerctl.inspecting.parallel import Team
    from layerctl.inspecting.resolvers.inodes import Alias

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
    denies, `uncertain` True where an attribute that cannot be read, or the order of lookups, could
    change the answer. `alias` is another path to the same file.
    """

    __slots__ = ("alias", "layer", "letter", "merged", "reachable", "uncertain", "why")

    def __init__(
        self,
        letter: str,
        layer: int,
        merged: tuple[int, ...] = (),
        *,
        reachable: bool = True,
        uncertain: bool = False,
        why: str = "",
        alias: Alias | None = None,
    ) -> None:
        self.letter = letter
        self.layer = layer
        self.merged = merged
        self.reachable = reachable
        self.uncertain = uncertain
        self.why = why
        self.alias = alias

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
    are in another spelling than this mount reads. A `twin` is the same directory of the same layer
    in another resolver, read already.
    """

    __slots__ = ("attributes", "fd", "layer", "names", "path", "strange", "twin")

    def __init__(self, layer: int, fd: int, path: str) -> None:
        self.layer = layer
        self.fd = fd
        self.path = path
        self.attributes: tuple[str, ...] = ()
        self.strange: tuple[str, ...] = ()
        self.names: dict[str, Kind] = {}
        self.twin: Part | None = None


class Stop(NamedTuple):
    """Why a search in the layers went no deeper: what stands in which layer, at which path.

    `kind` is `whiteout` (a device 0:0), `xattr` (a whiteout by attribute), `aufs` (`.wh.NAME`),
    `opaque`, or the letter of a file that is not a directory.
    """

    kind: str
    layer: int
    path: str


class Directory:
    """A directory of the merged tree: the parts it is made of, topmost first."""

    __slots__ = (
        "indexed", "opaque", "parts", "path", "uncertain", "whiteouts", "xattr_whiteouts",
    )  # fmt: skip

    def __init__(self, path: str, parts: list[Part]) -> None:
        self.path = path
        self.parts = parts
        self.uncertain = False
        #: Whether the index of an overlay has it.
        self.indexed = False
        #: The layer whose part says that nothing below it counts, None where none does.
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

    def merge(self, other: Reasons) -> None:
        """Take in what another process could not read; both may have met the same."""
        known = set(self.kept)
        fresh = [one for one in other.kept if one not in known]
        self.more += other.more + max(0, len(self.kept) + len(fresh) - _KEPT_REASONS)
        self.kept = (self.kept + fresh)[:_KEPT_REASONS]


Entry = tuple[str, Kind]
_KIND = itemgetter(1)


class Resolver(Protocol):
    """What the walk, the story and the lists ask of overlay and aufs alike."""

    reasons: Reasons
    kinds: Kinds
    roots: list[int]
    #: Whether a listing reads the attributes of every file.
    thorough: bool

    def ask(self, mount: int) -> None:
        """Let a live mount, open at `mount`, tell what the layers alone do not."""

    def close(self) -> None:
        """Close what was opened besides the layers' own directories."""

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

    def reopen(self, directory: Directory, above: Directory | None = None) -> None:
        """Open what `Directory.close` closed; `above` is an open directory that it lies in."""


class Chunk(NamedTuple):
    """Some entries of one directory, in order; `ended` with the last of them.

    `depth` is 1 for what lies where the walk began. With a `mark` it is none, but tells how a walk
    is shared (see `layerctl.inspecting.parallel`).
    """

    directory: Directory
    entries: list[Entry]
    depth: int
    ended: bool
    mark: list[str] | None = None


F = TypeVar("F")


class Descent(Generic[F]):
    """The frames of a walk, from the root to where it stands; only the last so many are open.

    However deep a tree is, it takes no more descriptors than that.
    """

    def __init__(
        self, close: Callable[[F], None], reopen: Callable[[F, F | None], None], limit: int
    ) -> None:
        self._close = close
        self._reopen = reopen
        self._limit = limit
        self._frames: list[F] = []
        self._shut = 0  # how many of the frames, from the root, are closed

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def last(self) -> F:
        """Where the walk stands."""
        return self._frames[-1]

    def push(self, frame: F) -> None:
        """Go down."""
        self._frames.append(frame)
        if len(self._frames) - self._shut > self._limit:
            self._close(self._frames[self._shut])
            self._shut += 1

    def pop(self) -> None:
        """Go up again."""
        self._close(self._frames.pop())
        if self._frames and self._shut == len(self._frames):
            # Several at once, each from the one above: from the root it is a long way.
            self._shut = max(0, len(self._frames) - self._limit // 2)
            above: F | None = None
            for frame in self._frames[self._shut :]:
                self._reopen(frame, above)
                above = frame


class Step(NamedTuple):
    """One directory of a walk, and what of it is still to come."""

    directory: Directory
    entries: Iterator[Entry]


def descent(resolver: Resolver) -> Descent[Step]:
    """Return a descent through the directories of a merged tree."""
    return Descent(
        lambda step: step.directory.close(),
        lambda step, above: resolver.reopen(step.directory, above and above.directory),
        layers.directories_at_once(len(resolver.roots)),
    )


def walk(
    resolver: Resolver,
    *,
    start: Callable[[], Directory] | None = None,
    max_depth: int | None = None,
    team: Team | None = None,
) -> Iterator[Chunk]:
    """Yield the merged tree from the top down, each directory sorted by name.

    A directory's entry comes before what it holds. With a `team`, subtrees are shared out. `start`
    opens the directory to begin at, by default the root.
    """
    root = resolver.root() if start is None else start()
    first = resolver.read(root)
    way = descent(resolver)
    way.push(Step(root, iter(first)))
    if team is not None:
        team.divide(sum(kind.letter == "d" for _, kind in first))
    while way:
        depth = len(way)
        chunk, below = _advance(resolver, way.last, go_down=max_depth is None or depth < max_depth)
        if chunk:
            ended = below is None or not way.last.entries.__length_hint__()  # type: ignore[attr-defined]
            yield Chunk(way.last.directory, chunk, depth, ended)
        if below is None:
            way.pop()
            if team is not None and len(way) == team.depth:
                yield _marked(END)
            continue
        if team is not None and depth == team.depth:
            if not team.mine():
                below.close()
                yield _marked(HOLE)
                continue
            yield _marked(BEGIN)
        entries = resolver.read(below)
        if team is not None:
            team.worked(len(entries))
        if any(kind.letter == "d" for kind in set(map(_KIND, entries))):
            way.push(Step(below, iter(entries)))
            continue
        if entries:
            yield Chunk(below, entries, depth + 1, ended=True)
        below.close()
        if team is not None and depth == team.depth:
            yield _marked(END)


def _advance(
    resolver: Resolver, step: Step, *, go_down: bool
) -> tuple[list[Entry], Directory | None]:
    """Return the entries up to the next directory to go down into, and that directory."""
    chunk: list[Entry] = []
    for name, kind in step.entries:
        if kind.letter != "d":
            chunk.append((name, kind))
            continue
        whole, below = resolver.enter(step.directory, name, kind)
        if whole is not None:
            chunk.append((name, whole))
        if below is not None:
            if go_down:
                return chunk, below
            below.close()
    return chunk, None


def _marked(mark: list[str]) -> Chunk:
    return Chunk(Directory("", []), [], 0, ended=False, mark=mark)


def reopen(
    roots: list[int], reasons: Reasons, directory: Directory, above: Directory | None
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

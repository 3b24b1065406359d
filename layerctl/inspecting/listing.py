"""Every entry of a merged tree, directory by directory."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

from layerctl.inspecting.filters import Filter
from layerctl.inspecting.resolvers.resolver import Resolver
from layerctl.inspecting.resolvers.tree import Entry, MergedDir
from layerctl.inspecting.subtree import open_at
from layerctl.inspecting.walk import Node, Search
from layerctl.kernel import layers

_KIND = itemgetter(1)


class Chunk(NamedTuple):
    """Some entries of one directory, in order; `ended` with the last of them.

    `depth` is 1 for what lies where the walk began.
    """

    directory: MergedDir
    entries: list[Entry]
    depth: int
    ended: bool


class Listing(Search[Chunk]):
    """The wanted part of the tree from the directory `path`, down to `max_depth` levels.

    The entry of a directory comes before its contents.
    """

    def __init__(
        self,
        resolver: Resolver,
        path: str = "",
        max_depth: int | None = None,
        wanted: Filter | None = None,
    ) -> None:
        super().__init__(resolver.reasons, layers.directories_at_once(len(resolver.roots)))
        self.resolver = resolver
        self.max_depth = max_depth
        self.wanted = None if wanted is None or wanted.wants_all else wanted
        self._path = path

    @property
    def is_whole(self) -> bool:
        """Whether the whole merged tree is wanted."""
        return not self._path and self.max_depth is None and self.wanted is None

    def root(self) -> Node[Chunk]:
        """Return the directory to begin at. Raises NotFoundError if there is none."""
        return _Listed(self, open_at(self.resolver, self._path), 1)


class _Listed(Node[Chunk]):
    __slots__ = ("_depth", "_directory", "_entries", "_listing")

    def __init__(self, listing: Listing, directory: MergedDir, depth: int) -> None:
        super().__init__()
        self._listing = listing
        self._directory = directory
        self._depth = depth

    def _find(self) -> Iterator[Chunk | Node[Chunk]]:
        directory = self._directory
        entries = self._entries = self._listing.resolver.read(directory)
        if any(kind.letter == "d" for kind in set(map(_KIND, entries))):
            yield from self._with_directories(entries)
        else:
            yield from self._chunk(entries, ended=True)

    def _with_directories(self, entries: list[Entry]) -> Iterator[Chunk | Node[Chunk]]:
        listing, directory = self._listing, self._directory
        chunk: list[Entry] = []
        start = 0
        for place in [at for at, (_, kind) in enumerate(entries) if kind.letter == "d"]:
            chunk += entries[start:place]
            start = place + 1
            name, kind = entries[place]
            whole, below = listing.resolver.enter(directory, name, kind)
            if whole is not None:
                chunk.append((name, whole))
            if below is None:
                continue
            if self._depth == listing.max_depth:
                below.close()
                continue
            yield from self._chunk(chunk, ended=start == len(entries))
            chunk = []
            yield _Listed(listing, below, self._depth + 1)
        yield from self._chunk(chunk + entries[start:], ended=True)

    def _chunk(self, entries: list[Entry], *, ended: bool) -> Iterator[Chunk]:
        if self._listing.wanted is not None:
            entries, ended = self._listing.wanted.apply(self._directory, entries), False
        if entries:
            yield Chunk(self._directory, entries, self._depth, ended)

    def close(self) -> None:
        self._directory.close()

    def reopen(self, above: _Listed | None) -> None:
        self._listing.resolver.reopen(self._directory, None if above is None else above._directory)

    def width(self) -> int:
        return sum(kind.letter == "d" for _, kind in self._entries)

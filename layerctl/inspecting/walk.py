"""The walk through a merged tree, from the top down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from layerctl.inspecting.marks import BEGIN, END, HOLE
from layerctl.inspecting.resolvers.resolver import Resolver
from layerctl.inspecting.resolvers.tree import Entry, MergedDir
from layerctl.kernel import layers

if TYPE_CHECKING:
    from layerctl.inspecting.parallel import Team

_KIND = itemgetter(1)


class Chunk(NamedTuple):
    """Some entries of one directory, in order; `ended` with the last of them.

    `depth` is 1 for what lies where the walk began. With a `mark` it is none, but tells how a walk
    is shared (see `layerctl.inspecting.parallel`).
    """

    directory: MergedDir
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

    directory: MergedDir
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
    start: Callable[[], MergedDir] | None = None,
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
) -> tuple[list[Entry], MergedDir | None]:
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
    return Chunk(MergedDir("", []), [], 0, ended=False, mark=mark)

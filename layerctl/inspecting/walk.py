"""The walk from a root down, with a limited number of open directories."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Generic, Self, TypeVar

from layerctl.inspecting.resolvers.resolver import Reasons

T = TypeVar("T")


class Node(Generic[T]):
    """A directory of a walk, open when it is made, and read when its `finds` begin.

    `finds` yields what is found in it and, in their places, the directories to descend into.
    Not an ABC: isinstance() of one is slow.
    """

    __slots__ = ("finds",)

    def __init__(self) -> None:
        self.finds = self._find()

    @abstractmethod
    def _find(self) -> Iterator[T | Node[T]]:
        """Yield the finds."""

    @abstractmethod
    def close(self) -> None:
        """Close the descriptors, for a while or for good."""

    @abstractmethod
    def reopen(self, above: Self | None) -> None:
        """Open what was closed; `above` is an open node that this one is in."""

    @property
    def own(self) -> Node[T]:
        """The node that those below it know: itself, or the one that it wraps."""
        return self

    @abstractmethod
    def width(self) -> int:
        """Return how many directories it has; asked once its finds have begun."""


class Search(ABC, Generic[T]):
    """What is to be found in a merged tree: by a walk, and when that has ended.

    Iterate over it for all finds; `sharing.shared` yields the same, found by two processes.
    """

    #: Whether entries are opened and read, which takes much longer than writing the results.
    heavy: ClassVar[bool] = False

    def __init__(self, reasons: Reasons, at_once: int) -> None:
        self._reasons = reasons
        self.at_once = at_once

    def __iter__(self) -> Iterator[T]:
        yield from walk(self.root(), self.at_once)
        yield from self.rest()

    @abstractmethod
    def root(self) -> Node[T]:
        """Return where the walk begins."""

    def rest(self) -> Iterator[T]:
        """Yield what is known only after the walk."""
        return iter(())

    def state(self) -> tuple[object, ...]:
        """Return, in the second process of a shared walk, the state that the first needs."""
        return (self._reasons,)

    def merge(self, reasons: Reasons, *_: object) -> None:
        """Take, in the first process, the `state` of the second."""
        self._reasons.merge(reasons)


def walk(root: Node[T], at_once: int) -> Iterator[T]:
    """Yield the finds below a node in order; not more than `at_once` nodes are open at a time."""
    nodes = [root]
    closed = 0  # how many of them, from the root
    try:
        while nodes:
            for find in nodes[-1].finds:
                if isinstance(find, Node):
                    nodes.append(find)
                    if len(nodes) - closed > at_once:
                        nodes[closed].close()
                        closed += 1
                    break
                yield find
            else:
                nodes.pop().close()
                if nodes and closed == len(nodes):
                    # Several at once, each from its parent, since it is far from the root.
                    closed = max(0, closed - max(1, at_once // 2))
                    above: Node[T] | None = None
                    for node in nodes[closed:]:
                        node.reopen(above)
                        above = node.own
    finally:
        for node in nodes:
            node.close()

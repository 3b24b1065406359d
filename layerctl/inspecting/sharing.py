"""A search shared by two processes, with results in the order of a single one.

A long walk forks once. From then on, both processes walk the upper levels of the tree, and each
descends into its share of the subtrees. The child's results come through a pipe and are put in
their places. A short walk never forks.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from layerctl.inspecting.walk import Node, Search, walk
from layerctl.kernel import second
from layerctl.kernel.second import Second

T = TypeVar("T")
Spell = Callable[[T], list[str]]

#: A walk of fewer seconds than this is not worth a second process.
_WORTHWHILE = 0.005
#: With this many directories in its root, a tree is divided there, else one level below.
_MANY = 16
#: The parent, which also writes all results, takes one of three subtrees if examining an entry
#: takes little longer than writing it, otherwise three of seven.
_Shares = tuple[int, tuple[int, ...]]
_LIGHT: _Shares = (3, (1,))
_HEAVY: _Shares = (7, (1, 3, 5))
#: How many characters the child collects before sending them.
_BLOCK = 1 << 16


def shared(search: Search[T], spell: Spell[T], separator: str) -> Iterator[list[str]]:
    """Yield the finds of a search in order, as texts by `spell`.

    What comes from the other process is one text, its parts joined by `separator`. Raises OSError
    if the other process fails, or reads the layers otherwise.
    """
    share = _Share(search, separator)
    finds = walk(_Upper(search.root(), share, 0), search.at_once)
    try:
        for find in finds:
            if share.is_child:
                # The fork was in `finds`; this is the copy. It goes on from here and ends there.
                share.hold(spell(find))
                for other in finds:
                    share.hold(spell(other))
                break
            yield find if isinstance(find, _Texts) else spell(find)
        share.finish()
    except BaseException as error:
        if share.is_child:
            share.fail(error)
        raise
    finally:
        share.close()
    yield from map(spell, search.rest())


class _Texts(list[str]):
    """What the other process found, which is spelled already."""


class _Share:
    """Decides which of the two processes descends into a subtree.

    `depth` is the depth of the directories that are shared out, 0 until the root was read.
    """

    def __init__(self, search: Search[Any], separator: str) -> None:
        self.depth = 0
        self._search = search
        self._separator = separator
        self._shares = _HEAVY if search.heavy else _LIGHT
        self._started = time.monotonic()
        self._count = 0
        self._alone = not second.pays()
        self._second: Second | None = None
        self._held: list[str] = []
        self._size = 0

    @property
    def is_child(self) -> bool:
        """Whether this is the second process."""
        return self._second is not None and self._second.is_child

    def takes_next(self) -> bool:
        """Tell whether the next subtree is for this process; forks when that pays."""
        if self._second is None and not self._alone:
            if time.monotonic() - self._started < _WORTHWHILE:
                return True
            try:
                self._second = Second()
            except OSError:  # no processes or descriptors left
                self._alone = True
        if self._alone:
            return True
        self._count += 1
        shares, parents = self._shares
        return (self._count % shares in parents) != self.is_child

    def others(self) -> Iterator[_Texts]:
        """Yield, in the parent, what the child found in the next subtree."""
        while data := self._receive():
            yield _Texts([data.decode("utf-8")])

    def _receive(self, *, last: bool = False) -> Any:
        assert self._second is not None  # noqa: S101 - only who has a child receives
        data, is_last = self._second.receive()
        if not is_last and not last:
            return data
        import pickle  # only a search that is shared needs it

        said = pickle.loads(data) if is_last else None  # noqa: S301 - from our own child
        if isinstance(said, BaseException):
            raise said
        if said is None or not last:  # each walks the upper levels itself
            raise OSError(errno.ESTALE, "two readings of the layers differ")
        return said

    def hold(self, texts: list[str]) -> None:
        """Collect, in the child, what is to be sent."""
        self._held += texts
        self._size += sum(map(len, texts))
        if self._size >= _BLOCK:
            self._send_held()

    def _send_held(self) -> None:
        if self._second is not None and self._held:
            self._second.send(self._separator.join(self._held).encode("utf-8"))
        self._held, self._size = [], 0

    def leave(self) -> None:
        """Record the end of a subtree, up to which the child sends."""
        if self._second is not None and self._second.is_child:
            self._send_held()
            self._second.send(b"")

    def finish(self) -> None:
        """Send the state and exit, in the child; receive it, in the parent.

        Raises what ended the child early.
        """
        if self._second is None:
            return
        if self._second.is_child:
            import pickle  # few searches are shared

            self._second.send(pickle.dumps(self._search.state()), last=True)
            self._second.end()
        self._search.merge(*self._receive(last=True))

    def fail(self, error: BaseException) -> None:
        """Send the error that ended the child early, and exit."""
        import pickle  # as above
        import traceback

        assert self._second is not None  # noqa: S101 - this is the child
        if not isinstance(error, (OSError, MemoryError)):
            error = RuntimeError(
                f"the second process failed: {''.join(traceback.format_exception(error))}"
            )
        try:
            self._second.send(pickle.dumps(error), last=True)
        finally:
            self._second.end()

    def close(self) -> None:
        """End the child, if it has not ended."""
        if self._second is not None:
            self._second.end()


class _Upper(Node[Any]):
    """A node above those that are divided between the two processes."""

    __slots__ = ("_depth", "_node", "_share")

    def __init__(self, node: Node[Any], share: _Share, depth: int) -> None:
        super().__init__()
        self._node = node
        self._share = share
        self._depth = depth

    def _find(self) -> Iterator[Any]:
        node, share = self._node, self._share
        below = self._depth + 1
        for find in node.finds:
            if not isinstance(find, Node):
                if not share.is_child:
                    yield find
                continue
            if not share.depth:
                share.depth = 1 if node.width() >= _MANY else 2
            if below < share.depth:
                yield _Upper(find, share, below)
            elif share.takes_next():
                yield find
                share.leave()
            else:
                find.close()
                if not share.is_child:
                    yield from share.others()

    @property
    def own(self) -> Node[Any]:
        return self._node

    def close(self) -> None:
        self._node.close()

    def reopen(self, above: Node[Any] | None) -> None:
        self._node.reopen(above)

    def width(self) -> int:
        return self._node.width()

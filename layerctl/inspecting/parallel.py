"""A walk shared by two processes, its output in the order of one.

A long walk forks once. From then on both processes take the same way through the upper levels
of the tree, and each goes down into its share of the subtrees; what the child finds comes
through a pipe and is put where it belongs. A short walk never forks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, NoReturn

from layerctl.inspecting.marks import BEGIN, END, HOLE

#: A walk of fewer entries than this is not worth a second process.
_WORTHWHILE = 3000
#: With so many directories in its root, a tree is divided there, else one level further down.
_MANY = 16
#: Of three subtrees one is the parent's, who besides starts, and writes what both find: where
#: looking at an entry costs little more than writing it. Where it costs more, three of seven.
_SHARES, _PARENTS = 3, (1,)
_HEAVY_SHARES, _HEAVY_PARENTS = 7, (1, 3, 5)
#: As much dearer is an entry then.
_HEAVY = 4
_LENGTH_BYTES = 8
#: Stands in a length where what follows is what ended the child.
_FAILED = 1 << 63
#: Stands in the length of what the child has to tell at its end.
_END = 1 << 62
_PIPE_SIZE = 1 << 20
#: How many characters the child gathers before it sends them.
_BLOCK = 1 << 16


class Team:
    """Says which of two processes goes down into a subtree.

    `depth` is the depth of the directories that are shared out; the walk sets it by `divide`.
    `report` gives what the child has to tell at its end, `merge` takes it in the parent. `heavy`
    says that entries are opened and read.
    """

    def __init__(
        self,
        report: Callable[[], Any],
        merge: Callable[[Any], None],
        *,
        alone: bool = False,
        heavy: bool = False,
    ) -> None:
        self.depth = 0
        self._heavy = heavy
        self._report = report
        self._merge = merge
        self._work = 0
        self._count = 0
        self._child = 0
        self._reader: BinaryIO | None = None
        self._writer = -1
        self._alone = alone or len(os.sched_getaffinity(0)) < 2

    def divide(self, directories: int) -> None:
        """Choose the depth by how many directories lie in the root."""
        self.depth = 1 if directories >= _MANY else 2

    def worked(self, entries: int) -> None:
        """Count what was done so far."""
        self._work += entries * (_HEAVY if self._heavy else 1)

    def mine(self) -> bool:
        """Tell whether the next subtree is for this process."""
        if self._alone:
            return True
        if not self._child and self._writer < 0:
            if self._work < _WORTHWHILE:
                return True
            self._fork()
            if self._alone:
                return True
        self._count += 1
        if self._heavy:
            return (self._count % _HEAVY_SHARES in _HEAVY_PARENTS) != self.is_child
        return (self._count % _SHARES in _PARENTS) != self.is_child

    @property
    def is_child(self) -> bool:
        """Whether this is the second process."""
        return self._writer >= 0

    def _fork(self) -> None:
        try:
            reader, writer = os.pipe()
        except OSError:  # no descriptors are left: it goes on alone
            self._alone = True
            return
        with suppress(OSError):  # a smaller pipe makes the two wait for each other more often
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        try:
            child = os.fork()
        except OSError:  # no more processes may be started
            os.close(reader)
            os.close(writer)
            self._alone = True
            return
        if child:
            os.close(writer)
            self._child, self._reader = child, os.fdopen(reader, "rb", _BLOCK)
        else:
            os.close(reader)
            self._writer = writer

    def _send(self, data: bytes, mark: int = 0) -> None:
        view = memoryview((len(data) | mark).to_bytes(_LENGTH_BYTES, "little") + data)
        try:
            while view:
                view = view[os.write(self._writer, view) :]
        except OSError:  # a part may have gone: the other process must not take more for its rest
            os._exit(1)

    def _receive(self, mark: int = 0) -> bytes:
        length = int.from_bytes(self._read(_LENGTH_BYTES), "little")
        data = self._read(length & ~(_FAILED | _END))
        if length & _FAILED:
            import pickle

            raise pickle.loads(data)  # noqa: S301 - from our own child
        if length & _END != mark:  # each takes its own way through the upper levels
            raise OSError(errno.ESTALE, "two readings of the layers differ")
        return data

    def fail(self, error: BaseException) -> NoReturn:
        """Tell the parent what ended the child early, and end it."""
        import pickle
        import traceback

        if not isinstance(error, (OSError, MemoryError)):
            error = RuntimeError(
                f"the second process failed: {''.join(traceback.format_exception(error))}"
            )
        try:
            self._send(pickle.dumps(error), _FAILED)
        finally:
            os._exit(1)

    def _read(self, length: int) -> bytes:
        assert self._reader is not None  # noqa: S101 - only who has a child reads
        data = self._reader.read(length)
        if len(data) < length:
            raise OSError("the second process ended early")
        return data

    def others(self) -> Iterator[list[str]]:
        """Yield, in the parent, the batches of the next subtree that is the child's."""
        while data := self._receive():
            yield [data.decode("utf-8")]

    def run_child(self, items: Iterator[list[str]], separator: str) -> None:
        """Do the child's share; never returns."""
        inside = False
        held: list[str] = []
        size = 0
        try:
            for item in items:
                if item is BEGIN:
                    inside = True
                elif item is END:
                    inside = False
                elif inside and item is not HOLE and item:
                    held += item
                    size += sum(map(len, item))
                if held and (size >= _BLOCK or item is END):
                    self._send(separator.join(held).encode("utf-8"))
                    held, size = [], 0
                if item is END:
                    self._send(b"")
            import pickle

            self._send(pickle.dumps(self._report()), _END)
        except BaseException as error:
            self.fail(error)
        finally:
            os._exit(0)

    def finish(self) -> None:
        """Take, in the parent, what the child has to tell. Raises what ended the child early."""
        if self._child:
            import pickle

            self._merge(pickle.loads(self._receive(_END)))  # noqa: S301 - from our own child

    def close(self) -> None:
        """End the child, if it has not ended."""
        if self._child:
            if self._reader is not None:
                self._reader.close()
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0


def spread(team: Team, items: Iterator[list[str]], separator: str) -> Iterator[list[str]]:
    """Yield the batches of a shared walk, in order and without marks.

    Batches that come from the other process are one text, their lines joined by `separator`.
    """
    try:
        for item in items:
            if team.is_child:
                # The fork was in `items`; this is the copy. It goes on from here and ends there.
                _hand_over(team, item, items, separator)
            if item is HOLE:
                yield from team.others()
            elif item is not BEGIN and item is not END:
                yield item
        if team.is_child:
            _hand_over(team, HOLE, items, separator)
        team.finish()
    except BaseException as error:
        if team.is_child:
            team.fail(error)
        raise
    finally:
        team.close()


def _hand_over(team: Team, first: list[str], rest: Iterator[list[str]], separator: str) -> None:
    def items() -> Iterator[list[str]]:
        yield first
        yield from rest

    team.run_child(items(), separator)

"""A plan: what is done to layers, step by step, each described before it is done.

A plan is generated while it is carried out: each step is done before the next one is requested. A
dry run gets the same steps without doing them.
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

from layerctl.errors import RefusedError
from layerctl.kernel import changing, layers
from layerctl.kernel.facts import common

#: A command line of ordinary programs that does what a step does.
Words = tuple[str, ...]


#: What is made beside a layer is called as that, and so, until it is whole.
PART = ".layerctl-part"


class Verb(StrEnum):
    """The kind of a step."""

    REMOVE = "remove"
    MOVE = "move"
    COPY = "copy"
    CREATE = "create"
    MARK = "mark"
    UNMARK = "unmark"
    ATTRIBUTES = "attributes"
    TIMES = "times"
    SYNC = "sync"


class Step(NamedTuple):
    """One step: `path` is what it changes, `run` does it, `words` say it in sh."""

    verb: Verb
    path: str
    why: str
    run: Callable[[], None]
    words: tuple[Words, ...]

    @property
    def script(self) -> Iterator[str]:
        """The lines of a shell script that does the same."""
        yield from (shlex.join(words) for words in self.words)


def changed(path: str) -> RefusedError:
    """Return the error for a layer that somebody else changes at the same time."""
    return RefusedError(
        "layer-changed",
        f"{path} was changed while layerctl worked on it",
        why="another program writes to the layer; what was done so far left the merged tree as "
        "it was",
        hint="stop the other program, and run the command again",
    )


def touch(path: str, modified: int) -> Words:
    """Return the command line that sets a modification time, in nanoseconds."""
    seconds, rest = divmod(modified, 10**9)
    return "touch", "-m", "-d", f"@{seconds}.{rest:09}", "--", path


class Folder:
    """An open directory of a layer in which names are changed, and whose times are kept.

    Each change of a name sets the directory's modification time, which the merged tree shows. So
    the times are kept in an attribute that overlay hides, until `times` sets them again: a
    second run finds them there. Without a `prefix`, as in an aufs, only root is shown it.
    """

    def __init__(self, fd: int, path: str, prefix: str) -> None:
        self.fd = fd
        self.path = path
        self._stamp = (prefix or bare_prefix()) + STAMP
        self._stamped = False
        self.touched = False
        self.times = 0, 0
        if fd < 0:  # it does not exist yet, in a dry run
            return
        status = os.fstat(fd)
        self.times = status.st_atime_ns, status.st_mtime_ns
        kept = layers.attribute(self._stamp, fd)
        #: Whether a step changes a name here, or an earlier run did and was stopped.
        self.touched = kept is not None
        if kept is not None:
            self._stamped = True
            accessed, modified = kept.split()
            self.times = int(accessed), int(modified)

    def inside(self, name: str) -> str:
        """Return the path of a name in here."""
        return f"{self.path}/{name}"

    def keep(self) -> None:
        """Note the times, before the first change."""
        if not self._stamped:
            value = f"{self.times[0]} {self.times[1]}".encode()
            changing.set_attribute(self._stamp, value, self.fd)
            self._stamped = True

    def step(self, verb: Verb, name: str, why: str, run: Callable[[], None], *words: Words) -> Step:
        """Return a step that changes a name in here."""
        self.touched = True

        def keeping() -> None:
            self.keep()
            run()

        return Step(verb, self.inside(name), why, keeping, words)

    def remove(self, name: str, status: os.stat_result, why: str) -> Step:
        """Return the step that removes a name, if it is still what it was."""

        def run() -> None:
            self.expect(name, status)
            changing.unlink(name, self.fd)

        return self.step(Verb.REMOVE, name, why, run, ("rm", "-f", "--", self.inside(name)))

    def rmdir(self, name: str, why: str) -> Step:
        """Return the step that removes an empty directory."""

        def run() -> None:
            changing.rmdir(name, self.fd)

        return self.step(Verb.REMOVE, name, why, run, ("rmdir", "--", self.inside(name)))

    def expect(self, name: str, status: os.stat_result) -> None:
        """Raise RefusedError if a name is not what it was."""
        now = layers.status(name, self.fd)
        if now is None or _sign(now) != _sign(status):
            raise changed(self.inside(name))

    def restore(self) -> Iterator[Step]:
        """Yield the step that sets the times as they were, where they were changed."""
        if not self.touched:
            return

        def run() -> None:
            if self._stamped:
                changing.set_times(*self.times, self.fd)
                changing.remove_attribute(self._stamp, self.fd)

        words = (touch(self.path, self.times[1]),)
        yield Step(Verb.TIMES, self.path, "its names were changed", run, words)


@functools.cache
def bare_prefix() -> str:
    """Return what attributes of layerctl begin with where no overlay hides them.

    Only callers with CAP_SYS_ADMIN in the first user namespace can set trusted.* and see it
    (xattr(7)).
    """
    caller = common.caller()
    return "trusted." if caller.sys_admin and not caller.in_user_namespace else "user."


def own_prefix() -> str:
    """Return what the attributes of layerctl itself begin with where no overlay hides them."""
    return f"{bare_prefix()}layerctl."


#: The attribute, without overlay's prefix, that keeps a directory's times; the kernel ignores it.
STAMP = "layerctl.times"


def _sign(status: os.stat_result) -> tuple[int, ...]:
    """Return what a change of a file or of its attributes changes, but for other links to it."""
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_uid


class Later:
    """A directory that is opened once it exists, which in a dry run it never does."""

    def __init__(self, above: Folder, name: str) -> None:
        self._above = above
        self._name = name
        self._folder: Folder | None = None

    def folder(self, prefix: str) -> Folder:
        """Return the directory; without a descriptor while it does not exist."""
        if self._folder is None:
            path = self._above.inside(self._name)
            try:
                fd = changing.open_made(self._name, self._above.fd)
            except FileExistsError:
                raise changed(path) from None
            except OSError:
                return Folder(-1, path, prefix)
            self._folder = Folder(fd, path, prefix)
        return self._folder

    def close(self) -> None:
        """Close it."""
        if self._folder is not None:
            os.close(self._folder.fd)


def sync(fd: int, path: str, why: str) -> Step:
    """Return the step that writes the filesystem of an open directory to its disk."""
    words = (("sync", "-f", "--", path),)
    return Step(Verb.SYNC, path, why, lambda: changing.sync(fd), words)


def move(source: Folder, target: Folder, name: str) -> Step:
    """Return the step that renames a name from one directory to another."""

    def run() -> None:
        changing.rename(name, source.fd, name, target.fd)
        if layers.status(name, source.fd) is not None:  # two names of one file: both stay
            changing.unlink(name, source.fd)

    words = ("mv", "-T", "--", source.inside(name), target.inside(name))
    return source.step(Verb.MOVE, name, f"to {target.path}", run, words)


def unlink(folder: Folder, name: str, why: str) -> Step:
    """Return the step that removes a name that is not a directory; times do not matter."""
    path = folder.inside(name)
    return Step(Verb.REMOVE, path, why, lambda: changing.unlink(name, folder.fd),
                (("rm", "-f", "--", path),))  # fmt: skip

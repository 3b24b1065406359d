"""The state of carrying a plan out, and what every mount API needs for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from layerctl.errors import BugError
from layerctl.kernel import beneath, making
from layerctl.kernel.beneath import Identity
from layerctl.kernel.process import close
from layerctl.model import Role, Stack
from layerctl.mounting.plan import Plan, size
from layerctl.mounting.prepare import not_made
from layerctl.rules.limits import MAX_STRING

if TYPE_CHECKING:
    from layerctl.kernel.idmap import Mapped


class Run:
    """The state of carrying a plan out.

    Every directory is opened once, and what is `open` is what counts from then on. `checked` are
    those that were checked before, by their paths; `mapped` are those whose owners are mapped;
    `is_beneath` means that it was mounted beneath the mount that it replaces; `always` closes what
    was opened.
    """

    def __init__(
        self, plan: Plan, target: str, source: str, checked: Mapping[str, Identity]
    ) -> None:
        self.plan = plan
        self.target = target
        self.source = source
        self.checked = dict(checked)
        self.undo = contextlib.ExitStack()
        self.always = contextlib.ExitStack()
        self.open: dict[str, int] = {}
        self.mapped: Sequence[Mapped] = ()
        self.is_beneath = False
        self.mount_fd = -1
        self.stage = ""
        self.judged = False
        self.context_log: list[str] = []

    @property
    def descriptors(self) -> list[int]:
        """The descriptors of the placeholders in a plan's strings."""
        return [self.open[path] for path in self.plan.opened]

    def enter(self, path: str) -> int:
        """Open a directory for the rest of the run; return its descriptor.

        Raises what `beneath.open_directory` does, and RefusedError for another than was checked.
        """
        if path not in self.open:
            fd = beneath.open_directory(path)
            self.always.callback(close, fd)
            self._demand(path, fd)
            self.open[path] = fd
        return self.open[path]

    def look_again(self, paths: Iterable[str]) -> None:
        """Raise RefusedError if a path leads to another directory than the one that is open."""
        for path in paths:
            self.checked[path] = beneath.identity(self.open[path])
            fd = beneath.open_directory(path)
            try:
                self._demand(path, fd)
            finally:
                close(fd)

    def _demand(self, path: str, fd: int) -> None:
        if self.checked.get(path, beneath.identity(fd)) != beneath.identity(fd):
            raise beneath.replaced(path)


def create(
    path: str, stack: Stack, undo: contextlib.ExitStack, always: contextlib.ExitStack
) -> Identity:
    """Create a directory of a stack, or its target; return which it is. Raises RefusedError.

    A new upper directory gets the look of what it covers: it becomes the merged root's. `undo`
    removes what was created, `always` closes what was opened.
    """
    covered = next((layer for layer in stack.layers if layer.path != stack.upper), None)
    if path != stack.upper or covered is None:
        like, ids = None, None
    else:
        like, ids = covered.path, covered.map
        if stack.of_role(Role.UPPER)[0].map is not None:  # which shows what is on disk by a map too
            ids = None
    try:
        return making.make(path, undo, always, like=like, ids=ids, is_work=path == stack.work)
    except OSError as error:
        raise not_made(error.filename or path, error) from error


@contextlib.contextmanager
def judging(run: Run) -> Iterator[None]:
    """Record that a failure in here is the kernel's refusal of the mount as a whole."""
    run.judged = True
    yield
    run.judged = False


def uncut(data: str) -> str:
    """Return a string of options. Raises BugError if the kernel would truncate it."""
    if size(data) > MAX_STRING:
        raise BugError("bug", f"the kernel would truncate {size(data)} bytes of options")
    return data

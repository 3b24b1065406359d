"""A hidden directory on the filesystem of the upper layer, in which no name is part of the tree.

A tree that is dropped is moved there by one rename, and removed there; a copy is made there, and
moved to its place when it is whole. It is in the work directory, or beside the upper layer if that
has none. Nothing is removed in a directory that layerctl did not create: an attribute proves that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

from layerctl.errors import LayerctlError, RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.kernel import beneath, changing, layers, mounts, paths
from layerctl.kernel.facts import common
from layerctl.working.emptying import remove_tree
from layerctl.working.steps import Folder, Step, Verb

_NAME = "layerctl-aside"


class Aside:
    """The directory, created when it is needed. Raises RefusedError if something has its name."""

    def __init__(self, view: Opened, closing: ExitStack) -> None:
        self._closing = closing
        self._mark = f"{view.prefix}layerctl.aside"
        above, name = self._place(view)
        self._above = beneath.open_directory(above)
        closing.callback(os.close, self._above)
        if mounts.mount_id_of(self._above) != mounts.mount_id_of(view.resolver.roots[0]):
            raise _refused(above, "it is on another mount than the upper layer")
        self._name = name
        self.path = f"{above.rstrip('/')}/{name}"
        self._fd = -1
        self._names = 0
        if layers.status(name, self._above) is not None:
            self._open()

    @staticmethod
    def _place(view: Opened) -> tuple[str, str]:
        work = view.stack.work
        if work is not None and paths.is_directory(work):
            return work, _NAME
        above, name = os.path.split(view.layers[0].rstrip("/"))
        return above or "/", f"{name}.{_NAME}"

    def _open(self) -> None:
        try:
            fd = layers.open_dir(self._name, self._above)
        except OSError as error:
            raise _refused(self.path, error.strerror or str(error)) from None
        self._closing.callback(os.close, fd)
        if layers.attribute(self._mark, fd) is None:
            if os.listdir(fd) or os.fstat(fd).st_uid != common.caller().uid:
                raise _refused(self.path, "something that layerctl did not create has the name")
            changing.set_attribute(self._mark, b"y", fd)
        self._fd = fd
        numbers = [int(one) for one in os.listdir(fd) if one.isdecimal()]
        self._names = max(numbers, default=-1) + 1

    def folder(self) -> Folder:
        """Return the directory, without a descriptor while it does not exist."""
        return Folder(self._fd, self.path, "")

    def free(self) -> str:
        """Return a name that nothing has there."""
        self._names += 1
        return str(self._names - 1)

    def create(self) -> Iterator[Step]:
        """Yield the step that creates it if it does not exist."""

        def run() -> None:
            changing.mkdir(self._name, self._above)
            self._open()

        if self._fd < 0:
            yield Step(Verb.CREATE, self.path, "holds what is copied or dropped meanwhile", run,
                       (("mkdir", "--", self.path),))  # fmt: skip

    def entries(self) -> list[tuple[str, int]]:
        """Return what an interrupted run left there: names, and the directory."""
        return [(name, self._fd) for name in sorted(os.listdir(self._fd))] if self._fd >= 0 else []

    def remove(self) -> Iterator[Step]:
        """Yield the steps that remove it with all that it holds."""

        def run() -> None:
            folder = self.folder()
            for name, letter in sorted(layers.scan(folder.fd, layers.LETTER_OF).items()):
                if letter == "d":
                    for step in remove_tree(folder, name, ""):
                        step.run()
                else:
                    changing.unlink(name, folder.fd)
            changing.rmdir(self._name, self._above)

        yield Step(Verb.REMOVE, self.path, "with what was dropped", run,
                   (("rm", "-rf", "--", self.path),))  # fmt: skip

    @property
    def exists(self) -> bool:
        """Whether it exists."""
        return self._fd >= 0


def _refused(path: str, why: str) -> LayerctlError:
    return RefusedError(
        "no-aside",
        f"{path} cannot be used for what is dropped",
        why=why,
        hint="name the work directory of the overlay with -w",
    )

"""A hidden directory on the filesystem of the upper layer, in which no name is part of the tree.

A tree that is dropped is moved there by one rename, and removed there; a copy is made there, and
moved to its place when it is whole. It is in the work directory, or beside the upper layer if that
has none. Nothing is removed in a directory that layerctl did not create: an attribute proves that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from layerctl.errors import LayerctlError, RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.kernel import changing, layers, mounts, paths
from layerctl.kernel.facts import common
from layerctl.working.emptying import remove_tree
from layerctl.working.opening import open_layer
from layerctl.working.steps import Folder, Step, Verb, Words

NAME = "layerctl-aside"


class Aside:
    """The directory `name` in `above`, created when it is needed; `mark` is the attribute.

    `shown` means that the merged tree shows the directory `above`, so that its times are kept.
    Raises RefusedError if something else has its name.
    """

    def __init__(
        self, above: Folder, name: str, mark: str, closing: ExitStack, *, shown: bool = False
    ) -> None:
        self._closing = closing
        self._mark = mark
        self._folder = above
        self._shown = shown
        self._above = above.fd
        self._name = name
        self.path = above.inside(name)
        self._fd = -1
        self._marked = False
        self._names = 0
        if layers.status(name, self._above) is not None:
            self._open()

    def _open(self) -> None:
        try:
            fd = layers.open_dir(self._name, self._above)
        except OSError as error:
            raise _refused(self.path, error.strerror or str(error)) from None
        self._closing.callback(os.close, fd)
        self._marked = layers.attribute(self._mark, fd) is not None
        names = os.listdir(fd)
        if not self._marked and (names or os.fstat(fd).st_uid != common.caller().uid):
            raise _refused(self.path, "something that layerctl did not create has the name")
        self._fd = fd
        self._names = max((int(one) for one in names if one.isdecimal()), default=-1) + 1

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
            if self._fd < 0:
                changing.mkdir(self._name, self._above)
                self._open()
            changing.set_attribute(self._mark, b"y", self._fd)

        if not self._marked:
            words = ("mkdir", "--", self.path)
            yield self._step(Verb.CREATE, "holds what is copied or dropped meanwhile", run, words)

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

        yield self._step(Verb.REMOVE, "with what was dropped", run, ("rm", "-rf", "--", self.path))

    def _step(self, verb: Verb, why: str, run: Callable[[], None], words: Words) -> Step:
        if self._shown:
            return self._folder.step(verb, self._name, why, run, words)
        return Step(verb, self.path, why, run, (words,))

    @property
    def exists(self) -> bool:
        """Whether it exists."""
        return self._fd >= 0


def of_layers(view: Opened, closing: ExitStack) -> Aside:
    """Return the place for the upper layer of a stack. Raises RefusedError."""
    work = view.stack.work
    above, name = os.path.split(view.layers[0].rstrip("/"))
    name = f"{name}.{NAME}"
    if work is not None and paths.is_directory(work):
        above, name = work, NAME
    fd = open_layer(above or "/", closing)
    if mounts.mount_id_of(fd) != mounts.mount_id_of(view.resolver.roots[0]):
        raise _refused(above, "it is on another mount than the upper layer")
    return Aside(Folder(fd, above.rstrip("/"), ""), name, f"{view.prefix}layerctl.aside", closing)


def _refused(path: str, why: str) -> LayerctlError:
    return RefusedError(
        "no-aside",
        f"{path} cannot be used for what is dropped",
        why=why,
        hint="name the work directory of the overlay with -w",
    )

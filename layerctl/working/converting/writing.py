"""The steps that write one directory's markers in another form."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator

from layerctl.inspecting.resolvers.aufs import OPAQUE, PREFIX
from layerctl.kernel import changing
from layerctl.working.aufs.branch import WHITEOUT
from layerctl.working.converting.forms import BASE, Form
from layerctl.working.converting.reading import Marked, Task
from layerctl.working.steps import Folder, Step, Verb


class Writer:
    """Writes markers into the layer whose own directory is `root`: all of them into a fresh one."""

    def __init__(self, root: Folder, task: Task, *, has_base: bool, fresh: bool = False) -> None:
        self._root = root
        self._fresh = fresh
        self._task = task
        self._links = task.target.form is Form.AUFS
        self._has_base = has_base or not self._links

    def written(self, hidden: str) -> str:
        """Return the name of the whiteout that hides a name."""
        return hidden if self._task.target.form is Form.OVERLAY else PREFIX + hidden

    def keeps(self, attribute: str) -> bool:
        """Tell whether an attribute is that of an opaque directory in the target's form."""
        target = self._task.target
        return target.form is Form.OVERLAY and attribute == f"{target.prefix}opaque"

    def whiteouts(self, one: Marked, folder: Folder, *, covered: bool) -> Iterator[Step]:
        """Yield the steps that create the whiteouts which a directory has in another form.

        Below an opaque directory a whiteout hides nothing, and overlay would list it.
        """
        is_overlay = self._task.target.form is Form.OVERLAY
        for hidden, names in sorted(one.whiteouts.items()):
            name = self.written(hidden)
            is_there = name in names and not self._fresh
            if not is_there and not (covered and is_overlay):
                why = f"hides {hidden}"
                if is_overlay:
                    yield self._device(folder, name, why)
                else:
                    yield from self._file(folder, name, why)

    def opaque(self, one: Marked, folder: Folder) -> Iterator[Step]:
        """Yield the steps that make a directory opaque, if it is so in another form."""
        target = self._task.target
        if not one.is_opaque:
            return
        if target.form is not Form.OVERLAY:
            if self._fresh or OPAQUE not in one.opaque:
                yield from self._file(folder, OPAQUE, "the directory is opaque")
            return
        attribute = f"{target.prefix}opaque"
        if self._fresh or attribute not in one.opaque:
            yield Step(
                Verb.MARK, folder.path, attribute,
                lambda: changing.set_attribute(attribute, b"y", folder.fd),
                (("setfattr", "-n", attribute, "-v", "y", "--", folder.path),),
            )  # fmt: skip

    def _device(self, folder: Folder, name: str, why: str) -> Step:
        def run() -> None:
            changing.mknod(name, folder.fd, stat.S_IFCHR)

        words = ("mknod", "--", folder.inside(name), "c", "0", "0")
        return folder.step(Verb.CREATE, name, why, run, words)

    def _file(self, folder: Folder, name: str, why: str) -> Iterator[Step]:
        """Yield the steps that create an empty file: for aufs, as another name of its base."""
        path = folder.inside(name)
        if not self._links:
            yield self._empty(folder, name, why)
            return
        if not self._has_base:
            self._has_base = True
            yield self._empty(self._root, BASE, "aufs's whiteouts are links to it")

        def run() -> None:
            try:
                changing.link(BASE, self._root.fd, name, folder.fd)
            except OSError as error:
                if error.errno not in (errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP):
                    raise
                changing.mknod(name, folder.fd, WHITEOUT)

        words = ("ln", "-P", "-T", "--", self._root.inside(BASE), path)
        yield folder.step(Verb.CREATE, name, why, run, words)

    def _empty(self, folder: Folder, name: str, why: str) -> Step:
        path = folder.inside(name)

        def run() -> None:
            changing.mknod(name, folder.fd, WHITEOUT)

        words = ("install", "-m", "444", "-T", "--", "/dev/null", path)
        return folder.step(Verb.CREATE, name, why, run, words)

"""Convert a layer in place: each marker of the old form goes after the new one is there.

So at every step the layer says all that it said. Which conversion is under way is noted first, so
that another run can complete it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.kernel import changing, layers
from layerctl.working.converting.forms import BASE, Form
from layerctl.working.converting.reading import Marked, Task
from layerctl.working.converting.recognising import NOTES, UNFINISHED, words
from layerctl.working.converting.writing import Writer
from layerctl.working.emptying import remove_tree, unmark
from layerctl.working.steps import Folder, Step, Verb, bare_prefix

_OLD = "the other form's marker"


def steps(root: int, path: str, task: Task) -> Iterator[Step]:
    """Yield the steps that convert the layer that is open at `root`."""
    if task.source == task.target:
        return
    top = Folder(root, path, "")
    replacer = _Replacer(top, task)
    found = replacer.directory(top, "", covered=False)
    first = next(found, None)
    note = bare_prefix() + UNFINISHED
    if first is not None:
        if not task.resumed:
            yield _note(top, note, words(task))
        yield first
        yield from found
    if task.resumed:
        yield from (unmark(top, ".", one) for one in NOTES if layers.attribute(one, root))
    elif first is not None:
        yield unmark(top, ".", note)._replace(why="it is complete")


class _Replacer:
    def __init__(self, top: Folder, task: Task) -> None:
        self._task = task
        has_base = layers.status(BASE, top.fd) is not None
        self._writer = Writer(top, task, has_base=has_base)

    def directory(self, folder: Folder, path: str, *, covered: bool) -> Iterator[Step]:
        """Yield the steps for a directory with all that it holds.

        `covered` tells that it is below an opaque one.
        """
        one = Marked(folder.fd, path, self._task)
        covered = covered or one.is_opaque
        yield from self._writer.opaque(one, folder)
        yield from self._writer.whiteouts(one, folder, covered=covered)
        yield from self._old(one, folder, covered=covered)
        for name in sorted(one.entries):
            if one.entries[name] == "d":
                fd = layers.open_dir(name, folder.fd)
                try:
                    inner = Folder(fd, folder.inside(name), "")
                    yield from self.directory(inner, one.place(name), covered=covered)
                finally:
                    os.close(fd)
        yield from self._housekeeping(one, folder)
        yield from folder.restore()

    def _old(self, one: Marked, folder: Folder, *, covered: bool) -> Iterator[Step]:
        """Yield the steps that remove the markers of the other form."""
        dropped = covered and self._task.target.form is Form.OVERLAY and self._task.source.files
        gone = set()
        for hidden, names in sorted(one.whiteouts.items()):
            for name in names:
                if name != self._writer.written(hidden) or dropped or self._by_attribute(one, name):
                    yield from _remove(folder, name, _OLD)
                    gone.add(name)
        for name in sorted(one.own):
            for attribute in one.own[name]:
                kept = name == "." and one.is_opaque and self._writer.keeps(attribute)
                if name not in gone and not kept:
                    yield unmark(folder, name, attribute)
        for name in one.opaque:
            is_file = "/" not in name and name in one.names
            if is_file and (self._task.target.form is Form.OVERLAY or not one.is_opaque):
                yield from _remove(folder, name, _OLD)

    def _by_attribute(self, one: Marked, name: str) -> bool:
        return name in one.own and one.names[name] == "f"

    def _housekeeping(self, one: Marked, folder: Folder) -> Iterator[Step]:
        if self._task.target.form is Form.AUFS:
            return
        why = "aufs's own"
        for name in sorted(one.housekeeping):
            if one.names[name] != "d":
                yield from _remove(folder, name, why)
                continue
            fd = layers.open_dir(name, folder.fd)
            try:
                inner = Folder(fd, folder.inside(name), "")
                for below, letter in sorted(layers.scan(fd, layers.LETTER_OF).items()):
                    if letter == "d":
                        yield from remove_tree(inner, below, why)
                    else:
                        yield from _remove(inner, below, why)
            finally:
                os.close(fd)
            yield folder.rmdir(name, why)


def _remove(folder: Folder, name: str, why: str) -> Iterator[Step]:
    status = layers.status(name, folder.fd)
    if status is not None:
        yield folder.remove(name, status, why)


def _note(top: Folder, attribute: str, text: str) -> Step:
    words_ = ("setfattr", "-n", attribute, "-v", text, "--", top.path)
    return Step(
        Verb.MARK, top.path, "so that an interrupted run can be completed",
        lambda: changing.set_attribute(attribute, text.encode(), top.fd), (words_,),
    )  # fmt: skip

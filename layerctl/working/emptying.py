"""Remove trees of which the merged tree shows nothing, and take markers off."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from layerctl.kernel import changing, layers
from layerctl.working.sameness import is_marker
from layerctl.working.steps import STAMP, Folder, Step, Verb, unlink


def remove_tree(folder: Folder, name: str, why: str, known: int | None = None) -> Iterator[Step]:
    """Yield the steps that remove a directory with all that it holds, from the bottom up.

    `known` is the directory itself, open, if it has the name only once earlier steps are done.
    """
    fd = layers.open_dir(name, folder.fd) if known is None else os.dup(known)
    try:
        inner = Folder(fd, folder.inside(name), "")
        for one, letter in sorted(layers.scan(fd, layers.LETTER_OF).items()):
            if letter == "d":
                yield from remove_tree(inner, one, why)
            else:
                yield unlink(inner, one, why)
    finally:
        os.close(fd)
    yield remove_empty(folder, name, why)


def remove_empty(folder: Folder, name: str, why: str) -> Step:
    """Return the step that removes an empty directory, where the times around it do not matter."""
    path = folder.inside(name)
    return Step(Verb.REMOVE, path, why, lambda: changing.rmdir(name, folder.fd),
                (("rmdir", "--", path),))  # fmt: skip


def strip(folder: Folder, name: str, prefix: str, keep: Collection[str] = ()) -> Iterator[Step]:
    """Yield the steps that take overlay's own attributes off a name."""
    for attribute in layers.attribute_names(folder.fd, name):
        mark = attribute.removeprefix(prefix)
        if is_marker(attribute, prefix) and mark not in (*keep, STAMP):
            yield unmark(folder, name, attribute)


def unmark(folder: Folder, name: str, attribute: str) -> Step:
    """Return the step that removes an attribute of a name, or of the directory itself."""
    path = folder.path if name == "." else folder.inside(name)

    def run() -> None:
        if layers.attribute(attribute, folder.fd, name) is not None:  # as of another link
            changing.remove_attribute(attribute, folder.fd, name)

    return Step(Verb.UNMARK, path, attribute, run, (("setfattr", "-h", "-x", attribute, path),))

"""Remove trees of which the merged tree shows nothing, and take markers off."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from layerctl.kernel import changing, layers
from layerctl.working.sameness import is_marker
from layerctl.working.steps import STAMP, Folder, Step, Verb


def remove_tree(folder: Folder, name: str, why: str) -> Iterator[Step]:
    """Yield the steps that remove a directory with all that it holds, from the bottom up."""
    fd = layers.open_dir(name, folder.fd)
    try:
        inner = Folder(fd, folder.inside(name), "")
        for one, letter in sorted(layers.scan(fd, layers.LETTER_OF).items()):
            if letter == "d":
                yield from remove_tree(inner, one, why)
            else:
                yield _unlink(inner, one, why)
    finally:
        os.close(fd)
    path = folder.inside(name)
    yield Step(Verb.REMOVE, path, why, lambda: changing.rmdir(name, folder.fd),
               (("rmdir", "--", path),))  # fmt: skip


def _unlink(folder: Folder, name: str, why: str) -> Step:
    path = folder.inside(name)
    return Step(Verb.REMOVE, path, why, lambda: changing.unlink(name, folder.fd),
                (("rm", "-f", "--", path),))  # fmt: skip


def uncover(folder: Folder, prefix: str) -> Iterator[Step]:
    """Yield the steps that merge each opaque directory with the full copy below it.

    All of them before any name is removed: a second run then knows that the copies are whole.
    """
    for name, letter in sorted(layers.scan(folder.fd, layers.LETTER_OF).items()):
        if letter != "d":
            continue
        yield from strip(folder, name, prefix)
        fd = layers.open_dir(name, folder.fd)
        try:
            yield from uncover(Folder(fd, folder.inside(name), prefix), prefix)
        finally:
            os.close(fd)


def empty(folder: Folder, prefix: str) -> Iterator[Step]:
    """Yield the steps that empty a directory of which the lower layer has a full copy."""
    why = "it is in the lower layer"
    for name, letter in sorted(layers.scan(folder.fd, layers.LETTER_OF).items()):
        status = layers.status(name, folder.fd)
        if status is None:
            continue
        if letter != "d":
            yield folder.remove(name, status, why)
            continue
        fd = layers.open_dir(name, folder.fd)
        try:
            yield from empty(Folder(fd, folder.inside(name), prefix), prefix)
        finally:
            os.close(fd)
        yield folder.rmdir(name, why)


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

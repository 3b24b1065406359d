"""Empty a branch of which the next one has a full copy."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.inspecting.resolvers.aufs import OPAQUE
from layerctl.kernel import layers
from layerctl.working.aufs.branch import names_of
from layerctl.working.steps import Folder, Step

_COPIED = "it is in the next branch"


def uncover(folder: Folder) -> Iterator[Step]:
    """Yield the steps that merge each opaque directory with the full copy below it.

    All of them before any name is removed: another run then knows that the copies are whole.
    """
    for name, letter in names_of(folder.fd):
        if letter != "d":
            continue
        fd = layers.open_dir(name, folder.fd)
        try:
            inner = Folder(fd, folder.inside(name), "")
            status = layers.status(OPAQUE, fd)
            if status is not None:
                yield inner.remove(OPAQUE, status, _COPIED)
            yield from uncover(inner)
            yield from inner.restore()
        finally:
            os.close(fd)


def empty(folder: Folder) -> Iterator[Step]:
    """Yield the steps that remove all names but aufs's own, from the bottom up."""
    for name, letter in names_of(folder.fd):
        status = layers.status(name, folder.fd)
        if status is None:
            continue
        if letter != "d":
            yield folder.remove(name, status, _COPIED)
            continue
        fd = layers.open_dir(name, folder.fd)
        try:
            yield from empty(Folder(fd, folder.inside(name), ""))
        finally:
            os.close(fd)
        yield folder.rmdir(name, _COPIED)

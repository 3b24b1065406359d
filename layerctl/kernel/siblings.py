"""Directories near a layer that may be layers as well, as people and container engines keep them.

Those beside it (`upper1`, `upper2`), and those of its name beside its parent
(`overlay2/ID/diff`). Nothing else of a disk is searched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from layerctl.errors import LayerctlError
from layerctl.kernel import beneath, layers

#: How many names are looked at in one directory.
_MOST = 4096


def near(path: str) -> Iterator[tuple[str, int]]:
    """Yield the path of each and the directory, which is open meanwhile; not the layer itself.

    What cannot be opened is left out.
    """
    parent, name = os.path.split(path.rstrip("/"))
    own = layers.identity(path)
    for fd, place in _directories(parent):
        if beneath.identity(fd) != own:
            yield place, fd
    if parent == "/":
        return
    for fd, place in _directories(os.path.dirname(parent)):
        if place == parent:
            continue
        with suppress(OSError):
            below = layers.open_dir(name, fd)
            try:
                yield f"{place}/{name}", below
            finally:
                os.close(below)


def _directories(path: str) -> Iterator[tuple[int, str]]:
    """Yield the directories in one, open meanwhile, and their paths."""
    try:
        above = beneath.open_directory(path)
    except (OSError, LayerctlError):
        return
    try:
        for name in _names(above):
            with suppress(OSError):
                fd = layers.open_dir(name, above)
                try:
                    yield fd, f"{path.rstrip('/')}/{name}"
                finally:
                    os.close(fd)
    finally:
        os.close(above)


def _names(above: int) -> list[str]:
    try:
        here = layers.open_dir(".", above)
    except OSError:
        return []
    try:
        found = layers.scan(here, layers.LETTER_OF)
    except OSError:
        return []
    finally:
        os.close(here)
    return sorted(name for name, letter in found.items() if letter == "d")[:_MOST]

"""Unmounted upper layers that are based on a lower layer which is about to change.

A copy-up notes the file that it was made of (the origin), by a handle. So a directory near the
lower layer is based on it if it has a name with the handle of the file of that name there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from layerctl.kernel import beneath, handles, layers, siblings
from layerctl.model import Stack
from layerctl.rules.overlay import TRUSTED, USER

#: How many names of a directory near the layer are compared; copy-ups begin at the top.
_MOST = 2000


def based_on(stack: Stack, changed: Collection[int]) -> Iterator[tuple[str, str]]:
    """Yield each upper layer near a layer that is changed, and that layer: it is its lower one.

    Those of the stack itself are left out. What cannot be read is left out as well.
    """
    own = {layers.identity(layer.path) for layer in stack.layers}
    prefix = USER if "userxattr" in stack.options else TRUSTED
    for number in sorted(changed):
        path = stack.layers[number].path
        try:
            above = beneath.open_directory(path)
            root = layers.open_dir(".", above)
            os.close(above)
        except OSError:
            continue
        try:
            for place, fd in siblings.near(path):
                if beneath.identity(fd) not in own and _is_based(fd, root, f"{prefix}origin"):
                    yield place, path
        finally:
            os.close(root)


def _is_based(upper: int, root: int, attribute: str) -> bool:
    """Tell whether an upper directory, or something in it, was copied up from a lower layer."""
    left = _MOST
    try:
        if _same(upper, ".", root, attribute):
            return True
        for fd, path in layers.directories(upper, lambda _, __: None):
            names = sorted(layers.scan(fd, layers.LETTER_OF))
            marked = layers.with_attributes(fd, names[:left], (attribute,), lambda _, __: None)
            if marked and _any_same(fd, marked, root, path, attribute):
                return True
            left -= len(names)
            if left <= 0:
                break
    except OSError:
        return False
    return False


def _any_same(fd: int, names: Collection[str], root: int, path: str, attribute: str) -> bool:
    try:
        below = layers.open_path(path, root)
    except OSError:
        return False
    try:
        return any(_same(fd, name, below, attribute) for name in names)
    finally:
        os.close(below)


def _same(fd: int, name: str, below: int, attribute: str) -> bool:
    """Tell whether a name was copied up from the one in an open lower directory."""
    origin = handles.remembered(attribute, fd, name)
    if origin is None:
        return False
    own = handles.of(below, "" if name == "." else name)
    return own is not None and (origin.type, origin.handle) == (own.type, own.handle)

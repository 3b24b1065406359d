"""Marks in the layers of a live mount that its options do not heed. Reads only."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import NamedTuple

from layerctl.kernel import layers
from layerctl.model import Role, Stack
from layerctl.rules import aufs

#: So many names of a layer are looked at for marks.
MOST_NAMES = 2000


#: So many names are looked at for whiteouts of aufs: in one layer, and in all of them.
_MOST_OF_A_LAYER, _MOST_OF_ALL = 10_000, 100_000
_AUFS_PREFIX = ".wh."


class Marks(NamedTuple):
    """Marks that have no effect: (layer, an example); whether the looking stopped early.

    `foreign` are whiteouts of aufs in an overlay's layers, in the same shape.
    """

    without_effect: tuple[tuple[str, str], ...] = ()
    looked_at: int = 0
    stopped: bool = False
    foreign: tuple[tuple[str, str], ...] = ()


def marks(stack: Stack, fstype: str) -> Marks:
    """Return the marks in a stack's layers that its options do not heed."""
    if fstype == "aufs":
        return _aufs_marks(stack)
    return _overlay_marks(stack)._replace(foreign=foreign(stack))


def foreign(stack: Stack) -> tuple[tuple[str, str], ...]:
    """Return the layers of an overlay that hold names of aufs's whiteouts, each with the first.

    The names nearest to the root are looked at, up to a limit.
    """
    found = []
    left = _MOST_OF_ALL
    for layer in stack.layers:
        example, looked = _first_foreign(layer.path, min(left, _MOST_OF_A_LAYER))
        left -= looked
        if example is not None:
            found.append((layer.path, example))
    return tuple(found)


def _first_foreign(root: str, most: int) -> tuple[str | None, int]:
    """Return the first name below `root` that aufs would heed, and how many were looked at."""
    try:
        here = layers.open_root(root)
    except OSError:
        return None, 0
    looked = 0
    try:
        waiting = deque([""])
        while waiting and looked < most:
            path = waiting.popleft()
            found = _names(path, here)
            looked += len(found)
            for name, letter in sorted(found.items()):
                if name.startswith(_AUFS_PREFIX):
                    return f"{path}/{name}", looked
                if letter == "d":
                    waiting.append(f"{path}/{name}")
        return None, looked
    finally:
        os.close(here)


def _names(path: str, root_fd: int) -> dict[str, str]:
    """Return the names of a directory with the letters of their types, none if it is closed."""
    try:
        fd = layers.open_path(path, root_fd)
        try:
            return layers.scan(fd, layers.LETTER_OF)
        finally:
            os.close(fd)
    except OSError:
        return {}


def _overlay_marks(stack: Stack) -> Marks:
    if stack.upper is None:
        return Marks()
    wrong = "trusted.overlay." if "userxattr" in stack.options else "user.overlay."
    try:
        root = layers.open_root(stack.upper)
    except OSError:
        return Marks()
    looked = 0
    waiting = deque([""])
    try:
        while waiting:
            directory = waiting.popleft()
            for name, letter in _names(directory, root).items():
                looked += 1
                if looked > MOST_NAMES:
                    return Marks((), looked - 1, stopped=True)
                if letter == "d":
                    waiting.append(f"{directory}/{name}")
                path = f"{stack.upper}{directory}/{name}"
                with contextlib.suppress(OSError):
                    for attribute in os.listxattr(path, follow_symlinks=False):
                        if attribute.startswith(wrong):
                            return Marks(((stack.upper, f"{path} has {attribute}"),), looked)
    finally:
        os.close(root)
    return Marks((), looked)


def _aufs_marks(stack: Stack) -> Marks:
    """Return whiteouts at the root of branches that do not honour them."""
    found = []
    for layer in aufs.with_permissions(stack).layers:
        if layer.role is not Role.BRANCH or aufs.honours_whiteouts(layer.permission or ""):
            continue
        with contextlib.suppress(OSError):
            names = [n for n in layers.names(layer.path) if n.startswith(".wh.") and n[4:5] != "."]
            if names:
                found.append((layer.path, f"{sorted(names)[0]} on a branch without +wh"))
    return Marks(tuple(found), 0)

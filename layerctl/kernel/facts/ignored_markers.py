"""Markers in layers that the mount ignores, because of its type or options. Reads only."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import NamedTuple

from layerctl.kernel import layers
from layerctl.model import Role, Stack
from layerctl.rules import aufs

#: How many names of the upper layer are looked at for attributes.
MOST_NAMES = 2000
#: How many names are looked at for whiteouts of aufs: in one layer, and in all of them.
_MOST_OF_A_LAYER, _MOST_OF_ALL = 10_000, 100_000
_AUFS_PREFIX = ".wh."


class IgnoredMarkers(NamedTuple):
    """Markers that have no effect: (layer, an example); whether the search stopped early.

    `foreign` are whiteouts of aufs in an overlay's layers, in the same shape.
    """

    without_effect: tuple[tuple[str, str], ...] = ()
    looked_at: int = 0
    stopped: bool = False
    foreign: tuple[tuple[str, str], ...] = ()


def find(stack: Stack) -> IgnoredMarkers:
    """Return the markers in a stack's layers that have no effect in it."""
    if stack.fstype == "aufs":
        return _of_aufs(stack)
    return _of_overlay(stack)._replace(foreign=foreign(stack))


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
    """Return the first whiteout of aufs below `root`, and how many names were looked at."""
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
    """Return the names of a directory with the letters of their types, none if unreadable."""
    try:
        fd = layers.open_path(path, root_fd)
        try:
            return layers.scan(fd, layers.LETTER_OF)
        finally:
            os.close(fd)
    except OSError:
        return {}


def _of_overlay(stack: Stack) -> IgnoredMarkers:
    if stack.upper is None:
        return IgnoredMarkers()
    wrong = "trusted.overlay." if "userxattr" in stack.options else "user.overlay."
    try:
        root = layers.open_root(stack.upper)
    except OSError:
        return IgnoredMarkers()
    looked = 0
    waiting = deque([""])
    try:
        while waiting:
            directory = waiting.popleft()
            for name, letter in _names(directory, root).items():
                looked += 1
                if looked > MOST_NAMES:
                    return IgnoredMarkers((), looked - 1, stopped=True)
                if letter == "d":
                    waiting.append(f"{directory}/{name}")
                path = f"{stack.upper}{directory}/{name}"
                with contextlib.suppress(OSError):
                    for attribute in os.listxattr(path, follow_symlinks=False):
                        if attribute.startswith(wrong):
                            return IgnoredMarkers(
                                ((stack.upper, f"{path} has {attribute}"),), looked
                            )
    finally:
        os.close(root)
    return IgnoredMarkers((), looked)


def _of_aufs(stack: Stack) -> IgnoredMarkers:
    """Return whiteouts at the root of branches that do not honour them."""
    found = []
    for layer in aufs.with_permissions(stack).layers:
        if layer.role is not Role.BRANCH or aufs.honours_whiteouts(layer.permission or ""):
            continue
        with contextlib.suppress(OSError):
            names = [n for n in layers.names(layer.path) if n.startswith(".wh.") and n[4:5] != "."]
            if names:
                found.append((layer.path, f"{sorted(names)[0]} on a branch without +wh"))
    return IgnoredMarkers(tuple(found), 0)

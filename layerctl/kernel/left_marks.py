"""Marks in the layers of a live mount that its options do not heed. Reads only."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from layerctl.model import Role, Stack
from layerctl.rules import aufs

#: So many names of a layer are looked at for marks.
MOST_NAMES = 2000


class Marks(NamedTuple):
    """Marks that have no effect: (layer, an example); whether the looking stopped early."""

    without_effect: tuple[tuple[str, str], ...] = ()
    looked_at: int = 0
    stopped: bool = False


def marks(stack: Stack, fstype: str) -> Marks:
    """Return the marks in a stack's layers that its options do not heed."""
    if fstype == "aufs":
        return _aufs_marks(stack)
    if stack.upper is None:
        return Marks()
    wrong = "trusted.overlay." if "userxattr" in stack.options else "user.overlay."
    looked = 0
    for directory, folders, files in os.walk(stack.upper):
        for name in (*folders, *files):
            looked += 1
            if looked > MOST_NAMES:
                return Marks((), looked - 1, stopped=True)
            path = os.path.join(directory, name)
            with contextlib.suppress(OSError):
                for attribute in os.listxattr(path, follow_symlinks=False):
                    if attribute.startswith(wrong):
                        return Marks(((stack.upper, f"{path} has {attribute}"),), looked)
    return Marks((), looked)


def _aufs_marks(stack: Stack) -> Marks:
    """Return whiteouts at the root of branches that do not honour them."""
    found = []
    for layer in aufs.with_permissions(stack).layers:
        if layer.role is not Role.BRANCH or aufs.honours_whiteouts(layer.permission or ""):
            continue
        with contextlib.suppress(OSError):
            names = [n for n in os.listdir(layer.path) if n.startswith(".wh.") and n[4:5] != "."]
            if names:
                found.append((layer.path, f"{sorted(names)[0]} on a branch without +wh"))
    return Marks(tuple(found), 0)

"""File handles that overlay compares where it keeps an index: facts about one plan."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from layerctl.codecs import handles
from layerctl.kernel import syscalls
from layerctl.model import Role, Stack
from layerctl.rules.overlay import TRUSTED, USER


class Handles(NamedTuple):
    """File handles for overlay's index: the recorded ones, and those of the existing directories.

    Each is (type, handle). `origin` is what the upper root remembers of the first lower layer,
    `index_upper` what the index remembers of the upper root; None where they remember nothing.
    """

    origin: tuple[int, bytes] | None
    lower: tuple[int, bytes] | None
    index_upper: tuple[int, bytes] | None
    upper: tuple[int, bytes] | None


def gather(stack: Stack) -> Handles | None:
    """Return the file handles that an index compares, None if there are none to compare."""
    lowers = [layer.path for layer in stack.layers if layer.role is Role.LOWER]
    if stack.upper is None or not lowers:
        return None
    prefix = USER if "userxattr" in stack.options else TRUSTED
    return Handles(
        remembered(stack.upper, f"{prefix}origin"),
        _handle(lowers[0]),
        None if stack.work is None else remembered(f"{stack.work}/index", f"{prefix}upper"),
        _handle(stack.upper),
    )


def _handle(path: str) -> tuple[int, bytes] | None:
    try:
        return syscalls.name_to_handle_at(path)
    except OSError:
        return None


def remembered(path: str, name: str) -> tuple[int, bytes] | None:
    """Return the file handle in an attribute of overlay, None if there is none."""
    try:
        found = handles.parse(os.getxattr(path, name), big_endian=sys.byteorder == "big")
    except OSError:
        return None
    return None if found is None else (found.type, found.handle)

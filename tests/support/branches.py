"""What an aufs of some branches shows, as layerctl's resolver has it, in everything."""

from __future__ import annotations

import os
import stat

from layerctl.inspecting.opening import Opened, opened
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.model import Stack
from tests.support.trees import Shown, look_at


def resolved(stack: Stack) -> dict[str, Shown]:
    """Return each name of the merged tree, with all that its file has; an error where it is one."""
    with opened(stack) as view:
        root = view.resolver.root()
        found = {"": _without_notes(look_at(view.layers[0]))}
        inodes: dict[tuple[int, int, int], set[str]] = {}
        try:
            _down(view, root, found, inodes)
        finally:
            root.close()
    for group in inodes.values():
        for name in group:
            found[name].names = frozenset(group if len(group) > 1 else ())
    return found


def _down(
    view: Opened,
    directory: MergedDir,
    found: dict[str, Shown],
    inodes: dict[tuple[int, int, int], set[str]],
) -> None:
    for name, _ in view.resolver.read(directory):
        path = directory.child_path(name)
        looked = view.resolver.lookup(directory, name)
        try:
            if looked.error or not looked.parts:
                found[path] = Shown(error=looked.error or 2)
                continue
            part = looked.parts[0]
            place = f"{view.layers[part.layer]}/{part.path}"
            found[path] = _without_notes(look_at(place))
            status = os.lstat(place)
            if stat.S_ISDIR(status.st_mode):
                _down(view, view.resolver.directory(directory, name, looked), found, inodes)
            elif status.st_nlink > 1:
                key = part.layer, status.st_dev, status.st_ino
                inodes.setdefault(key, set()).add(path)
        finally:
            looked.close()


def _without_notes(one: Shown) -> Shown:
    """Leave out layerctl's own attributes, which a stopped run leaves."""
    one.attributes = tuple(pair for pair in one.attributes if "layerctl" not in pair[0])
    return one

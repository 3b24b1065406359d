"""What an aufs of some branches shows, as layerctl's resolver has it, in everything."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat

from layerctl.inspecting.opening import Opened, opened
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.model import Stack
from tests.support.aufs_stacks import build_aufs
from tests.support.stacks import Case
from tests.support.trees import Shown, look_at
from tests.support.working import enrich


def build_branches(seed: int, where: str, *, links: int = 2) -> Case:
    """Build random branches that show no error, with copies of lower files in the topmost.

    The whiteouts of the next branch count, mostly; `links` files have two names.
    """
    rng = random.Random(seed)
    while True:
        case = build_aufs(rng, where)
        above, *below = case.stack.layers
        if below:
            if rng.random() < 0.8:
                below[0] = below[0]._replace(permission="ro+wh")
            case.stack = case.stack._replace(layers=(above, *below))
            words = ":".join(f"{layer.path}={layer.permission}" for layer in case.stack.layers)
            case.data = f"br={words},noxino"
            enrich(rng, case, links=links)
            if not any(one.error == errno.EIO for one in resolved(case.stack).values()):
                return case
        shutil.rmtree(where)


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

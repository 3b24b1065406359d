"""Faults of the branches of an aufs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import META, OPAQUE, PREFIX, is_whiteout
from layerctl.kernel import layers
from layerctl.rules.aufs import honours_whiteouts, is_writable
from layerctl.working.check.fault import Fault, Mending, remove
from layerctl.working.check.mending import Mender
from layerctl.working.steps import STAMP, bare_prefix

#: aufs's own names in the root of a branch.
_OWN = frozenset({".wh..wh.aufs", ".wh..wh.plnk", ".wh..wh.orph"})
_OWN_STARTS = (".wh..wh.dr.", ".wh..wh..dr.", ".wh..wh.hino", ".wh..wh..tmp")


def check(view: Opened) -> Iterator[Fault]:
    """Yield the faults of each branch, topmost first."""
    for number, layer in enumerate(view.stack.layers):
        permission = layer.permission or ""
        honours = honours_whiteouts(permission)
        root = view.resolver.roots[number]

        def unread(path: str, error: OSError, number: int = number) -> None:
            view.resolver.reasons.add(number, path, error)

        for fd, path in layers.directories(root, unread):
            if not os.path.basename(path).startswith(META):
                found = layers.scan(fd, layers.LETTER_OF)
                yield from _folder(number, path, found, honours=honours)
                yield from _unfinished(number, path, fd)
        if is_writable(permission):
            yield from _left(number, root)


def _folder(number: int, path: str, names: dict[str, str], *, honours: bool) -> Iterator[Fault]:
    for name in sorted(names):
        place = f"{path}/{name}" if path else name
        if is_whiteout(name):
            yield from _whiteout(number, place, name, names, honours=honours)
        elif name.startswith(META) and name != OPAQUE:
            is_own = not path and (name in _OWN or name.startswith(_OWN_STARTS))
            if not is_own:
                yield Fault("aufs-unknown-name", number, place, f"'{name}'")
        elif name == OPAQUE and names[name] != "f":
            yield Fault("aufs-unknown-name", number, place, f"'{name}' is not a regular file")


def _unfinished(number: int, path: str, fd: int) -> Iterator[Fault]:
    """Yield a directory whose times an interrupted run has kept."""
    if layers.attribute(bare_prefix() + STAMP, fd) is not None:
        seen = "the times that the directory had are kept in an attribute"
        mend = partial(Mender.restore, layer=number, path=path)
        yield Fault("work-unfinished", number, path, seen, Mending.SAFE, mend)


def _whiteout(
    number: int, place: str, name: str, names: dict[str, str], *, honours: bool
) -> Iterator[Fault]:
    hidden = name[len(PREFIX) :]
    if not honours:
        seen = "its branch is read-only without +wh"
        yield Fault("aufs-whiteout-ignored", number, place, seen)
    elif hidden in names:
        seen = f"'{hidden}' and its whiteout are on one branch"
        mend = remove(number, place)
        yield Fault("aufs-name-and-whiteout", number, place, seen, Mending.ASK, mend)


def _left(number: int, root: int) -> Iterator[Fault]:
    """Yield the pseudo-links and orphans that no mount has cleared away."""
    for directory, cause, mending in (
        (".wh..wh.plnk", "aufs-pseudo-link-left", Mending.ASK),
        (".wh..wh.orph", "aufs-orphan-left", Mending.SAFE),
    ):
        try:
            fd = layers.open_dir(directory, root)
        except OSError:
            continue
        try:
            for name in sorted(layers.scan(fd, layers.LETTER_OF)):
                place = f"{directory}/{name}"
                yield Fault(cause, number, place, "left behind", mending, remove(number, place))
        finally:
            os.close(fd)

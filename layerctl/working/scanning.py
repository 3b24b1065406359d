"""What of a layer cannot be merged down, and how much room it needs elsewhere."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.diagnosing.commands import layer_words
from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.tree import Part
from layerctl.kernel import changing, layers
from layerctl.working import lower

#: Marks that mean something else, or nothing, in another layer.
_BOUND = ("protattr",)


def demand_free(overlay: Overlay) -> None:
    """Raise RefusedError where the upper layer refers to files of the lower ones themselves."""
    if overlay.settings.verify:
        raise indexed("nfs_export=on checks each directory against the lower one")
    if overlay.origins is not None and overlay.origins.names:
        raise indexed("the index links names of lower files to the upper layer")


def demand_movable(view: Opened, overlay: Overlay, top: int, *, same: bool) -> None:
    """Raise RefusedError where the layer `top` holds what cannot be merged down as it is.

    It is the first of `overlay`; `same` tells that the next one is on the same filesystem.
    """
    for path, error in overlay.marks.unread:
        raise RefusedError(
            "layer-part-unreadable",
            f"{view.layers[top]}/{path} cannot be read: {error.strerror}",
            why="what is not known cannot be merged",
            hint="run the command as root",
        )
    for mark in _BOUND:
        if mark in overlay.marks.first:
            what = f"it has the attribute {overlay.settings.prefix}{mark}"
            raise _bound(view, f"{view.layers[top]}/{overlay.marks.first[mark]}", what)
    for one in _obstacles(overlay, same=same):
        path = f"{view.layers[top + one.layer]}/{one.path}".rstrip("/")
        if one.denied:
            raise _bound(view, path, f"a lookup fails: {one.denied}")
        raise RefusedError(
            "layer-not-movable",
            f"{path} is immutable or append-only",
            why="it cannot be renamed, replaced or removed",
            hint="remove the flag until the layers are merged",
            commands=(shlex.join(("chattr", "-ia", path)),),
        )


def _bound(view: Opened, path: str, what: str) -> RefusedError:
    return RefusedError(
        "layer-not-movable",
        f"{path}: {what}",
        why="it would mean something else in another layer, or cannot be looked up",
        hint="see whether a repair mends it, else copy the files out through a mount",
        commands=(shlex.join(("layerctl", "check", *layer_words(view.stack))),),
    )


#: Why an index cannot be followed where files are read layer by layer.
SEVERAL_LAYERS = "names of one file may be in several layers"


def indexed(why: str) -> RefusedError:
    """Return the error for an upper layer whose index a command cannot follow."""
    return RefusedError(
        "layer-indexed",
        "the upper layer has an index that depends on the lower layer",
        why=why,
        hint="copy the files out through a mount with index=off",
    )


class _Obstacle(NamedTuple):
    """What cannot be moved or replaced, in the first layer (0) or the second.

    `denied` is why the kernel denies a lookup of it, empty if chattr(1) has fixed it in its place.
    """

    layer: int
    path: str
    denied: str = ""


def _obstacles(overlay: Overlay, *, same: bool) -> Iterator[_Obstacle]:
    """Yield them. A directory without markers that is moved as a whole may hold what is fixed."""
    waiting = [overlay.root()]
    while waiting:
        directory = waiting.pop()
        overlay.reopen(directory)
        try:
            whole = same and bool(directory.path) and lower.is_moved(directory)
            plain = not overlay.marks.in_tree(directory.path)
            if whole and plain and directory.parts[-1].layer < 2 and not overlay.traps:
                continue
            names = layers.scan(directory.parts[0].fd, layers.LETTER_OF)
            if not (whole and plain):
                yield from _fixed(directory.parts[0], names)
            below = [] if whole else [part for part in directory.parts if part.layer == 1]
            there = lower.letters(below[0], names) if below else {}
            for part in below:
                yield from _fixed_there(part, names, there)
            for name, letter in names.items():
                if letter != "d":
                    continue
                found = overlay.lookup(directory, name)
                if found.error or found.letter != "d" or found.parts[0].layer:
                    found.close()
                    why = found.refused or "it does not find the directory"
                    yield _Obstacle(0, directory.child_path(name), why)
                    continue
                child = overlay.directory(directory, name, found)
                if there.get(name) == "d" and all(part.layer != 1 for part in child.parts):
                    yield from _fixed_below(below[0], name)
                child.close()
                waiting.append(child)
        finally:
            directory.close()


def _fixed(part: Part, names: dict[str, str]) -> Iterator[_Obstacle]:
    """Yield what is fixed of some names in a directory."""
    for name, letter in names.items():
        if letter in "df" and changing.flags(part.fd, name) & changing.LOCKED:
            yield _Obstacle(part.layer, f"{part.path}/{name}".lstrip("/"))


def _fixed_there(part: Part, names: dict[str, str], there: dict[str, str]) -> Iterator[_Obstacle]:
    """Yield what is fixed of what the second layer has in the place of names of the first."""
    if changing.flags_of(part.fd) & changing.LOCKED:
        yield _Obstacle(part.layer, part.path)
    replaced = {name: letter for name, letter in there.items() if name in names}
    yield from _fixed(part, replaced)
    for name, letter in replaced.items():
        if letter == "d" and names[name] != "d":
            yield from _fixed_below(part, name)


def _fixed_below(part: Part, name: str) -> Iterator[_Obstacle]:
    """Yield what is fixed in a directory that is removed with all that it holds."""
    fd = layers.open_dir(name, part.fd)
    try:
        for inner, path, names in layers.listed(fd, lambda _, __: None):
            place = f"{part.path}/{name}/{path}".strip("/")
            yield from _fixed(Part(part.layer, inner, place), names)
    finally:
        os.close(fd)


def demand_copiable(view: Opened, overlay: Overlay, top: int) -> None:
    """Raise RefusedError where there is no room for the layer `top` in the next one."""
    blocks = count = 0
    for fd, _ in layers.directories(overlay.roots[0], lambda _, __: None):
        for name in layers.scan(fd, layers.LETTER_OF):
            status = layers.status(name, fd)
            if status is not None:
                blocks += status.st_blocks * 512
                count += 1
    demand_room(overlay.roots[1], view.layers[top + 1], blocks, count)


def demand_room(fd: int, path: str, size: int, count: int) -> None:
    """Raise RefusedError where an open directory has no room for so many bytes and files."""
    room = os.statvfs(fd)
    if size > room.f_bavail * room.f_frsize or (room.f_files and count > room.f_favail):
        raise RefusedError(
            "no-room",
            f"{path} has no room for {size:,} bytes in {count:,} files",
            why="everything is copied before the originals are removed",
            hint="free some room there; layerctl trim may make the upper layer smaller",
        )

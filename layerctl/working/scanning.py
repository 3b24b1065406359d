"""What of a layer cannot be merged down, and how much room it needs elsewhere."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from itertools import chain

from layerctl.diagnosing.commands import layer_words
from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import changing, layers
from layerctl.working import lower

#: Marks that mean something else, or nothing, in another layer.
_BOUND = ("protattr",)


def demand_free(overlay: Overlay) -> None:
    """Raise RefusedError where the upper layer refers to files of the lower ones themselves."""
    if overlay.settings.verify:
        raise _indexed("nfs_export=on checks each directory against the lower one")
    if overlay.origins is not None and overlay.origins.names:
        raise _indexed("the index links names of lower files to the upper layer")


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
    for path, what in chain(_bound(overlay), _fixed(overlay, same=same)):
        raise RefusedError(
            "layer-not-movable",
            f"{view.layers[top]}/{path}: {what}",
            why="it would mean something else in another layer, or cannot be renamed",
            hint="see whether a repair mends it, else copy the files out through a mount",
            commands=(shlex.join(("layerctl", "check", *layer_words(view.stack))),),
        )


def _indexed(why: str) -> RefusedError:
    return RefusedError(
        "layer-indexed",
        "the upper layer has an index that depends on the lower layer",
        why=why,
        hint="copy the files out through a mount with index=off",
    )


def _bound(overlay: Overlay) -> Iterator[tuple[str, str]]:
    for mark in _BOUND:
        if mark in overlay.marks.first:
            yield overlay.marks.first[mark], f"it has the attribute {overlay.settings.prefix}{mark}"


def _fixed(overlay: Overlay, *, same: bool) -> Iterator[tuple[str, str]]:
    """Yield what the kernel denies a lookup of, and what chattr(1) has fixed in its place.

    A directory without markers that is moved as a whole may hold what is fixed.
    """
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
                yield from _locked(directory, names)
            for name, letter in names.items():
                if letter != "d":
                    continue
                found = overlay.lookup(directory, name)
                if found.error or found.letter != "d" or found.parts[0].layer:
                    found.close()
                    yield directory.child_path(name), f"a lookup fails: {found.refused}"
                    continue
                child = overlay.directory(directory, name, found)
                child.close()
                waiting.append(child)
        finally:
            directory.close()


def _locked(directory: MergedDir, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what is immutable or append-only: it cannot be renamed, changed or removed."""
    fd = directory.parts[0].fd
    for name, letter in names.items():
        if letter in "df" and changing.flags(fd, name) & changing.LOCKED:
            yield directory.child_path(name), "it is immutable or append-only"


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

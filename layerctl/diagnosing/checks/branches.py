"""Checks of aufs: its branches, their permissions and its xino file."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.diagnosing.checks.layers import command
from layerctl.diagnosing.checks.overlap import Relation, relation, without
from layerctl.diagnosing.checks.storage import is_read_only
from layerctl.diagnosing.clue import Clue
from layerctl.kernel.facts import Directory, Facts
from layerctl.model import Layer, Stack
from layerctl.rules import aufs
from layerctl.rules.filesystems import NO_HARD_LINKS


def _branches(stack: Stack, facts: Facts) -> list[tuple[Layer, Directory]]:
    """Return every existing branch, with explicit permission."""
    types = {path: place.fstype or "" for path, place in facts.directories.items()}
    spelled = aufs.with_permissions(stack, types)
    return [(layer, facts.of(layer.path)) for layer in spelled.layers]


def filesystems(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Every branch is on a filesystem that aufs supports (au_test_fs_unsuppoted)."""
    for layer, place in _branches(stack, facts):
        if place.fstype in aufs.UNSUPPORTED_BRANCH:
            target = "?" if place.mount is None else place.mount.target
            seen = f"branch {layer.path} is on {target} ({place.fstype})"
            yield Clue("aufs-branch-fs-unsupported", (seen,), {"path": layer.path})


def duplicated(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No branch is the same as another or inside one (test_dup, test_overlap in branch.c)."""
    found = _branches(stack, facts)
    for index, (layer, place) in enumerate(found):
        for other_layer, other in found[:index]:
            how = relation(place, other)
            back = relation(other, place)
            better = without(stack, index, facts)
            if how is Relation.SAME:
                seen = f"branch {layer.path} is the same directory as branch {other_layer.path}"
                yield Clue("aufs-branch-duplicated", (seen,), better)
            elif how or back:
                inner, outer = (layer, other_layer) if how else (other_layer, layer)
                seen = f"branch {inner.path} is inside branch {outer.path}"
                yield Clue("aufs-branch-overlapping", (seen,), {"path": inner.path, **better})


def _with(stack: Stack, path: str, permission: str, *options: str) -> Stack:
    layers = tuple(
        layer._replace(permission=permission) if layer.path == path else layer
        for layer in stack.layers
    )
    return stack._replace(layers=layers, options={**stack.options, **dict.fromkeys(options, None)})


def read_only(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Every rw branch is on a writable filesystem (test_br in branch.c)."""
    for layer, place in _branches(stack, facts):
        if aufs.is_writable(layer.permission or "") and is_read_only(place):
            better = _with(stack, layer.path, "ro")
            yield Clue(
                "aufs-branch-readonly-fs",
                (f"branch {layer.path} is {layer.permission}, on a read-only {place.fstype}",),
                {"path": layer.path, "command": command(better, facts)},
            )


def linkable(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Every writable branch supports hard links, or has +nolwh (test_linkable)."""
    for layer, place in _branches(stack, facts):
        permission = layer.permission or ""
        if (
            aufs.is_writable(permission)
            and "nolwh" not in permission.split("+")
            and place.fstype in NO_HARD_LINKS
        ):
            better = _with(stack, layer.path, f"{permission}+nolwh", "noplink")
            yield Clue(
                "aufs-branch-no-hard-links",
                (f"branch {layer.path} is {permission}, on {place.fstype}",),
                {"path": layer.path, "command": command(better, facts)},
            )


def writable(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The first branch is rw, unless the mount is read-only (au_opts_verify)."""
    found = _branches(stack, facts)
    if found and not aufs.is_writable(found[0][0].permission or ""):
        first = found[0][0]
        better = _with(stack, first.path, "rw")
        yield Clue(
            "aufs-no-writable-branch",
            (f"the first branch {first.path} is {first.permission}",),
            {"command": command(better, facts)},
        )


def whiteouts_shown(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Whiteouts are shown only on read-only mounts (au_opts_verify)."""
    if not stack.read_only:
        better = stack._replace(flags=(*stack.flags, "ro"))
        yield Clue("aufs-shwh-writable", ("shwh without ro",), {"command": command(better, facts)})


def _holds(place: Directory | None) -> bool | None:
    """Tell whether an xino file can be in a directory; None if that is unknown."""
    if place is None or place.mount is None:
        return None
    has_device = not place.mount.device.startswith("0:")
    return aufs.can_hold_xino(place.mount.fstype, has_device=has_device)


def xino(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The xino file is on a filesystem that can hold it (au_xino_def, au_xino_create)."""
    if "noxino" in stack.options or not stack.layers:
        return
    named = stack.options.get("xino")
    if named:
        path, place = named, facts.place(os.path.dirname(named))
        holds = _holds(place)
    else:
        fallback = _holds(facts.place(os.path.dirname(aufs.XINO_FALLBACK)))
        marked = [
            (layer, _holds(place) is not False and not is_read_only(place))
            for layer, place in _branches(stack, facts)
        ]
        path, holds = aufs.default_xino(marked, fallback_holds=fallback is not False)
        place = facts.place(os.path.dirname(path))
    if place is not None and place.error is not None:
        if named:
            seen = f"xino {path}: {os.strerror(place.error)}"
            yield Clue("aufs-xino-directory-missing", (seen,), {"path": os.path.dirname(path)})
        return
    better = stack._replace(
        options={
            **{name: value for name, value in stack.options.items() if name != "xino"},
            "xino": f"/dev/shm/aufs-{os.path.basename(stack.layers[0].path)}.xino",  # noqa: S108 - a name for the user to paste, not opened here
        },
    )
    values = {"path": os.path.dirname(path), "command": command(better, facts)}
    if holds is False:
        on = place.fstype if place is not None else "?"
        seen = f"the xino file would be {path}, on {on}"
        yield Clue("aufs-xino-fs-unsupported", (seen,), values)
    elif facts.aufs is not None and path in facts.aufs.taken:
        values["path"] = path
        yield Clue("aufs-xino-exists", (f"{path} already exists",), values)

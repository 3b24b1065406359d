"""Checks of the relations of directories in their filesystems, regardless of bind mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from layerctl.diagnosing.checks.layers import command, is_in
from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.commands import beside
from layerctl.kernel.facts import Directory, Facts
from layerctl.model import Layer, Role, Severity, Stack
from layerctl.rules.overlay import work_beside
from layerctl.rules.validity import problems


class _Placed(NamedTuple):
    name: str
    place: Directory
    layer: Layer | None


def _placed(stack: Stack, facts: Facts) -> list[_Placed]:
    found = []
    for layer in stack.layers:
        found.append(_Placed(f"{layer.role.value} {layer.path}", facts.of(layer.path), layer))
    if stack.work is not None and stack.upper is not None:
        found.append(_Placed(f"work {stack.work}", facts.of(stack.work), None))
    return [one for one in found if one.place.inside is not None and one.place.mount is not None]


class Relation(Enum):
    """The relation of one directory to another in their filesystem."""

    SAME = "is the same directory as"
    INSIDE = "is inside"


def relation(inner: Directory, outer: Directory) -> Relation | None:
    """Return the relation of one directory to another in their filesystem, None if separate."""
    if inner.mount is None or outer.mount is None or inner.inside is None or outer.inside is None:
        return None
    if inner.mount.device != outer.mount.device or "//deleted" in inner.inside + outer.inside:
        return None
    if inner.inside == outer.inside:
        return Relation.SAME
    return Relation.INSIDE if is_in(inner.inside, outer.inside) else None


def refused(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No lower layer is the same as, or inside, another layer or the work directory.

    ovl_setup_trap and ovl_check_layer look at each lower layer's parents (5.2).
    """
    placed = _placed(stack, facts)
    where: dict[str | None, list[int]] = {}
    for index, one in enumerate(placed):
        where.setdefault(one.place.inside, []).append(index)
    reported = set()
    for index, one in enumerate(placed):
        if one.layer is None or one.layer.role not in (Role.LOWER, Role.DATA):
            continue
        near = (
            other
            for outer in _itself_and_above(one.place.inside or "")
            for other in where.get(outer, ())
        )
        for other_index in sorted(near):
            other = placed[other_index]
            pair = frozenset((index, other_index))
            how = relation(one.place, other.place) if index != other_index else None
            if how is None or pair in reported:
                continue
            reported.add(pair)
            yield Clue(
                "overlapping-layers",
                (f"{one.name} {how.value} {other.name}",),
                {"path": one.place.path, **without(stack, index, facts)},
            )


def _itself_and_above(path: str) -> Iterator[str]:
    """Yield a path and its parents: comparing 500 layers in pairs would take too long."""
    yield path
    while path != "/" and path:
        path = os.path.dirname(path)
        yield path


def without(stack: Stack, index: int, facts: Facts) -> dict[str, str]:
    """Return the command for the stack without one of its layers, if that is a stack."""
    better = stack._replace(layers=stack.layers[:index] + stack.layers[index + 1 :])
    return {} if problems(better) else {"command": command(better, facts)}


def undefined(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Upper and work are not inside a lower layer."""
    placed = _placed(stack, facts)
    lowers = [one for one in placed if one.layer and one.layer.role in (Role.LOWER, Role.DATA)]
    for one in placed:
        if one.layer is not None and one.layer.role is not Role.UPPER:
            continue
        for lower in lowers:
            if relation(one.place, lower.place) is Relation.INSIDE:
                yield Clue(
                    "overlapping-layers",
                    (f"{one.name} is inside {lower.name}, so every change shows up in it",),
                    {"path": one.place.path, **_moved_out(stack, facts, lower.place.path)},
                    severity=Severity.WARNING,
                    fix="Use an upper and a work directory outside the lower layer. The kernel "
                    "accepts this, but the result is undefined.",
                    commands=("mkdir -p {newupper} {newwork}", "{command}"),
                )


def _moved_out(stack: Stack, facts: Facts, lower: str) -> dict[str, str]:
    """Return the command with upper and work beside a lower layer instead of in it."""
    upper, work = beside(lower, ".upper"), work_beside(beside(lower, ".upper"))
    better = stack._replace(
        layers=tuple(
            layer._replace(path=upper) if layer.role is Role.UPPER else layer
            for layer in stack.layers
        ),
        work=work,
    )
    return {"newupper": upper, "newwork": work, "command": command(better, facts)}


def target_in_layer(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The target is not a layer, not inside one, and does not cover one."""
    target = facts.target
    if target is None or target.error is not None:
        return
    for one in _placed(stack, facts):
        how, covers = relation(target, one.place), relation(one.place, target)
        if how is not None or covers is not None:
            seen = (
                f"{one.name} is inside target {target.path}, which covers it"
                if how is None
                else f"target {target.path} {how.value} {one.name}"
            )
            other = beside(_outside(target, one.place), ".merged")
            own = one.layer is not None and one.layer.role is Role.LOWER
            itself = own and target.identity == one.place.identity and stack.fstype == "overlay"
            yield Clue(
                "target-is-a-lower" if itself else "mountpoint-overlaps-layer",
                (seen,),
                {
                    "target": target.path,
                    "newtarget": other,
                    "command": command(stack, facts, target=other),
                },
            )


def _outside(target: Directory, layer: Directory) -> str:
    """Return a path whose siblings are outside the layer."""
    path = os.path.normpath(layer.path)
    return target.path if path == "/" else path

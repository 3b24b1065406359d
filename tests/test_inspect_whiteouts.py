"""Whiteouts: every marker is found, and its effect is what taking it away shows."""

from __future__ import annotations

import os
import random
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from layerctl.inspecting.opening import opened
from layerctl.inspecting.resolvers.markers import Whiteout
from layerctl.inspecting.whiteouts import Whiteouts
from tests.support import first_seed, in_namespace, layerctl_json
from tests.support.compare import resolver_tree
from tests.support.stacks import Case, build_by_hand

CASES = int(os.environ.get("LAYERCTL_CASES", "400")) // 4


def tree(case: Case) -> dict[str, tuple[object, ...]]:
    """Return the merged tree by path: what stands there, and from which object."""
    with opened(case.stack, thorough=True) as view:
        return {
            path: (one.kind.type, one.kind.layer, one.kind.merged, one.kind.reachable, one.place)
            for path, one in resolver_tree(view).entries.items()
        }


def take_away(whiteout: Whiteout, prefix: str) -> bool:
    """Take a marker away; tell whether that could be done."""
    marker = whiteout.marker
    if whiteout.kind == "opaque":
        name = prefix + "opaque"
        if not os.path.isdir(marker) or name not in os.listxattr(marker):
            return False
        if os.getxattr(marker, name) != b"y":  # the row is of a mark in another spelling
            return False
        os.removexattr(marker, name)
    else:
        os.unlink(marker)
    return True


def wrong_effects(case: Case) -> list[str]:
    """Take every marker away in turn and compare what that changes with what was said of it."""
    wrong = []
    with opened(case.stack, thorough=True) as view:
        found = list(chain.from_iterable(Whiteouts(view, thorough=True)))
        prefix = view.prefix or ""
    before = tree(case)
    effects: dict[str, set[str]] = {}
    for one in found:  # a marker that is reached by two ways may have an effect by one of them
        effects.setdefault(one.marker, set()).add(one.effective)
    kept = f"{case.target}.kept"
    for one in found:
        if one.kind == "aufs" or (one.effective == "lookup-only" and not one.hides):
            continue  # a file like any other; a device that denies a lookup of itself alone
        layer = case.stack.layers[one.layer].path
        shutil.copytree(layer, kept, symlinks=True, copy_function=copy)
        copy_attributes(layer, kept)
        if take_away(one, prefix):
            own = os.path.relpath(one.marker, layer)
            after = without(tree(case), one.layer, own)
            changed = after != without(before, one.layer, own)
            if changed != (effects[one.marker] != {"no"}):
                wrong.append(f"{one}: taking it away changes {changed}")
        shutil.rmtree(layer)
        os.rename(kept, layer)
    return wrong


def without(
    tree: dict[str, tuple[object, ...]], layer: int, place: str
) -> dict[str, tuple[object, ...]]:
    """Return a tree without what is itself the marker."""
    return {p: v for p, v in tree.items() if v[0] == "dir" or (v[1], v[4]) != (layer, place)}


def copy(source: str, target: str) -> None:
    status = os.lstat(source)
    if os.path.isfile(source) and not os.path.islink(source):
        shutil.copyfile(source, target)
    else:
        os.mknod(target, status.st_mode, status.st_rdev)
    copy_one(source, target)


def copy_one(source: str, target: str) -> None:
    for name in os.listxattr(source, follow_symlinks=False):
        if name.partition(".")[0] in ("user", "trusted"):
            value = os.getxattr(source, name, follow_symlinks=False)
            os.setxattr(target, name, value, follow_symlinks=False)


def copy_attributes(source: str, target: str) -> None:
    for above, directories, _ in os.walk(source):
        for name in ("", *directories):
            path = os.path.join(above, name)
            if not os.path.islink(path):
                copy_one(path, os.path.join(target, os.path.relpath(path, source)))


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
def test_an_effect_is_what_taking_the_marker_away_changes(*, user: bool) -> None:
    start = first_seed()

    def body(lab: Path) -> list[str]:
        for seed in range(start, start + CASES):
            case = build_by_hand(random.Random(seed), f"{lab}/case", user=user, moves=False)
            wrong = wrong_effects(case)
            shutil.rmtree(f"{lab}/case")
            if wrong:
                return [f"seed {seed}: {case.data}", *wrong]
        return []

    assert in_namespace(body, user=user) == []


def layers(lab: Path, **trees: list[str]) -> list[str]:
    """Make layers from lists of names: `d/` a directory, `!n` a 0:0 device, `~n` an attribute."""
    for layer, names in trees.items():
        (lab / layer).mkdir()
        for name in names:
            path = lab / layer / name.lstrip("!~")
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            elif name.startswith("!"):
                os.mknod(path, 0o20000, 0)
            else:
                path.write_text("" if name.startswith("~") else name)
                if name.startswith("~"):
                    os.setxattr(path, "trusted.overlay.whiteout", b"")
    names = list(trees)
    return ["-u", f"{lab}/{names[0]}"] + [f for n in names[1:] for f in ("-l", f"{lab}/{n}")]


def effects(lab: Path, stack: list[str], *arguments: str) -> dict[str, tuple[Any, ...]]:
    found = layerctl_json("inspect", "whiteouts", *stack, *arguments)["whiteouts"]
    return {
        os.path.relpath(one["marker"], lab): (
            one["path"], one["kind"], one["layer"], one["hides"], one["effective"], one.get("by"),
        )
        for one in found
    }  # fmt: skip


@pytest.mark.namespace
def test_devices(lab: Path) -> None:
    stack = layers(
        lab,
        u=["!gone", "!nothing", "d/!under", "new/", "!new/alone"],
        l1=["gone", "d/x", "!covered", "top"],
        l2=["gone", "d/under", "covered", "!last"],
    )
    os.rename(lab / "u/d/!under", lab / "u/d/plain")
    os.mknod(lab / "u/d/under", 0o20000, 0)
    assert effects(lab, stack) == {
        "u/gone": ("gone", "chardev", 0, [1, 2], "yes", None),
        "u/nothing": ("nothing", "chardev", 0, [], "no", None),
        "u/d/under": ("d/under", "chardev", 0, [2], "yes", None),
        "u/new/alone": ("new/alone", "chardev", 0, [], "lookup-only", None),
        "l1/covered": ("covered", "chardev", 1, [2], "yes", None),
        "l2/last": ("last", "chardev", 2, [], "no", None),
    }


@pytest.mark.namespace
def test_markers_in_directories_that_are_not_shown_at_all(lab: Path) -> None:
    stack = layers(
        lab,
        u=["!gone", "file", "top/!own"],
        l1=["!gone/in/none", "!file/none", "top/x"],
        l2=["!gone/in/deep/none", "!top/x/none"],
    )
    found = {where: (one[4], one[5]) for where, one in effects(lab, stack).items()}
    assert found == {
        "u/gone": ("yes", None),
        "l1/gone/in/none": ("no", 0),
        "l1/file/none": ("no", 0),
        "l2/gone/in/deep/none": ("no", 0),
        "l2/top/x/none": ("no", 1),
    }


@pytest.mark.namespace
def test_attribute_whiteouts(lab: Path) -> None:
    stack = layers(
        lab,
        u=["~up", "marked/", "plain/"],
        l1=["marked/", "~marked/one", "plain/", "~plain/two"],
        l2=["up", "marked/one", "plain/two"],
    )
    os.setxattr(lab / "l1/marked", "trusted.overlay.opaque", b"x")
    honoured = {"l1/marked/one": ("marked/one", "xattr", 1, [2], "yes", None)}
    assert effects(lab, stack) == honoured
    assert effects(lab, stack, "--thorough") == honoured | {
        "u/up": ("up", "xattr", 0, [2], "lookup-only", None),
        "l1/plain/two": ("plain/two", "xattr", 1, [2], "lookup-only", None),
    }
    found = layerctl_json("inspect", "merged", *stack, "--thorough")["entries"]
    assert {one["path"]: one["reachable"] for one in found} == {
        "marked": True, "plain": True, "plain/two": False, "up": False,
    }  # fmt: skip


@pytest.mark.namespace
def test_opaque_directories(lab: Path) -> None:
    stack = layers(
        lab,
        u=["hides/", "made/new/", "!hides/inside", "foreign/"],
        l1=["hides/x", "!hides/below", "made/", "foreign/", ".wh.name", "d/.wh..wh..opq"],
        l2=["hides/inside", "hides/below", "foreign/"],
    )
    for name in ("hides", "made/new"):
        os.setxattr(lab / "u" / name, "trusted.overlay.opaque", b"y")
    os.setxattr(lab / "u/foreign", "user.overlay.opaque", b"y")
    os.setxattr(lab / "l1/foreign", "trusted.overlay.overlay.opaque", b"y")
    os.setxattr(lab / "l2/foreign", "user.fuseoverlayfs.opaque", b"y")
    assert effects(lab, stack) == {
        "u/hides": ("hides", "opaque", 0, [1, 2], "yes", None),
        "u/hides/inside": ("hides/inside", "chardev", 0, [], "no", 0),
        "l1/hides/below": ("hides/below", "chardev", 1, [], "no", 0),
        "u/made/new": ("made/new", "opaque", 0, [], "no", None),
        "u/foreign": ("foreign", "opaque", 0, [], "no", None),
        "l1/foreign": ("foreign", "opaque", 1, [], "no", None),
        "l2/foreign": ("foreign", "opaque", 2, [], "no", None),
        "l1/.wh.name": ("name", "aufs", 1, [], "no", None),
        "l1/d/.wh..wh..opq": ("d", "opaque", 1, [], "no", None),
    }

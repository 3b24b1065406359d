"""What a real aufs took and showed: option strings, branch changes, sysfs, mountinfo."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main
from layerctl.codecs import aufs, mountinfo
from layerctl.codecs.escape import text_of
from layerctl.errors import RequestError
from layerctl.kernel import mounts
from layerctl.model import Layer, Role, Stack
from layerctl.rules.aufs import ATTRIBUTES, PERMISSIONS, with_permissions
from tests.support.recordings import aufs_calls, names, recording

RECORDINGS = names("aufs")

#: Attributes that the recorded kernel drops: it was built without AUFS_FHSM, and unpin is history.
DROPPED = ("fhsm", "unpin")

#: Mounts that layerctl refuses because aufs drops something silently: none is undecodable.
REFUSED = {"br=./l1::./l2"}


def _load(name: str) -> dict[str, Any]:
    return recording(f"aufs/{name}")


def _snapshots() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in RECORDINGS:
        for number, step in enumerate(_load(name)["steps"]):
            if step["kind"] == "snapshot":
                yield f"{name}:{number}", step


SNAPSHOTS = list(_snapshots())


def _in_effect(stack: Stack, cwd: str) -> list[tuple[str, str]]:
    """Return `(path, permission)` of every branch as sysfs will show them."""
    shown = []
    for layer in with_permissions(stack).layers:
        base, *attributes = (layer.permission or "").split("+")
        if base not in PERMISSIONS:
            base, attributes = "ro", []
        kept = [name for name in attributes if name in ATTRIBUTES[base] and name not in DROPPED]
        path = os.path.normpath(os.path.join(cwd, layer.path))
        shown.append((path, "+".join([base, *kept])))
    return shown


def _sysfs(step: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the files of every si_ID directory of a snapshot."""
    found: dict[str, dict[str, str]] = {}
    for path, content in step["sysfs"].items():
        directory, slash, file = path.partition("/")
        if slash and directory.startswith("si_"):
            found.setdefault(directory, {})[file] = content
    return found


def _shown(step: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Return the branches of each mount of a snapshot by its target."""
    files = _sysfs(step)
    branches = {}
    for line in step["mountinfo"]:
        entry = mountinfo.parse_line(line)
        if entry.fstype == "aufs":
            _, identity = aufs.from_super_options(entry.super_options)
            instance = aufs.sysfs_instance(str(identity), files[f"si_{identity}"])
            branches[entry.target] = [(b.path, b.permission) for b in instance.branches]
    return branches


def _stacks(name: str) -> Iterator[tuple[str, Stack, list[tuple[str, str]], str]]:
    """Yield the stack that the words so far make of each mount of a snapshot, and what it shows."""
    recorded = _load(name)
    cwd = recorded["cwd"]
    stacks: dict[str, Stack] = {}
    for step in recorded["steps"]:
        if step["kind"] in ("mount", "mount-syscall") and step["rc"] == 0:
            for options, target in aufs_calls(step):
                if options in REFUSED:
                    continue
                place = os.path.normpath(os.path.join(cwd, target))
                changes = options.removeprefix("remount,")
                base = stacks.get(place) if changes != options else None
                stacks[place] = with_permissions(aufs.parse(changes, base=base))
        elif step["kind"] == "umount" and step["rc"] == 0:
            stacks = {}
        elif step["kind"] == "snapshot":
            for target, branches in _shown(step).items():
                if target in stacks:
                    yield step["label"], stacks[target], branches, cwd


def test_every_mount_and_branch_change_makes_the_stack_that_sysfs_then_shows() -> None:
    compared = [(name, *one) for name in RECORDINGS for one in _stacks(name)]
    assert len(compared) > 90
    assert [
        (name, label)
        for name, label, stack, branches, cwd in compared
        if _in_effect(stack, cwd) != branches
    ] == []


@pytest.mark.parametrize("options", sorted(REFUSED))
def test_what_aufs_drops_in_silence_is_not_decoded(options: str) -> None:
    with pytest.raises(RequestError):
        aufs.parse(options)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xfs-no-xino-option", [["./l1", "./l2"]] * 4),
        ("btrfs-no-xino-option", [["./l1", "./l2"]]),
        ("tutorial-tmpfs", [["./l1", "./l2", "./l3/"]]),
        ("tutorial-ext4", [["./l1", "./l2", "./l3/"]]),
    ],
)
def test_a_mount_step_names_its_branches_whether_it_succeeds_or_not(
    name: str, expected: list[list[str]]
) -> None:
    steps = [step for step in _load(name)["steps"] if step["kind"] == "mount"]
    stacks = [aufs.parse(options) for step in steps for options, _ in aufs_calls(step)]
    assert [[layer.path for layer in stack.layers] for stack in stacks] == expected
    for stack in stacks:
        assert [with_permissions(stack).layers[0].permission] == ["rw"]


def _escaped(path: str) -> str:
    for char in "\\ \t\n":  # as seq_file writes them; the backslash first
        path = path.replace(char, f"\\{ord(char):03o}")
    return path


INSTANCES = [
    pytest.param(directory, files, id=f"{where}:{directory}")
    for where, step in SNAPSHOTS
    for directory, files in _sysfs(step).items()
]


def test_there_are_enough_snapshots() -> None:
    assert len(INSTANCES) == 100


@pytest.mark.parametrize(("directory", "files"), INSTANCES)
def test_every_snapshot_decodes_to_what_its_files_say(
    directory: str, files: dict[str, str]
) -> None:
    instance = aufs.sysfs_instance(directory.removeprefix("si_"), files)
    again = {"xi_path": f"{_escaped(instance.xino)}\n" if instance.xino else ""}
    for branch in instance.branches:
        again[f"br{branch.position}"] = f"{_escaped(branch.path)}={branch.permission}\n"
        again[f"brid{branch.position}"] = f"{branch.id}\n"
    assert again == files


@pytest.mark.parametrize("step", [step for _, step in SNAPSHOTS], ids=[at for at, _ in SNAPSHOTS])
def test_inspect_aufs_reads_every_snapshot(
    tmp_path: Path, step: dict[str, Any], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sysfs = tmp_path / "sysfs"
    sysfs.mkdir()
    for path, content in step["sysfs"].items():
        file = sysfs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.fsencode(content))
    lines = tmp_path / "mountinfo"
    lines.write_bytes(os.fsencode("".join(f"{line}\n" for line in step["mountinfo"])))
    arguments = ["--json", "--sysfs", str(sysfs), "--mountinfo", str(lines)]
    assert main(["inspect", "aufs", *arguments]) == 0
    found = json.loads(capfdbinary.readouterr().out)["aufs"]
    assert {f"si_{one['id']}" for one in found} == set(_sysfs(step))
    listed = {
        text_of(mounted.entry.target): [layer.permission for layer in mounted.stack.layers]
        for mounted in mounts.layered(str(lines), str(sysfs))
    }
    for one in found:
        if one["target"] is not None:  # one that was unmounted lazily has none
            permissions = [branch["permission"] for branch in one["branches"]]
            assert permissions == listed[one["target"]]


def test_the_options_that_mountinfo_shows_are_the_ones_that_were_set() -> None:
    seen: set[str] = set()
    for _, step in SNAPSHOTS:
        for line in step["mountinfo"]:
            entry = mountinfo.parse_line(line)
            if entry.fstype == "aufs":
                stack, identity = aufs.from_super_options(entry.super_options)
                assert identity is not None
                words = set(entry.super_options.split(",")) - {"rw", "ro", f"si={identity}"}
                assert {k if v is None else f"{k}={v}" for k, v in stack.options.items()} == words
                seen |= words
    assert len(seen) > 15


def test_branches_in_mountinfo_stand_for_a_missing_sysfs() -> None:
    stack, identity = aufs.from_super_options("rw,si=ab,noplink,br:/a\\040b=rw:/c=x=ro+wh")
    assert identity == "ab"
    assert stack.layers == (
        Layer("/a b", Role.BRANCH, "rw"),
        Layer("/c=x", Role.BRANCH, "ro+wh"),
    )
    assert stack._replace(layers=()).options == {"noplink": None}

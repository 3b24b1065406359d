"""The merged trees and whiteouts of real aufs come out of its branches."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support import layerctl_json, recordings

#: Recording, label of the branches, label of the kernel's view, permissions from the top.
CASES = [
    ("tutorial-tmpfs", "branches", "changed", ("rw", "ro", "ro")),
    ("tutorial-tmpfs", "after-umount", "changed", (None, None, None)),
    ("tutorial-ext4", "branches", "changed", (None, None, None)),
    ("tutorial-ext4", "after-umount", "changed", ("rw", "ro", "ro")),
    ("objects", "live", "changed", ("rw", "ro", "ro")),
    ("objects", "after-umount", "after-open-unlink", ("rw", "ro", "ro")),
    ("whiteouts-in-ro", "branches", "ro", ("rw", "ro", "ro")),
    ("whiteouts-in-ro", "branches", "ro+wh", ("rw", "ro+wh", "ro")),
]


def flags(permissions: tuple[str | None, ...], where: Path) -> list[str]:
    """Return the layer flags of a stack of branches l1, l2 ..."""
    arguments = []
    for number, permission in enumerate(permissions, 1):
        suffix = "" if permission is None else f"={permission}"
        arguments += ["-b", f"{where}/l{number}{suffix}"]
    return arguments


@pytest.mark.parametrize(("name", "branches", "view", "permissions"), CASES)
def test_the_merged_tree_is_what_the_kernel_showed(
    name: str,
    branches: str,
    view: str,
    permissions: tuple[str | None, ...],
    tmp_path: Path,
) -> None:
    recordings.unpack(name, branches, tmp_path)
    expected = recordings.shown(recordings.snapshot(name, view))
    entries = layerctl_json("inspect", "merged", *flags(permissions, tmp_path))["entries"]
    assert {e["path"]: e["type"] for e in entries} == {
        path: entry["type"] for path, entry in expected.items()
    }
    assert all(entry["reachable"] for entry in entries)
    for entry in entries:
        status = os.lstat(os.path.join(entry["provider"], entry["path"]))
        kernel = expected[entry["path"]]
        assert stat.S_IMODE(status.st_mode) == stat.S_IMODE(int(kernel["mode"], 8))
        if entry["type"] == "file":
            content = Path(entry["provider"], entry["path"]).read_bytes()
            assert content.decode() == kernel["content"]
        if entry["type"] == "symlink":
            assert os.readlink(os.path.join(entry["provider"], entry["path"])) == kernel["target"]


def effects(*arguments: str | Path) -> dict[tuple[str, str], tuple[int, list[int], str]]:
    """Return every whiteout by path and kind: its layer, what it hides, its effect."""
    found = layerctl_json("inspect", "whiteouts", *arguments)["whiteouts"]
    assert all(os.path.lexists(one["marker"]) for one in found)
    return {(w["path"], w["kind"]): (w["layer"], w["hides"], w["effective"]) for w in found}


def test_whiteouts_of_the_tutorial(tmp_path: Path) -> None:
    recordings.unpack("tutorial-tmpfs", "branches", tmp_path)
    assert effects(*flags(("rw", "ro", "ro"), tmp_path)) == {
        ("image3.txt", "aufs"): (0, [2], "yes")
    }


def test_whiteouts_of_objects(tmp_path: Path) -> None:
    recordings.unpack("objects", "after-umount", tmp_path)
    assert effects(*flags(("rw", "ro", "ro"), tmp_path)) == {
        ("fifo", "aufs"): (0, [2], "yes"),
        ("keep", "aufs"): (0, [1], "yes"),
        ("dir/a", "aufs"): (0, [1], "yes"),
        ("dir/c", "aufs"): (0, [2], "yes"),
        ("dir/link", "aufs"): (0, [2], "yes"),
        ("dir/sub", "aufs"): (0, [1], "yes"),
        ("gone", "opaque"): (0, [1, 2], "yes"),
        ("hl/two", "aufs"): (0, [2], "yes"),
    }


@pytest.mark.parametrize(
    ("permission", "effect"), [("ro", "no"), ("ro+wh", "yes"), ("rr+wh", "yes"), ("rw", "yes")]
)
def test_whiteouts_count_on_writable_branches_or_with_wh(
    permission: str, effect: str, tmp_path: Path
) -> None:
    recordings.unpack("whiteouts-in-ro", "branches", tmp_path)
    hides = [2] if effect == "yes" else []
    assert effects(*flags(("rw", permission, "ro"), tmp_path)) == {
        ("l3.txt", "aufs"): (1, hides, effect),
        ("d", "opaque"): (1, hides, effect),
    }


def test_the_story_of_a_deleted_file(tmp_path: Path) -> None:
    recordings.unpack("tutorial-tmpfs", "branches", tmp_path)
    arguments = flags(("rw", "ro", "ro"), tmp_path)
    done = layerctl_json("inspect", "merged", *arguments, "image3.txt", code=3)
    assert done["visible"] is False
    assert [layer["state"] for layer in done["layers"]] == ["whiteout", "absent", "hidden"]
    assert done["story"] == ["whiteout in layer 0 hides the file in layer 2"]

"""The main job, end to end, on every kind of backing filesystem, as root and in a user namespace.

What `inspect` says is what the kernel shows and what is in the layers.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support import images, layerctl, layerctl_json


def _inspected(lab: Path, merged: Path, *arguments: str) -> None:
    entries = layerctl_json("inspect", "merged", *arguments)["entries"]
    shown = sorted(
        str((Path(where) / name).relative_to(merged))
        for where, names, files in os.walk(merged)
        for name in (*names, *files)
    )
    assert sorted(entry["path"] for entry in entries) == shown
    providers = {entry["path"]: entry["provider"] for entry in entries}
    assert providers["config"] == f"{lab}/top"
    found = layerctl_json("inspect", "whiteouts", *arguments)["whiteouts"]
    assert sorted((one["path"], one["layer"], one["hides"]) for one in found) == [
        ("dir/inner", 0, [2]), ("readme", 0, [2]),
    ]  # fmt: skip


def _main_job(lab: Path, *, user: bool) -> None:
    for name in ("top", "middle", "bottom", "merged", "middle/dir", "bottom/dir"):
        (lab / name).mkdir()
    (lab / "top" / "notes").write_text("top\n")
    (lab / "middle" / "config").write_text("middle\n")
    (lab / "bottom" / "readme").write_text("bottom\n")
    (lab / "bottom" / "dir" / "inner").write_text("inner\n")
    merged = lab / "merged"

    mounted = layerctl("mount", "-u", "top", "-l", "middle", "-l", "bottom", "merged")
    assert mounted.returncode == 0, mounted.stderr
    assert ("userxattr" in mounted.stderr) is user

    with (merged / "notes").open("a") as file:
        file.write("more\n")
    with (merged / "config").open("a") as file:
        file.write("more\n")
    (merged / "readme").unlink()
    os.rename(merged / "dir" / "inner", merged / "dir" / "moved")

    assert (lab / "top" / "notes").read_text() == "top\nmore\n"
    assert (lab / "top" / "config").read_text() == "middle\nmore\n"
    assert (lab / "middle" / "config").read_text() == "middle\n"
    assert (lab / "bottom" / "readme").read_text() == "bottom\n"
    whiteout = os.lstat(lab / "top" / "readme")
    assert stat.S_ISCHR(whiteout.st_mode)
    assert whiteout.st_rdev == 0

    _inspected(lab, merged, "merged")
    _inspected(lab, merged, "-u", "top", "-l", "middle", "-l", "bottom")
    story = layerctl_json("inspect", "merged", "merged", "readme", code=3)
    assert [layer["state"] for layer in story["layers"]] == ["whiteout", "absent", "hidden"]

    report = layerctl_json("doctor", "merged")
    assert report["verdict"] == "ok", report
    layerctl_json("umount", "merged")
    assert os.listdir(merged) == []


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", images.WRITABLE)
def test_as_root(lab: Path) -> None:
    _main_job(lab, user=False)


@pytest.mark.namespace(user=True)
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", images.WRITABLE)
def test_in_a_user_namespace(lab: Path) -> None:
    _main_job(lab, user=True)


@pytest.mark.namespace
@pytest.mark.parametrize("fs", ["squashfs", "erofs"])
def test_over_a_packed_image(fs: str, lab: Path) -> None:
    for name in ("tree", "low", "up", "merged"):
        (lab / name).mkdir()
    (lab / "tree" / "file").write_text("packed\n")
    images.mount_packed(lab / "tree", fs, lab / "low")
    layerctl_json("mount", "-u", "up", "-l", "low", "merged")
    with (lab / "merged" / "file").open("a") as file:
        file.write("more\n")
    (entry,) = layerctl_json("inspect", "merged", "merged")["entries"]
    assert entry["provider"] == f"{lab}/up"
    assert (lab / "up" / "file").read_text() == "packed\nmore\n"
    story = layerctl_json("inspect", "merged", "merged", "file")
    assert [layer["state"] for layer in story["layers"]] == ["provides", "hidden"]


def test_the_demo() -> None:
    from tools.demo import main

    before = Path("/proc/self/mountinfo").read_text()
    assert main() == 0
    assert Path("/proc/self/mountinfo").read_text() == before

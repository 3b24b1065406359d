"""fuse-overlayfs, the real program, and `-t auto`'s way to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from layerctl.kernel import mounts, syscalls
from tests.support import layerctl, layerctl_json
from tests.support.mounting import make, snapshot

#: What its option string has a meaning for, libfuse's included.
ODD_NAMES = ("a:b", "a,b", "a\\b", "a b", "a=b", "-a", "\\,", ":", ",", "a\\:b", "a\nb", "\udcff")


def fuse_mounts() -> list[str]:
    return [one.target for one in mounts.entries() if one.fstype == mounts.FUSE_OVERLAYFS]


@pytest.mark.namespace
@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_reaches_the_program(lab: Path, name: str) -> None:
    make(lab, f"l/{name}", "k", f"u/{name}", f"w/{name}", "m")
    (lab / "l" / name / "top").write_text("x")
    done = layerctl(
        "mount", "-t", "fuse-overlayfs", "-l", f"l/{name}", "-l", "k", "-u", f"u/{name}",
        "-w", f"w/{name}", "m",
    )  # fmt: skip
    if ":" in name:  # the program splits the resolved name of its upper directory
        assert done.returncode == 32
        assert "colon" in done.stderr
        done = layerctl("mount", "-t", "fuse-overlayfs", "-l", f"l/{name}", "-l", "k", "m")
        assert (done.returncode, (lab / "m/top").read_text()) == (0, "x"), done.stderr
        assert layerctl("umount", "m").returncode == 0
        return
    assert done.returncode == 0, done.stderr
    with (lab / "m/top").open("a") as file:
        file.write("y")
    assert (lab / "u" / name / "top").read_text() == "xy"
    assert (lab / "l" / name / "top").read_text() == "x"
    assert layerctl("umount", "m").returncode == 0
    assert not fuse_mounts()


@pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="/dev/fuse may not be opened")
@pytest.mark.namespace
def test_mount_runs_the_program_from_a_command_and_an_fstab(lab: Path) -> None:
    make(lab, "l", "k b", "u", "w", "m", "a,b")
    flags = ("-t", "fuse-overlayfs", "-l", "l", "-l", "k b", "-u", "u", "-w", "w", "-o", "nosuid")
    command = layerctl("mount", "--print", "command", *flags, "m").stdout
    Path("fstab").write_text(layerctl("mount", "--print", "fstab", *flags, "m").stdout)
    for words in (["/bin/sh", "-c", command], ["mount", "-T", "fstab", f"{lab}/m"]):
        subprocess.run(words, check=True, capture_output=True)
        assert fuse_mounts() == [f"{lab}/m"]
        (lab / "m" / "new").touch()
        assert (lab / "u" / "new").exists()
        assert layerctl("mount", "-o", "remount,ro", "m").returncode == 0
        with pytest.raises(OSError, match="Read-only"):
            (lab / "m" / "new").write_text("x")
        assert layerctl("mount", "-o", "remount,squash_to_root", "m").returncode == 32
        subprocess.run(["umount", "m"], check=True)
    unit = layerctl("mount", "--print", "unit", *flags, "m").stdout
    assert "Type=fuse.fuse-overlayfs\n" in unit
    for form in ("command", "fstab", "unit", "options"):
        done = layerctl("mount", "--print", form, "-t", "fuse-overlayfs", "-l", "a,b", "m")
        assert (done.returncode, done.stdout) == (32, "")


@pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="/dev/fuse may not be opened")
@pytest.mark.namespace(user=True)
def test_it_works_in_a_user_namespace(lab: Path) -> None:
    make(lab, "l", "u", "m")
    done = layerctl("mount", "-t", "fuse-overlayfs", "-l", "l", "-u", "u", "m")
    assert done.returncode == 0, done.stderr
    (lab / "m/new").touch()
    assert (lab / "u/new").exists()
    assert layerctl("umount", "m").returncode == 0


@pytest.mark.namespace
def test_auto_takes_overlay_and_falls_back_only_where_the_kernel_cannot(lab: Path) -> None:
    make(lab, "l", "k", "u", "m", "o", "p")
    document = layerctl_json("mount", "-t", "auto", "-l", "l", "-u", "u", "m")
    assert document["mounts"][0]["type"] == "overlay"
    assert layerctl("umount", "m").returncode == 0
    syscalls.mount("o", "o", "overlay", 0, f"lowerdir=l:k,upperdir={lab}/u,workdir={lab}/u.work")
    make(lab, "o/u", "o/w")
    done = layerctl("mount", "-t", "auto", "-l", "k", "-u", "o/u", "-w", "o/w", "m")
    assert done.returncode == 0, done.stderr
    assert "using fuse-overlayfs" in done.stderr
    assert fuse_mounts() == [f"{lab}/m"]
    assert layerctl("umount", "m").returncode == 0
    before = snapshot(lab)
    wrong = layerctl("mount", "-t", "auto", "-l", "nosuch", "-u", "u", "p")
    assert wrong.returncode == 32
    assert not fuse_mounts()
    assert snapshot(lab) == before


@pytest.mark.namespace
def test_a_missing_program_is_said_and_nothing_is_left(lab: Path) -> None:
    make(lab, "l", "u", "m")
    done = layerctl(
        "mount", "-t", "fuse-overlayfs", "-l", "l", "-u", "u", "m", env={"PATH": "/nonexistent"}
    )
    assert done.returncode == 32
    assert "apt-get install fuse-overlayfs" in done.stderr
    assert sorted(os.listdir(lab)) == ["l", "m", "u"]


@pytest.mark.namespace
def test_a_target_behind_a_symbolic_link_is_found(lab: Path) -> None:
    make(lab, "l", "u", "m")
    (lab / "link").symlink_to("m")
    done = layerctl("mount", "-t", "fuse-overlayfs", "-l", "l", "-u", "u", "link")
    assert (done.returncode, fuse_mounts()) == (0, [f"{lab}/m"]), done.stderr
    assert layerctl("umount", "link").returncode == 0

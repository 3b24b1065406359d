"""`layerctl umount` on the real kernel: refusals, who holds it, and --lazy only when asked."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from layerctl.kernel import mounts, syscalls
from tests.support import layerctl


def overlay(lab: Path) -> None:
    for name in ("l1", "l2", "m"):
        (lab / name).mkdir(parents=True)
    (lab / "l1/file").write_text("x")
    syscalls.mount("o", str(lab / "m"), "overlay", 0, f"lowerdir={lab}/l1:{lab}/l2")


def stands(path: Path) -> bool:
    return any(entry.target == str(path) for entry in mounts.entries())


@pytest.mark.namespace
def test_unmounts_by_any_spelling(lab: Path) -> None:
    overlay(lab)
    (lab / "link").symlink_to("m")
    (lab / "x").mkdir()
    for spelling in ("link", "x/../m//", f"{lab}/./m/."):
        assert layerctl("umount", spelling).returncode == 0
        assert not stands(lab / "m")
        syscalls.mount("o", str(lab / "m"), "overlay", 0, f"lowerdir={lab}/l1:{lab}/l2")


@pytest.mark.namespace
def test_busy_says_who_holds_it_and_lazy_detaches(lab: Path) -> None:
    overlay(lab)
    with (lab / "m/file").open() as file:
        sleeper = subprocess.Popen(
            ["sh", "-c", "echo ready; read _"], cwd=lab / "m", stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        done = layerctl("umount", "m")
        assert done.returncode == 32
        assert stands(lab / "m")
        assert f"pid {sleeper.pid}" in done.stderr
        assert "working directory" in done.stderr
        assert f"pid {os.getpid()}" in done.stderr
        assert f"file descriptor {file.fileno()}" in done.stderr
        error = json.loads(layerctl("umount", "m", "--json").stderr)["error"]
        assert error["id"] == "leaked-mount-busy"
        assert layerctl("umount", "--lazy", "m").returncode == 0
        assert not stands(lab / "m")
        sleeper.communicate(b"\n")


@pytest.mark.namespace
def test_files_of_layers_on_other_filesystems_are_held_too(lab: Path) -> None:
    for name in ("a", "b", "m"):
        (lab / name).mkdir()
    for name in ("a", "b"):
        syscalls.mount("t", str(lab / name), "tmpfs", 0, "")
        (lab / name / "d").mkdir()
    (lab / "b/d/file").touch()
    syscalls.mount("o", str(lab / "m"), "overlay", 0, f"lowerdir={lab}/a/d:{lab}/b/d,xino=off")
    with (lab / "m/file").open() as file:
        assert os.fstat(file.fileno()).st_dev != os.stat(lab / "m").st_dev
        done = layerctl("umount", "m")
    assert done.returncode == 32
    assert "file descriptor" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr


@pytest.mark.namespace
def test_a_mount_below_is_named(lab: Path) -> None:
    overlay(lab)
    (lab / "l1/sub").mkdir()
    syscalls.mount("t", str(lab / "m/sub"), "tmpfs", 0, "")
    done = layerctl("umount", "m")
    assert done.returncode == 32
    assert f"{lab}/m/sub" in done.stderr


@pytest.mark.namespace
def test_a_mount_in_another_namespace_is_named(lab: Path) -> None:
    overlay(lab)
    other = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo ready; read _"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout is not None
    other.stdout.readline()
    with (lab / "m/file").open():
        done = layerctl("umount", "m")
    assert done.returncode == 32
    assert "in the mount namespace of" in done.stderr
    assert f"(pid {other.pid})" in done.stderr
    other.communicate(b"\n")


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("target", "identity", "code"),
    [("plain", "not-mounted", 3), ("nosuch", "target-missing", 3), ("t", "not-layered", 3),
     ("m/file", "not-mounted", 3)],
)  # fmt: skip
def test_what_is_no_layered_mount_is_refused(
    lab: Path, target: str, identity: str, code: int
) -> None:
    overlay(lab)
    for name in ("plain", "t"):
        (lab / name).mkdir()
    syscalls.mount("t", str(lab / "t"), "tmpfs", 0, "")
    done = layerctl("umount", target, "--json")
    assert done.returncode == code
    error = json.loads(done.stderr)["error"]
    assert (error["id"], error["exit_code"]) == (identity, code)
    assert error["hint"] or error["commands"]
    assert stands(lab / "t")
    assert stands(lab / "m")


@pytest.mark.namespace
def test_an_empty_name_is_not_the_working_directory(lab: Path) -> None:
    overlay(lab)
    os.chdir(lab / "m")
    for words in (("umount", ""), ("mount", "-l", f"{lab}/l1", "-l", f"{lab}/l2", "")):
        done = layerctl(*words, "--json")
        assert done.returncode == 3
        assert json.loads(done.stderr)["error"]["id"] == "target-missing"
    assert sum(entry.target == str(lab / "m") for entry in mounts.entries()) == 1

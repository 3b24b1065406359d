"""Places where little is as usual: no HOME, a read-only root, another's processes hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from layerctl.rules.flags import mount2_flags
from tests.support import ROOT, layerctl, layerctl_json


def _lab(lab: Path) -> None:
    for name in ("low", "up", "merged"):
        (lab / name).mkdir()


@pytest.mark.namespace
def test_an_empty_environment(lab: Path) -> None:
    _lab(lab)
    for arguments in (
        ("mount", "-u", "up", "-l", "low", "merged"),
        ("list",),
        ("inspect", "merged", "merged"),
        ("doctor", "merged"),
        ("umount", "merged"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "layerctl", *arguments],
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.namespace
def test_a_root_that_is_read_only(lab: Path) -> None:
    _lab(lab)
    syscalls.mount("", "/", "", syscalls.MS_REMOUNT | syscalls.MS_BIND | mount2_flags(["ro"]), "")
    layerctl_json("mount", "-u", "up", "-l", "low", "merged")
    (lab / "merged" / "new").write_text("new")
    assert [one["path"] for one in layerctl_json("inspect", "merged", "merged")["entries"]] == [
        "new"
    ]
    layerctl_json("umount", "merged")


@pytest.mark.namespace
@pytest.mark.parametrize(
    "arguments",
    [("list", "--json"), ("inspect", "mount", "merged"), ("--version",)],
)
def test_processes_that_are_hidden(lab: Path, arguments: tuple[str, ...]) -> None:
    """Under hidepid=2 one without capabilities sees its own processes alone."""
    _lab(lab)
    layerctl_json("mount", "-u", "up", "-l", "low", "merged")
    syscalls.mount("proc", "/proc", "proc", 0, "hidepid=2")
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    done = subprocess.run(
        [*powerless, sys.executable, "-m", "layerctl", *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    layerctl_json("umount", "merged")


@pytest.mark.namespace
def test_no_proc_at_all(lab: Path) -> None:
    _lab(lab)
    syscalls.mount("nothing", "/proc", "tmpfs", 0, "")
    done = layerctl("list", "--json")
    assert done.returncode == 3
    assert '"id": "no-mountinfo"' in done.stderr
    assert layerctl("--version").returncode == 0


@pytest.mark.namespace
def test_a_working_directory_that_is_gone(lab: Path) -> None:
    _lab(lab)
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir(lab / "gone")
    assert layerctl("list", "--json").returncode == 0
    done = layerctl("inspect", "mount", "merged", "--json")
    assert done.returncode == 3, done.stderr
    assert "bug" not in done.stderr

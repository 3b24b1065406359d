"""Bad requests to every command but mount: own id, hint and exit code, and no trace left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from tests.support import ROOT, layerctl, layerctl_json, valid

BAD: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (2, "usage", ("nosuchcommand",)),
    (2, "usage", ("umount",)),
    (3, "target-missing", ("umount", "nosuch")),
    (3, "not-mounted", ("umount", "plain")),
    (3, "not-layered", ("umount", "own")),
    (2, "usage", ("list", "--nosuch")),
    (2, "usage", ("list", "--output", "NOSUCH")),
    (2, "usage", ("list", "--raw", "-0")),
    (3, "no-mountinfo", ("list", "--mountinfo", "nosuch")),
    (3, "no-mountinfo", ("list", "--mountinfo", "file")),
    (3, "target-missing", ("inspect", "mount", "nosuch")),
    (3, "not-layered", ("inspect", "mount", "own")),
    (2, "usage", ("inspect", "merged")),
    (2, "usage", ("inspect", "merged", "a", "b", "c")),
    (3, "target-missing", ("inspect", "merged", "nosuch")),
    (2, "unknown-type", ("inspect", "merged", "-t", "ext4", "-l", "low", "x")),
    (2, "no-such-layer", ("inspect", "merged", "--layer", "9", "merged")),
    (2, "wrong-layer-flag", ("inspect", "whiteouts", "-t", "aufs", "-l", "low")),
    (2, "usage", ("inspect", "whiteouts")),
    (3, "not-mounted", ("inspect", "whiteouts", "plain")),
    (3, "no-aufs-sysfs", ("inspect", "aufs", "si_12")),
    (3, "not-layered", ("inspect", "aufs", "merged")),
    (3, "not-mounted", ("doctor", "plain")),
    (2, "unknown-type", ("doctor", "-t", "ext4", "-l", "low")),
    (2, "usage", ("doctor", "--kernel", "6.1")),
    (3, "target-missing", ("doctor", "--from", "nosuch")),
    (3, "unknown-cause", ("explain", "nosuch")),
    (3, "not-aufs", ("branch", "list", "merged")),
    (2, "usage", ("schema", "nosuch")),
)


@pytest.mark.parametrize("arguments", [(), ("inspect",)])
def test_a_command_is_missing(arguments: tuple[str, ...]) -> None:
    done = layerctl(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("layerctl: no command was given  [usage]\n")


@pytest.mark.namespace
@pytest.mark.parametrize(("code", "identity", "arguments"), BAD)
def test_bad_input_is_refused_and_changes_nothing(
    lab: Path, code: int, identity: str, arguments: tuple[str, ...]
) -> None:
    for name in ("low/inside", "up", "merged", "plain", "own"):
        (lab / name).mkdir(parents=True)
    (lab / "file").write_text("nothing of a mountinfo\n")
    layerctl_json("mount", "-u", "up", "-l", "low", "merged")
    syscalls.mount("own", "own", "tmpfs", 0, "")
    before = Path("/proc/self/mountinfo").read_text(), sorted(lab.rglob("*"))
    flag = "--jsonl" if "--raw" in arguments else "--json"
    done = layerctl(*arguments, *([] if arguments[0] == "schema" else [flag]))
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    if arguments[0] != "schema":
        error = valid("error", done.stderr)["error"]
        assert (error["id"], error["exit_code"]) == (identity, code)
        assert error["message"]
        assert error["hint"] or error["commands"]
    plain = layerctl(*arguments)
    assert (plain.returncode, plain.stdout) == (code, ""), plain.stderr
    assert plain.stderr.startswith("layerctl: ")
    assert "  help: " in plain.stderr
    assert (Path("/proc/self/mountinfo").read_text(), sorted(lab.rglob("*"))) == before


@pytest.mark.namespace
def test_without_privilege_nothing_is_mounted(lab: Path) -> None:
    for name in ("low", "up", "merged"):
        (lab / name).mkdir()
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "layerctl",
         "mount", "-u", "up", "-l", "low", "merged", "--json"],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert valid("error", done.stderr)["error"]["id"] == "missing-cap-sys-admin"
    assert not (lab / "up.work").exists()

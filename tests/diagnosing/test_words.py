"""What doctor says: numbers with their nouns, marks that agree with the verdict, who is root."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from layerctl.diagnosing import system
from layerctl.diagnosing.checks import check
from layerctl.diagnosing.checks.check import Checked, Report
from layerctl.diagnosing.state import State
from layerctl.kernel.facts import Caller
from layerctl.model import Finding, Severity
from layerctl.render.findings import check_lines, state_lines, summary
from layerctl.rules.words import count
from tests.support import layerctl, layerctl_json
from tests.support.plans import a_system, make


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (1, "process", "1 process"),
        (2, "process", "2 processes"),
        (0, "directory", "0 directories"),
        (1, "directory", "1 directory"),
        (3, "branch", "3 branches"),
        (1, "byte", "1 byte"),
        (2, "inode", "2 inodes"),
        (2, "day", "2 days"),
    ],
)
def test_numbers_agree_with_their_nouns(number: int, noun: str, words: str) -> None:
    assert count(number, noun) == words


@pytest.mark.parametrize("root", [True, False])
def test_nobody_tells_root_to_become_root(root: bool) -> None:
    found, _ = check.make([], ("a file",), root)
    assert ("as root on the host" in found[0].fix.text) is not root
    assert Caller(0, True, False).is_root
    assert not Caller(0, True, True).is_root
    assert not Caller(0, False, False).is_root
    assert not Caller(1000, True, False).is_root


@pytest.mark.namespace
def test_doctor_v_marks_a_check_as_grave_as_what_it_found() -> None:
    make("l", "u", "w", "m", "b")
    assert layerctl("mount", "-l", "l", "-u", "u", "-w", "w", "m").returncode == 0
    document = layerctl_json("doctor", "m")
    assert {one["severity"] for one in document["findings"]} == {"info"}
    done = layerctl("doctor", "-v", "m")
    assert done.stdout.endswith("all is well\n")
    assert "✗" not in done.stdout
    assert "!" not in [line[:1] for line in done.stdout.splitlines()]
    found = (
        "i Renaming a directory of a lower layer fails with EXDEV  [redirect-dir-off-rename-exdev]"
    )
    assert found in done.stdout
    assert "Lower directories can be renamed" not in done.stdout  # what is not so is not said
    assert "✓ Every layer is still at its path" in done.stdout
    worse = layerctl("doctor", "-v", "-l", "l", "-l", "nosuch", "m")
    assert "✗ " in worse.stdout
    assert worse.stdout.endswith("1 failure\n")


def test_what_a_check_found_stands_in_its_place() -> None:
    made = [Checked("a", "A", ("x", "y")), Checked("b", "B", ())]
    found = [
        Finding(cause, severity, cause.upper(), "", (), None)  # type: ignore[arg-type]  # no fix is needed
        for cause, severity in (("y", Severity.WARNING), ("x", Severity.INFO))
    ]
    assert list(check_lines(Report(found, made))) == ["i X  [x]", "! Y  [y]", "✓ B"]


def test_a_system_that_lacks_something_is_not_all_well() -> None:
    nothing = Report([], [])
    state = State(tuple(system.rows(a_system(features={"verity": 22}))), nothing)
    assert "  ✗ verity: Invalid argument" in state_lines(state, verbose=True)
    assert summary([], lacking=state.lacking) != summary([])
    assert "✗" in summary([], lacking=state.lacking)
    plain = State(tuple(system.rows(a_system(features={"verity": 0}))), nothing)
    assert summary([], lacking=plain.lacking) == "all is well"


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("layer", "name"),
    [("u", ".wh.gone"), ("l", "a/b/.wh.gone"), ("l2", "a/.wh..wh..opq"), ("l", ".wh..wh.plnk/")],
)
def test_whiteouts_of_aufs_in_an_overlay_are_told_of(lab: Path, layer: str, name: str) -> None:
    make("l/a/b", "l2/a", "u", "w", "m")
    if name.endswith("/"):
        make(f"{layer}/{name}")
    else:
        Path(layer, name).touch()
    flags = ("-l", "l", "-l", "l2", "-u", "u", "-w", "w", "m")
    seen = f"{lab}/{layer}/{name}".rstrip("/")
    for arguments in (flags, ("m",)):
        document = layerctl_json("doctor", *arguments)
        assert document["verdict"] == "warning"
        (found,) = [one for one in document["findings"] if one["severity"] == "warning"]
        assert found["cause"] == "aufs-whiteouts-in-overlay"
        assert found["evidence"][0].endswith(seen)
        if arguments == flags:
            assert layerctl("mount", *flags).returncode == 0
    names = {str(path.relative_to("m")) for path in Path("m").rglob("*")}
    assert name.rstrip("/") in names  # it is a file like any other there


FULL = {
    "tmpfs without a block": (
        "mount -t tmpfs -o size=64k t f && mkdir f/u f/w; cat /dev/zero >f/x 2>/dev/null; true"
    ),
    "tmpfs without an inode": "mount -t tmpfs -o nr_inodes=3 t f && mkdir f/u f/w",
    "ext4 without a block": (
        "truncate -s 8M img && mkfs.ext4 -q img && mount -o loop img f && mkdir f/u f/w; "
        "cat /dev/zero >f/x 2>/dev/null; true"
    ),
    "ext4 without an inode": (
        "truncate -s 8M img && mkfs.ext4 -q -N 16 img && mount -o loop img f && mkdir f/u f/w; "
        "i=0; while touch f/x$i 2>/dev/null; do i=$((i+1)); done; true"
    ),
}


@pytest.mark.namespace
@pytest.mark.parametrize("setup", FULL)
def test_a_full_upper_is_a_failure(lab: Path, setup: str) -> None:
    make("l", "f", "m")
    subprocess.run(["/bin/sh", "-c", FULL[setup]], check=True)
    flags = ("-l", "l", "-u", "f/u", "-w", "f/w")
    (found,) = layerctl_json("doctor", *flags, "m", code=1)["findings"]
    assert (found["cause"], found["severity"]) == ("upper-enospc", "failure")
    new = layerctl("mount", "-n", "--mkdir", "-l", "l", "-u", "f/new", "m", "--json")
    assert "upper-enospc" in [one["cause"] for one in json.loads(new.stdout)["findings"]]
    done = layerctl("mount", *flags, "m", "--json")
    assert done.returncode == 32
    assert json.loads(done.stderr)["error"]["id"] == "upper-enospc"
    assert not layerctl_json("list")["mounts"]
    assert layerctl("mount", *flags, "-r", "m").returncode == 0
    assert layerctl_json("doctor", "m")["verdict"] == "warning"  # nothing is written there
    subprocess.run(["umount", "m"], check=True)
    options = f"lowerdir={lab}/l,upperdir={lab}/f/u,workdir={lab}/f/w"
    subprocess.run(["mount", "-i", "-t", "overlay", "-o", options, "o", "m"], check=True)
    found = json.loads(layerctl("doctor", "m", "--json").stdout)["findings"]
    assert "upper-enospc" in [one["cause"] for one in found]
    with pytest.raises(OSError, match=r"No space left|Read-only"):
        Path("m/new").write_bytes(bytes(64 << 10))


@pytest.mark.namespace
def test_what_is_kept_for_root_is_room_for_root() -> None:
    make("l", "f", "m")
    setup = (
        "truncate -s 8M img && mkfs.ext4 -q -m 40 img && mount -o loop img f && mkdir f/u f/w "
        "&& chmod 777 f && setpriv --reuid 65534 --clear-groups dd if=/dev/zero of=f/x "
        "2>/dev/null; true"
    )
    subprocess.run(["/bin/sh", "-c", setup], check=True)
    flags = ("-l", "l", "-u", "f/u", "-w", "f/w")
    found = layerctl_json("doctor", *flags, "m")["findings"]
    assert [(one["cause"], one["severity"]) for one in found] == [
        ("swappable-directory", "warning"),  # f is everyone's
        ("upper-enospc", "warning"),
    ]
    assert layerctl("mount", *flags, "m").returncode == 0
    Path("m/new").write_bytes(bytes(64 << 10))

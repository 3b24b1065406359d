"""The other forms of a mount, proven by use: a real shell, real mount(8), systemd's verifier."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from layerctl.kernel import mounts, syscalls
from layerctl.mounting.boot import unit_name
from tests.support import layerctl
from tests.support.mounting import ODD_NAMES, make, shown


def printed(form: str, *arguments: str, code: int = 0) -> str:
    done = layerctl("mount", "--print", form, *arguments)
    assert done.returncode == code, done.stderr
    assert not mounted()
    return done.stdout


def mounted() -> list[str]:
    return [one.target for one in mounts.entries() if one.fstype in mounts.LAYERED]


def same_stack(lab: Path, expected: Sequence[tuple[str, str]], flags: set[str]) -> None:
    got = [(role, os.path.realpath(path)) for role, path in shown(lab / "m")]
    assert got == [(role, f"{lab}/{path}") for role, path in expected]
    stack = mounts.find_layered(str(lab / "m")).stack
    assert flags <= set(stack.flags)
    syscalls.umount2(str(lab / "m"), 0)


@pytest.mark.namespace
@pytest.mark.parametrize("name", ODD_NAMES)
def test_command_and_fstab_end_in_the_same_stack(lab: Path, name: str) -> None:
    make(lab, f"l/{name}", f"k/{name}", f"u/{name}", f"w/{name}", "m")
    arguments = [
        "-l", f"l/{name}", "-l", f"k/{name}", "-u", f"u/{name}", "-w", f"w/{name}",
        "-o", "nosuid,noatime,index=on", "source of it", "m",
    ]  # fmt: skip
    if '"' in name:  # mount(8) of util-linux fails, or reads the options otherwise
        for form in ("command", "fstab", "unit"):
            assert "double quote" in layerctl("mount", "--print", form, *arguments).stderr
        assert layerctl("mount", "--dry-run", *arguments).returncode == 0
        return
    expected = [("upper", f"u/{name}"), ("lower", f"l/{name}"), ("lower", f"k/{name}")]
    command = printed("command", *arguments)
    subprocess.run(["/bin/sh", "-c", os.fsencode(command)], check=True)
    same_stack(lab, expected, {"nosuid", "noatime"})
    done = layerctl("mount", "--print", "fstab", *arguments)
    if done.returncode:  # over 255 bytes, which newer mount(8) cannot do
        assert "255" in done.stderr
        assert len(name) > 200
        return
    Path("fstab").write_bytes(os.fsencode(done.stdout))
    subprocess.run(["mount", "-T", "fstab", str(lab / "m")], check=True)
    same_stack(lab, expected, {"nosuid", "noatime"})


@pytest.mark.namespace
def test_a_command_longer_than_a_page_starts_from_the_common_parent(lab: Path) -> None:
    names = [f"{number:03d}{'x' * 20}" for number in range(120)]
    make(lab, *(f"{'d' * 100}/{name}" for name in names), "m")
    flags = [word for name in names for word in ("-l", f"{'d' * 100}/{name}")]
    subprocess.run(["/bin/sh", "-c", printed("command", *flags, "m")], check=True)
    assert [path for _, path in shown(lab / "m")] == names
    syscalls.umount2(str(lab / "m"), 0)
    done = layerctl("mount", "--print", "options", *flags, "m")
    assert done.returncode == 32
    assert done.stdout == ""
    assert "4095" in done.stderr


@pytest.mark.namespace
def test_a_command_makes_the_work_directory_that_mount_would_make(lab: Path) -> None:
    make(lab, "l", "u", "m")
    command = printed("command", "-l", "l", "-u", "u", "m")
    assert not (lab / "u.work").exists()
    subprocess.run(["/bin/sh", "-c", command], check=True)
    same_stack(lab, [("upper", "u"), ("lower", "l")], {"rw"})


@pytest.mark.namespace
@pytest.mark.parametrize("name", [name for name in ODD_NAMES if len(name) < 50])
def test_the_unit_passes_the_verifier_or_is_refused(lab: Path, name: str) -> None:
    target = f"t/{name.replace(':', '.')}"  # the verifier takes a colon for its own syntax
    make(lab, f"l/{name}", "k", target)
    done = layerctl("mount", "--print", "unit", "-l", f"l/{name}", "-l", "k", target)
    if done.returncode:
        assert "unit" in done.stderr or '"' in name
        assert done.stdout == ""
        assert any(char in name for char in '\n\t\udcff"') or name.endswith("\\")
        return
    file = done.stdout.split("\n")[0].removeprefix("# /etc/systemd/system/")
    Path(file).write_text(done.stdout)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"./{file}"], capture_output=True, text=True
    )
    complaints = [line for line in checked.stderr.splitlines() if file in line]
    assert (checked.returncode, complaints) == (0, []), checked.stderr


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize(
    "form",
    ["/{name}", "//a/{name}/b-c/", "/"],
)
def test_unit_names_are_those_of_systemd(name: str, form: str) -> None:
    done = subprocess.run(
        [b"systemd-escape", b"-p", b"--suffix=mount", b"--", os.fsencode(form.format(name=name))],
        capture_output=True,
        check=True,
    )
    assert unit_name(form.format(name=name)) == os.fsdecode(done.stdout).removesuffix("\n")


def test_aufs_forms_and_their_limits(tmp_path: Path) -> None:
    for name in ("l1", "l2", "m", "a,b"):
        (tmp_path / name).mkdir()
    run = ("-b", f"{tmp_path}/l1", "-b", f"{tmp_path}/l2=ro+wh", "none", f"{tmp_path}/m")
    done = layerctl("mount", "--print", "fstab", "--aufs-xino", "none", *run)
    waits = ",".join(f"x-systemd.requires-mounts-for={tmp_path}/{name}" for name in ("l1", "l2"))
    assert done.stdout == (
        f"none {tmp_path}/m aufs br={tmp_path}/l1:{tmp_path}/l2=ro+wh,noxino,{waits} 0 0\n"
    )
    has_aufs = "\taufs\n" in Path("/proc/filesystems").read_text()
    assert done.returncode == (0 if has_aufs else 1)  # it would fail at boot: no aufs
    xino = ("--aufs-xino", "/run/x/aufs.xino")
    line = layerctl("mount", "--print", "fstab", *xino, *run).stdout
    assert "xino=/run/x/aufs.xino," in line
    assert line.endswith(",x-systemd.requires-mounts-for=/run/x 0 0\n")
    done = layerctl("mount", "--print", "options", "-b", f"{tmp_path}/a,b", f"{tmp_path}/m")
    assert done.returncode == 32
    assert done.stdout == ""

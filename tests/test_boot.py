"""What a machine mounts at boot: systemd's own generator, verifier and tmpfiles read it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from tests.support import ROOT, layerctl
from tests.support.mounting import ODD_NAMES, make, snapshot

GENERATOR = "/usr/lib/systemd/system-generators/systemd-fstab-generator"


def waits_for(unit: str) -> list[str]:
    """Return what systemd itself reads of a unit's RequiresMountsFor=, without the implied ones."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"./{unit}"],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "debug"},
    )
    dump = done.stdout.partition(f"Unit {unit}:")[2].partition("-> Unit ")[0]
    found = re.findall(r"^\s+RequiresMountsFor: (.*?) \((.*)\)$", dump, re.MULTILINE)
    return [path for path, origin in found if "origin-file" in origin]


def generated(line: str) -> str:
    """Return the unit that systemd makes of an fstab line, written to the working directory."""
    Path("fstab").write_bytes(os.fsencode(line))
    for name in ("normal", "early", "late"):
        shutil.rmtree(name, ignore_errors=True)
        os.mkdir(name)
    subprocess.run(
        [GENERATOR, "normal", "early", "late"],
        env={**os.environ, "SYSTEMD_FSTAB": os.path.abspath("fstab")},
        check=True,
    )
    (unit,) = [name for name in os.listdir("normal") if name.endswith("m.mount")]
    shutil.copy(f"normal/{unit}", unit)
    return unit


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", ["ext4"])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_systemd_waits_for_the_mounts_of_every_directory(lab: Path, name: str) -> None:
    paths = [f"{lab}/{part}/{name}" for part in ("u", "l", "k", "w")]
    make(lab, *paths, "m")
    arguments = ("-u", paths[0], "-l", paths[1], "-l", paths[2], "-w", paths[3], "m")
    done = layerctl("mount", "--print", "fstab", *arguments)
    refused = '"' in name or len(name) > 200
    unsaid = re.search(r"[\n\t\udcff]|\\$", name) is not None  # systemd cannot be told them
    assert refused is (done.returncode != 0), done.stderr
    if not refused and not unsaid:
        assert sorted(waits_for(generated(done.stdout))) == sorted(paths)
        assert done.stderr == ""
    done = layerctl("mount", "--print", "unit", *arguments)
    assert (refused or unsaid) is (done.returncode != 0), done.stderr
    if not refused and not unsaid:
        file = done.stdout.split("\n")[0].removeprefix("# /etc/systemd/system/")
        Path(file).write_text(done.stdout)
        assert sorted(waits_for(file)) == sorted(paths)


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", ["ext4"])
@pytest.mark.parametrize("form", ["fstab", "unit", "options", "tmpfiles"])
def test_what_must_be_made_is_said_and_not_called_made(lab: Path, form: str) -> None:
    make(lab, "l", "u", "m")
    before = snapshot(lab)
    done = layerctl("mount", "--print", form, "-l", "l", "-u", "u", "m")
    assert done.returncode == 0
    assert f"the work directory is {lab}/u.work\n" in done.stderr
    assert "created for this mount" not in done.stderr
    assert ("--print tmpfiles" in done.stderr) is (form != "tmpfiles")
    assert snapshot(lab) == before


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", ["ext4"])
def test_a_command_makes_what_must_be_made(lab: Path) -> None:
    make(lab, "l", "u", "m")
    before = snapshot(lab)
    done = layerctl("mount", "--print", "command", "-l", "l", "-u", "u", "m")
    assert "mkdir -p" in done.stdout
    assert "not made yet" not in done.stderr
    dry = layerctl("mount", "--dry-run", "-l", "l", "-u", "u", "m").stdout
    assert "created for this mount" not in dry
    assert f"create the directory {lab}/u.work" in dry
    assert snapshot(lab) == before
    os.mkdir("u.work")
    done = layerctl("mount", "--print", "fstab", "-l", "l", "-u", "u", "m")
    assert done.stderr == f"layerctl: the work directory is {lab}/u.work\n"


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", ["ext4"])
@pytest.mark.parametrize("name", [name for name in ODD_NAMES if not set(name) & {"\n", '"'}])
def test_tmpfiles_makes_what_a_mount_would_make(name: str) -> None:
    os.mkdir("l")
    os.chmod("l", 0o1751)
    os.chown("l", 7, 8)
    arguments = ("--mkdir", "-l", "l", "-u", f"new/{name}/u", "new/m")
    done = layerctl("mount", "--print", "tmpfiles", *arguments)
    assert done.returncode == 0, done.stderr
    assert not Path("new").exists()
    _create(done.stdout)
    upper, target = os.stat(f"new/{name}/u"), os.stat("new/m")
    assert (upper.st_mode & 0o7777, upper.st_uid, upper.st_gid) == (0o1751, 7, 8)
    assert (target.st_mode & 0o7777, target.st_uid, target.st_gid) == (0o755, 0, 0)
    assert layerctl("mount", *arguments).returncode == 0
    syscalls.umount2("new/m", 0)
    os.chmod(f"new/{name}/u", 0o700)  # whoever uses the mount may: it stays so
    _create(done.stdout)
    assert os.stat(f"new/{name}/u").st_mode & 0o7777 == 0o700
    again = layerctl("mount", "--print", "tmpfiles", "-l", "l", "-u", f"new/{name}/u", "new/m")
    assert all(line.startswith("#") for line in again.stdout.splitlines())


def _create(lines: str) -> None:
    subprocess.run(["systemd-tmpfiles", "--create", "-"], input=os.fsencode(lines), check=True)


@pytest.mark.namespace
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize("backing", ["ext4"])
def test_tmpfiles_cannot_make_a_name_with_a_newline(lab: Path) -> None:
    make(lab, "l", "m")
    done = layerctl("mount", "--print", "tmpfiles", "--mkdir", "-l", "l", "-u", "a\nb/u", "m")
    assert (done.returncode, done.stdout) == (32, "")


@pytest.mark.namespace
def test_directories_on_a_tmpfs_are_made_at_each_boot_before_the_mount(lab: Path) -> None:
    make(lab, "l", "u", "w", "m")
    os.chmod("u", 0o700)
    arguments = ("-l", "l", "-u", "u", "-w", "w", "m")
    lines = layerctl("mount", "--print", "tmpfiles", *arguments).stdout.splitlines()[1:]
    assert lines == [f"d {lab}/u :0700 :0 :0 -", f"d {lab}/w - - - -"]
    done = layerctl("mount", "--print", "fstab", *arguments)
    assert "--print tmpfiles" in done.stderr
    from_fstab = Path(generated(done.stdout)).read_text()
    from_unit = layerctl("mount", "--print", "unit", *arguments).stdout
    for text in (from_fstab, from_unit):
        assert "Requires=systemd-tmpfiles-setup.service" in text
        assert "After=systemd-tmpfiles-setup.service" in text
        assert "Before=local-fs.target" not in text  # else it would wait for itself
        assert re.search(r"^Options=(.*,)?nofail,", text, re.MULTILINE)
    subprocess.run(["mount", "-T", "fstab", str(lab / "m")], check=True)


@pytest.mark.namespace
@pytest.mark.parametrize("form", ["options", "command", "fstab", "unit", "tmpfiles"])
def test_a_form_of_what_would_fail_does_not_end_with_0(lab: Path, form: str) -> None:
    make(lab, "l", "u", "m")
    done = layerctl("mount", "--print", form, "-l", "l", "-l", "nosuch", "-u", "u", "m")
    assert done.returncode == 1
    assert "failure: " in done.stderr
    assert "missing-layer-directory" in done.stderr


@pytest.mark.namespace
def test_who_may_not_mount_may_print(lab: Path) -> None:
    make(lab, "l", "k", "m")
    command = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "layerctl", "mount", "--print", "fstab", "-l", "l",
         "-l", "k", "m"],
        capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"failure" not in done.stderr

"""`mount -t layerctl`: mount(8) of util-linux and of busybox run the helper that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.codecs.helper import arguments
from layerctl.errors import RequestError
from layerctl.kernel import mounts, syscalls
from tests.support import ROOT, layerctl
from tests.support.mounting import make, mounted_here, shown

UTIL_LINUX, BUSYBOX = ("mount",), ("busybox", "mount")
SBIN = os.path.realpath("/sbin")


def install(lab: Path) -> None:
    """Put the helper into /sbin, where mount(8) looks, in this mount namespace alone."""
    make(lab, "helper")
    script = lab / "helper" / "mount.layerctl"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from layerctl.__main__ import program\n\nprogram()\n"
    )
    script.chmod(0o755)
    assert layerctl("mount", "-l", str(lab / "helper"), "-l", SBIN, SBIN).returncode == 0
    make(lab, "l/d", "k", "u", "m")
    (lab / "l" / "f").write_text("lower\n")
    os.chown("l/f", 5, 6)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.namespace
@pytest.mark.parametrize("mount", [UTIL_LINUX, BUSYBOX], ids="-".join)
def test_a_mount_by_the_type(lab: Path, mount: tuple[str, ...]) -> None:
    install(lab)
    options = f"map=0:1000:100,lower={lab}/l,lower={lab}/new\\,one,upper={lab}/u,nosuid"
    make(lab, "new,one")
    done = run(*mount, "-t", "layerctl", "-o", options, "source", f"{lab}/m")
    assert done.returncode == 0, done.stderr
    entry = mounts.find("m")
    assert (entry.source, os.stat("m/f").st_uid) == ("source", 1005)
    assert shown(lab / "m")[1:] == [("lower", f"{lab}/l"), ("lower", f"{lab}/new,one")]
    # busybox passes no flags of mount(2) on
    assert ("nosuid" in entry.mount_options) is (mount is UTIL_LINUX)
    assert run(*mount[:-1], "umount", f"{lab}/m").returncode == 0
    assert mounted_here(lab) == []


@pytest.mark.namespace
@pytest.mark.parametrize("mount", [UTIL_LINUX, BUSYBOX], ids="-".join)
@pytest.mark.parametrize("backing", ["ext4"])
def test_the_printed_line_by_mount_a(lab: Path, backing: str, mount: tuple[str, ...]) -> None:
    del backing
    install(lab)
    printed = layerctl("mount", "--print", "fstab", "--map", "0:1000:100", "-l", "l", "--map",
                       "none", "-l", "k", "-u", "u", "-r", "m")  # fmt: skip
    assert " layerctl " in printed.stdout
    assert "mount.layerctl" in printed.stderr
    make(lab, "u.work")
    syscalls.mount("tmpfs", "/etc", "tmpfs", 0, "")
    Path("/etc/fstab").write_text(printed.stdout)
    for _ in range(2):  # the second time, there is nothing left to do
        done = run(*mount, "-a")
        assert done.returncode == 0, done.stderr
    assert os.stat("m/f").st_uid == 1005
    if mount is UTIL_LINUX:
        assert "ro" in mounts.find("m").mount_options
        assert run("mount", "-o", "remount,rw", f"{lab}/m").returncode == 0
        assert "rw" in mounts.find("m").mount_options
    assert run("umount", f"{lab}/m").returncode == 0
    assert mounted_here(lab) == []


@pytest.mark.namespace
def test_the_arguments_that_mount8_passes(lab: Path) -> None:
    install(lab)
    kind = ("-t", "layerctl")
    layers = f"lower={lab}/l,lower={lab}/k"
    fake = run("mount", "-f", *kind, "-o", layers, "none", f"{lab}/m")
    assert (fake.returncode, fake.stdout, mounted_here(lab)) == (0, "", [])
    fake = run("mount", "-f", *kind, "-o", f"{layers},lower={lab}/nosuch", "none", f"{lab}/m")
    assert fake.returncode == 32
    unknown = ("-o", f"{layers},bogus=3", "none", f"{lab}/m")
    assert run("mount", *kind, *unknown).returncode == 32
    done = run("mount", "-snv", *kind, *unknown)
    assert (done.returncode, done.stderr) == (0, f"layerctl: none mounted on {lab}/m\n")
    assert run("umount", f"{lab}/m").returncode == 0
    with subprocess.Popen(["unshare", "-m", "sh", "-c", "echo; read x"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        done = run("mount", "-N", str(other.pid), *kind, "-o", layers, "none", f"{lab}/m")
        there = Path(f"/proc/{other.pid}/mountinfo").read_text()
        other.kill()
    assert (done.returncode, f" {lab}/m " in there, mounted_here(lab)) == (0, True, [])


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("a",), 1),
        (("a", "m", "-o", "lower"), 1),
        (("a", "m", "-o", "mkdir=yes,lower=l"), 1),
        (("a", "m", "-o", "lower=l"), 1),
        (("a", "m", "-o", "lower=l,lower=missing"), 32),
        (("a", "missing", "-o", "lower=l,lower=k"), 32),
        (("a", "m", "-N", "/missing", "-o", "lower=l,lower=k"), 32),
        (("a", "m", "-t", "layerctl.aufs", "-o", "lower=l,lower=k"), 1),
        (("--help",), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_exit_codes_are_those_of_mount8(lab: Path, words: tuple[str, ...], code: int) -> None:
    install(lab)
    done = run(f"{SBIN}/mount.layerctl", *words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert mounted_here(lab) == []


FLAGS = {
    "tmpfs": None,
    "mkdir": False,
    "map": True,
    "lower": True,
    "upper": True,
    "api": True,
    "volatile": True,
}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("rw,lowerdir=/a:/b", ["-o", "rw,lowerdir=/a:/b"]),
        ("lowerdir=/a,map=0:1:2,upperdir=/u", ["-o", "lowerdir=/a", "--map=0:1:2", "-o",
                                                "upperdir=/u"]),
        ("lower=/a\\,b,lower=/c\\\\d,mkdir", ["--lower=/a,b", "--lower=/c\\d", "--mkdir"]),
        ("tmpfs,tmpfs=1m", ["--tmpfs", "--tmpfs=1m"]),
        ("volatile,api=fd", ["-o", "volatile", "--api=fd"]),  # the kernel's own word
        ("remount,ro,map=0:1:2,lower=/a,nosuid", ["-o", "remount,ro,nosuid"]),
        ("nofail,x-systemd.requires-mounts-for=\"/a\\,b\"", ["-o",
         "nofail,x-systemd.requires-mounts-for=\"/a\\,b\""]),
    ],
)  # fmt: skip
def test_words_become_arguments(options: str, found: list[str]) -> None:
    assert arguments(options, FLAGS) == found


@pytest.mark.parametrize("options", ["mkdir=1", "lower"])
def test_values_that_are_missing_or_superfluous(options: str) -> None:
    with pytest.raises(RequestError):
        arguments(options, FLAGS)


@pytest.mark.parametrize("prefix", ["/usr/local", "/opt/layered"])
def test_make_install_puts_the_helper_where_mount8_looks(tmp_path: Path, prefix: str) -> None:
    make_ = ["make", "-C", str(ROOT), f"DESTDIR={tmp_path}", f"PREFIX={prefix}"]
    subprocess.run([*make_, f"PYTHON={sys.executable}", "install"], check=True)
    place = tmp_path / ("sbin" if prefix == "/usr/local" else "opt/layered/sbin")
    assert shutil.which("mount.layerctl", path=str(place)) is not None

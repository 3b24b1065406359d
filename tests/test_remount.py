"""`layerctl mount -o remount`: what the kernel changes is changed and proven, the rest refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.codecs import aufs
from layerctl.errors import RefusedError, RequestError
from layerctl.kernel import mounts, syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.model import Layer, MountEntry, Role, Stack
from layerctl.mounting import remount
from layerctl.rules.flags import mount2_flags
from layerctl.rules.remount import Flags, wanted
from tests.support import ROOT, layerctl, layerctl_json
from tests.support.mounting import make, traced


def overlay(lab: Path, options: str = "", upper: bool = True) -> None:
    make(lab, "l", "l2", "u", "w", "m")
    syscalls.mount("t", "l", "tmpfs", 0, "")  # on one filesystem xino would mean nothing
    words = ["-l", "l", *(["-u", "u", "-w", "w"] if upper else ["-l", "l2"])]
    done = layerctl("mount", *words, *(["-o", options] if options else []), "m")
    assert done.returncode == 0, done.stderr


def flags() -> tuple[set[str], set[str]]:
    """Return the flags of the mount and of the filesystem, as the kernel shows them."""
    entry = mounts.find("m")
    superblock = {word for word in entry.super_options.split(",") if "=" not in word}
    return set(entry.mount_options), superblock


@pytest.mark.namespace
def test_remount_changes_what_it_is_told_and_nothing_else(lab: Path) -> None:
    overlay(lab, "nosuid,noatime,xino=on")
    shown = mounts.find("m").super_options
    steps: tuple[tuple[str, set[str], str], ...] = (
        ("ro", {"ro", "nosuid", "noatime"}, "ro"),
        ("nodev", {"ro", "nosuid", "nodev", "noatime"}, "ro"),
        ("rw,suid", {"rw", "nodev", "noatime"}, "rw"),
        ("relatime", {"rw", "nodev", "relatime"}, "rw"),
        ("strictatime", {"rw", "nodev"}, "rw"),
        ("noexec", {"rw", "nodev", "noexec"}, "rw"),
        ("nodiratime,dev,exec", {"rw", "nodiratime"}, "rw"),
        ("atime,diratime,nostrictatime", {"rw", "relatime"}, "rw"),
        ("bind,ro", {"ro", "relatime"}, "rw"),
        ("nosymfollow", {"ro", "relatime", "nosymfollow"}, "rw"),
        ("bind,rw,symfollow", {"rw", "relatime"}, "rw"),
        ("sync", {"rw", "relatime"}, "rw"),
    )
    for words, mount_flags, mode in steps:
        done = layerctl("mount", "-o", f"remount,{words}", "m")
        assert (done.returncode, done.stdout) == (0, ""), (words, done.stderr)
        of_mount, of_superblock = flags()
        assert of_mount == mount_flags, words
        assert mode in of_superblock, words
    assert "sync" in flags()[1]
    assert layerctl("mount", "-o", "remount,async", "m").returncode == 0
    assert mounts.find("m").super_options == shown


@pytest.mark.namespace
def test_remount_ro_is_in_effect_and_so_is_rw(lab: Path) -> None:
    overlay(lab)
    document = layerctl_json("mount", "-r", "-o", "remount", "m")
    assert document["mounts"][0]["read_only"] is True
    with pytest.raises(OSError, match="Read-only"):
        Path("m/new").touch()
    document = layerctl_json("mount", "-o", "remount,rw", "m")
    assert document["mounts"][0]["read_only"] is False
    Path("m/new").touch()


IN_EFFECT = "lowerdir=LAB/l,upperdir=LAB/u,workdir=LAB/w"


@pytest.mark.namespace
@pytest.mark.parametrize(
    "options",
    ["xino=on", IN_EFFECT, f"{IN_EFFECT},xino=on,index=on,metacopy=off", "defaults", "nofail"],
)
def test_what_is_in_effect_already_is_taken(lab: Path, options: str) -> None:
    """mount(8) passes on every word of an fstab, and of the mount that is there."""
    overlay(lab, "xino=on,index=on")
    before = mounts.find("m")
    done = layerctl("mount", "-o", f"remount,{options.replace('LAB', str(lab))}", "m")
    assert done.returncode == 0, done.stderr
    assert "already in effect" in done.stderr
    assert mounts.find("m") == before


@pytest.mark.namespace
def test_layers_that_are_in_effect_are_taken(lab: Path) -> None:
    overlay(lab, "xino=on,index=on")
    before = mounts.find("m")
    done = layerctl("mount", "-l", "l", "-u", "u", "-w", "w", "-o", "remount", "overlay", "m")
    assert done.returncode == 0, done.stderr
    assert mounts.find("m") == before


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "remount,xino=off"), "xino=off"),
        (("-o", "remount,ro,index=on"), "index=on"),
        (("-o", "remount,metacopy=on"), "metacopy=on"),
        (("-o", "remount,volatile"), "volatile"),
        (("-o", "remount,fsync=volatile"), "fsync=volatile"),
        (("-o", "remount,userxattr"), "userxattr"),
        (("-o", "remount,dirsync"), "dirsync"),
        (("-o", "remount", "-l", "l2"), "no new layers"),
        (("-o", "remount", "-l", "l", "-l", "l2"), "no new layers"),
        (("-o", "remount,lowerdir=l:l2"), "no new layers"),
        (("-o", "remount", "-l", "l", "-u", "l2"), "no new layers"),
        (("-o", "remount,ro", "-w", "l2"), "no new work"),
        (("-o", "remount,ro,workdir=l2"), "no new work"),
    ],
)
def test_what_no_remount_changes_is_refused_with_the_reason(
    lab: Path, words: tuple[str, ...], said: str
) -> None:
    overlay(lab, "xino=on")
    before = mounts.find("m")
    done = layerctl("mount", *words, "m", "--json")
    assert done.returncode == 32
    error = json.loads(done.stderr)["error"]
    assert error["id"] == "not-at-remount"
    assert said in error["message"] + error["why"]
    assert "remount" in error["why"] or "first mount" in error["why"]
    assert mounts.find("m") == before
    # The kernel ignores such words silently, which is why they are refused here.
    options = words[1].replace("remount,ro", "remount").removeprefix("remount").lstrip(",")
    if said != "dirsync":  # which it refuses
        syscalls.mount(
            "o", "m", "overlay", syscalls.MS_REMOUNT | mount2_flags(["relatime"]), options
        )
    assert mounts.find("m").super_options == before.super_options


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-o", "remount,ro", "nosuch"), 3),
        (("-o", "remount,ro", "l"), 3),
        (("-o", "remount,ro", "-t", "aufs", "m"), 2),
        (("-o", "remount,ro", "--mkdir", "m"), 2),
        (("-o", "remount,ro", "--print", "fstab", "m"), 2),
        (("-o", "remount,xino=nosuch", "m"), 2),
        (("-o", "remount,ro=yes", "m"), 2),
        (("-o", "remount=ro", "m"), 2),
        (("-o", "remount,nosuchoption", "m"), 2),
        (("-o", "remount,ro", "-b", "l", "m"), 2),
    ],
)
def test_requests_that_make_no_sense(lab: Path, words: tuple[str, ...], code: int) -> None:
    overlay(lab)
    done = layerctl("mount", *words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert flags()[0] == {"rw", "relatime"}


@pytest.mark.namespace
def test_a_mount_that_cannot_be_written_to_stays_so(lab: Path) -> None:
    """As overlay/035 of xfstests: without an upper layer, and with a work directory of no use."""
    overlay(lab, upper=False)
    done = layerctl("mount", "-o", "remount,rw", "m")
    assert done.returncode == 32
    assert "no upper layer" in done.stderr
    assert "ro" in flags()[1]
    assert layerctl("mount", "-o", "remount,noatime", "m").returncode == 0
    assert flags()[0] == {"rw", "noatime"}
    syscalls.umount2("m", 0)
    make(lab, "w2/work/a/b/c", "u2")
    assert layerctl("mount", "-l", "l", "-u", "u2", "-w", "w2", "m").returncode == 0
    done = layerctl("mount", "-o", "remount,rw", "m")
    assert done.returncode == 32
    assert "work directory" in done.stderr


@pytest.mark.namespace
def test_who_writes_keeps_it_writable_and_is_named(lab: Path) -> None:
    overlay(lab)
    with open("m/open", "w") as file:
        file.write("x")
        done = layerctl("mount", "-o", "remount,ro", "m")
        assert done.returncode == 32
        assert f"pid {os.getpid()}" in done.stderr
        assert flags()[0] == {"rw", "relatime"}
    assert layerctl("mount", "-o", "remount,ro", "m").returncode == 0


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("inject", "code"),
    [
        ("mount:error=ENOMEM:when=2", 32),
        ("mount:error=EPERM:when=1", 4),
        ("mount:signal=SIGTERM:when=1", 128 + signal.SIGTERM),
        ("mount:signal=SIGINT:when=2", 130),
        ("mount:signal=SIGHUP:when=2", 128 + signal.SIGHUP),
    ],
)
def test_what_fails_or_is_interrupted_is_taken_back(lab: Path, inject: str, code: int) -> None:
    overlay(lab)
    assert layerctl("mount", "-o", "remount,bind,ro", "m").returncode == 0
    before = mounts.find("m")
    done = traced(inject, "mount", "-o", "remount,sync,noexec", "m")
    assert done.returncode == code, done.stderr
    assert mounts.find("m") == before
    assert layerctl("mount", "-o", "remount,sync,noexec", "m").returncode == 0
    assert flags()[0] == {"ro", "noexec", "relatime"}
    assert {"rw", "sync"} <= flags()[1]


@pytest.mark.namespace
@pytest.mark.parametrize("number", [1, 2])
def test_a_call_that_does_nothing_and_reports_success_is_noticed(lab: Path, number: int) -> None:
    overlay(lab)
    assert layerctl("mount", "-o", "remount,bind,ro", "m").returncode == 0
    before = mounts.find("m")
    done = traced(f"mount:retval=0:when={number}", "mount", "-o", "remount,sync", "m", "--json")
    assert json.loads(done.stderr)["error"]["id"] == "not-as-asked"
    assert mounts.find("m") == before


@pytest.mark.namespace
def test_a_dry_run_changes_nothing(lab: Path) -> None:
    overlay(lab, "nosuid")
    before = mounts.find("m")
    done = layerctl("mount", "-n", "-o", "remount,ro", "m")
    assert done.stdout == f"remount {lab}/m with ro,nosuid,relatime\n"
    document = layerctl_json("mount", "-n", "-o", "remount,bind,ro", "m")
    assert document["steps"] == [f"remount {lab}/m with bind,ro,nosuid,relatime"]
    assert mounts.find("m") == before


@pytest.mark.namespace(user=True)
def test_flags_that_are_locked_in_a_user_namespace(lab: Path) -> None:
    make(lab, "l", "l2", "m")
    try:
        assert layerctl("mount", "-l", "l", "-l", "l2", "-o", "nosuid", "m").returncode == 0
    except AssertionError:  # before 5.11
        return
    child = os.fork()
    if child == 0:
        try:  # one more namespace, owned by another user namespace: its mounts are locked
            uid, gid = os.getuid(), os.getgid()
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
            done = layerctl("mount", "-o", "remount,suid", "m")
            assert done.returncode == 4, done.stderr
            assert "locked" in done.stderr
            assert "nosuid" in flags()[0]
            assert layerctl("mount", "-o", "remount,bind,noexec", "m").returncode == 0
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


HELPER = """#!/bin/sh
# mount(8) calls: mount.overlay SOURCE TARGET [-sfnv] [-o OPTIONS]
source=$1 target=$2; shift 2
while getopts sfnvo:t:N: word; do case $word in o) options=$OPTARG;; esac; done
PYTHONPATH={root} exec {python} -m layerctl mount -t overlay -o "$options" "$source" "$target"
"""


@pytest.mark.namespace
def test_as_the_helper_of_mount(lab: Path) -> None:
    """mount(8) hands its helper everything: the words of the mount that is there, and ours."""
    make(lab, "l", "l2", "u", "w", "m", "sbin")
    syscalls.mount("t", "l", "tmpfs", 0, "")
    sbin = os.path.realpath("/sbin")
    subprocess.run(["cp", "-a", "--reflink=auto", f"{sbin}/.", "sbin"], check=True)
    helper = lab / "sbin" / "mount.overlay"
    helper.unlink(missing_ok=True)
    helper.write_text(HELPER.format(root=ROOT, python=sys.executable))
    helper.chmod(0o755)
    syscalls.mount("sbin", sbin, "", syscalls.MS_BIND, "")

    def mount(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["mount", *words], capture_output=True, text=True)

    options = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w,xino=on,nodev"
    done = mount("-t", "overlay", "-o", options, "source", f"{lab}/m")
    assert done.returncode == 0, done.stderr
    shown = mounts.find("m").super_options
    for words, mount_flags in (
        ("remount,ro", {"ro", "nodev", "relatime"}),
        ("remount,rw,xino=on", {"rw", "nodev", "relatime"}),
        ("remount,noexec", {"rw", "nodev", "noexec", "relatime"}),
    ):
        done = mount("-o", words, f"{lab}/m")
        assert done.returncode == 0, (words, done.stderr)
        assert flags()[0] == mount_flags, words
        assert mounts.find("m").super_options == shown.replace(
            "rw", min(mount_flags & {"ro", "rw"})
        )
    done = mount("-o", "remount,xino=off", f"{lab}/m")
    assert done.returncode != 0
    assert "xino=off" in done.stderr
    Path("fstab").write_text(f"source {lab}/m overlay {options} 0 0\n")
    done = mount("-T", "fstab", "-o", "remount,ro", f"{lab}/m")
    assert done.returncode == 0, done.stderr
    assert "ro" in flags()[0]


def test_flags_are_counted_once_each() -> None:
    now = Flags(frozenset({"nosuid", "relatime"}), frozenset())
    assert wanted(now, [], bind=False) == now
    assert wanted(now, ["ro"], bind=True) == Flags(now.mount | {"ro"}, frozenset())
    assert wanted(now, ["ro"], bind=False).superblock == {"ro"}
    assert wanted(now, ["ro", "rw"], bind=False) == now
    assert wanted(now, ["lazytime"], bind=False) == Flags(now.mount, frozenset({"lazytime"}))


@pytest.mark.namespace
def test_xino_means_nothing_on_one_filesystem(lab: Path) -> None:
    make(lab, "l", "u", "w", "m")
    assert layerctl("mount", "-l", "l", "-u", "u", "-w", "w", "-o", "xino=on", "m").returncode == 0
    for value in ("on", "off", "auto"):
        done = layerctl("mount", "-o", f"remount,ro,xino={value}", "m")
        assert done.returncode == 0, done.stderr


def _aufs() -> Mounted:
    entry = MountEntry(
        1, 0, "0:50", "/", "/m", ("rw", "nosuid", "relatime"), "aufs", "none", "rw,si=1f,udba=none"
    )
    layers = (Layer("/a", Role.BRANCH, "rw"), Layer("/b", Role.BRANCH, "ro"))
    return Mounted(entry, Stack("aufs", layers, None, {"udba": "none"}, ("rw", "nosuid")))


def test_what_aufs_takes_at_a_remount() -> None:
    live = _aufs()

    def planned(text: str, *, bind: bool = False) -> remount.Remount:
        others, changes = aufs.remount_words(text)
        return remount.plan(live, aufs.parse(others), bind=bind, changes=changes)

    assert planned("rw,nosuid,relatime,si=1f,udba=none").steps() == []
    assert planned("br=/a=rw:/b=ro,udba=none").steps() == []
    assert planned("udba=reval,noxino").steps() == [
        "remount /m with rw,nosuid,relatime,udba=reval,noxino"
    ]
    assert planned("ro").steps() == ["remount /m with ro,nosuid,relatime"]
    assert planned("append=/c:/d=rw,add:1:/e=ro+wh,del=/a,prepend=/f:/g").steps() == [
        "remount /m with append=/c",
        "remount /m with append=/d=rw",
        "remount /m with add=1:/e=ro+wh",
        "remount /m with del=/a",
        "remount /m with prepend=/g",
        "remount /m with prepend=/f",
    ]
    for text, bind, error in (
        ("append=/c,udba=reval", False, RequestError),
        ("append=/c,ro", False, RequestError),
        ("udba=reval", True, RequestError),
        ("br=/a=rw:/c=ro", False, RefusedError),
        ("dirsync", False, RefusedError),
        ("add=/c", False, RequestError),
        ("del=", False, RequestError),
    ):
        with pytest.raises(error):
            planned(text, bind=bind)

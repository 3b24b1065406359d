"""Round trips: doctor names the cause, the mount goes wrong so, the printed fix mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from layerctl.kernel import mounts, syscalls
from tests.support import ROOT, images, in_namespace, layerctl, layerctl_json
from tests.support.plans import make
from tests.support.shell import BASE, dirs, good, let_go, sh, shell


class Trip(NamedTuple):
    """One round trip. `goes_wrong` is asked once the plain mount(8) was tried, with its status.

    `after` says that the fix is for the mounted tree, `user` that it is about user namespaces.
    """

    name: str
    cause: str
    prepare: Callable[[Path], None]
    arguments: str
    options: str
    goes_wrong: Callable[[Path, int], bool] = lambda _lab, status: status != 0
    after: bool = False
    user: bool = False
    target: str = "m"


def loop(fstype: str, script: str, *names: str) -> Callable[[Path], None]:
    """Return a preparation with a filesystem of a type mounted on `f`."""

    def prepare(lab: Path) -> None:
        make("f", *names)
        images.mount(fstype, lab / "f")
        good(script)

    return prepare


PLAIN = "lowerdir=l,upperdir=u,workdir=w"
FLAGS = "-l l -u u -w w"
ON_F = "-l l -u f/u -w f/w"
STRING_ON_F = "lowerdir=l,upperdir=f/u,workdir=f/w"
TMPFS = "mount -t tmpfs t f && mkdir f/u f/w"


def mounted(_lab: Path, status: int) -> bool:
    return status == 0


def read_only(_lab: Path, status: int) -> bool:
    return status == 0 and sh("touch m/new").returncode != 0


def writes_fail(_lab: Path, status: int) -> bool:
    return status == 0 and sh("head -c 100000 /dev/zero > m/new").returncode != 0


def shows(script: str) -> Callable[[Path, int], bool]:
    """Return what is wrong as a shell condition on the mounted tree."""
    return lambda _lab, status: status == 0 and sh(script).returncode == 0


def ext4_image(_lab: Path) -> None:
    make(*BASE, "f")
    good(
        "truncate -s 64M i && mkfs.ext4 -q -F -O ^filetype i && mount -o loop i f && mkdir f/u f/w"
    )


def fuse(_lab: Path) -> None:
    make(*BASE, "f", "fu", "fw")
    good("fuse-overlayfs -o lowerdir=l2,upperdir=fu,workdir=fw f && mkdir f/u f/w")


def fstab(lab: Path) -> None:
    make(*BASE, "late", "source/x")
    Path("fstab").write_text(f"{lab}/source {lab}/late none bind 0 0\n")
    good("mount --bind fstab /etc/fstab")


def index_used(more: str) -> str:
    return (
        "mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w,index=on m && touch m/x && umount m"
        + more
    )


USED = "mount -t overlay o -o lowerdir=l,upperdir={u},workdir={w},index={i} m2"
VOLATILE = (
    "mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w,volatile m && touch m/x && umount m"
)

TRIPS: tuple[Trip, ...] = (
    Trip("lower missing", "missing-layer-directory", dirs("l", "m"), "-l l -l no",
         "lowerdir=l:no"),
    Trip("lower missing deep", "missing-layer-directory", dirs("l", "m"), "-l l -l a/b/c",
         "lowerdir=l:a/b/c"),
    Trip("upper missing", "missing-layer-directory", dirs("l", "w", "m"), FLAGS, PLAIN),
    Trip("work missing", "missing-layer-directory", dirs("l", "u", "m"), FLAGS, PLAIN),
    Trip("dangling link", "missing-layer-directory",
         shell("ln -s gone l3", *BASE), "-l l -l gone", "lowerdir=l:l3"),
    Trip("image for a layer", "layer-not-a-directory",
         shell("mksquashfs l2 i.sq -quiet -no-progress >/dev/null", *BASE), "-l l -l i.sq",
         "lowerdir=l:i.sq"),
    Trip("target missing", "target-missing", dirs("l", "l2"), "-l l -l l2", "lowerdir=l:l2"),
    Trip("target is a file", "target-not-a-directory", shell("touch t", *BASE), "-l l -l l2",
         "lowerdir=l:l2", target="t"),
    Trip("one lower alone", "too-few-layers", dirs(*BASE), "-l l", "lowerdir=l", after=True),
    Trip("work on another filesystem", "workdir-upperdir-different-mount",
         shell("mount -t tmpfs t w", *BASE), FLAGS, PLAIN),
    Trip("work on another mount", "workdir-upperdir-different-mount",
         shell("mount --bind w w", *BASE), FLAGS, PLAIN),
    Trip("upper by a link to another mount", "workdir-upperdir-different-mount",
         shell("mount -t tmpfs t f && mkdir f/u && rmdir u && ln -s f/u u", *BASE, "f"), FLAGS,
         PLAIN),
    Trip("upper is a mount of its own", "workdir-upperdir-different-mount",
         shell("mount --bind u u", *BASE), FLAGS, PLAIN),
    Trip("work in upper", "workdir-upperdir-not-separate", dirs(*BASE, "u/w"), "-l l -u u -w u/w",
         "lowerdir=l,upperdir=u,workdir=u/w"),
    Trip("upper in work", "workdir-upperdir-not-separate", dirs(*BASE, "w/u"), "-l l -u w/u -w w",
         "lowerdir=l,upperdir=w/u,workdir=w"),
    Trip("upper is work", "workdir-upperdir-not-separate", dirs(*BASE), "-l l -u u -w u",
         "lowerdir=l,upperdir=u,workdir=u"),
    Trip("upper is work by a link", "workdir-upperdir-not-separate",
         shell("ln -s u w3", *BASE), "-l l -u u -w w3", "lowerdir=l,upperdir=u,workdir=w3"),
    Trip("lower twice", "overlapping-layers", dirs(*BASE), "-l l -l l -u u -w w",
         "lowerdir=l:l,upperdir=u,workdir=w"),
    Trip("lower in lower", "overlapping-layers", dirs(*BASE, "l/s"), "-l l -l l/s -u u -w w",
         "lowerdir=l:l/s,upperdir=u,workdir=w"),
    Trip("lower above lower", "overlapping-layers", dirs(*BASE, "l/s"), "-l l/s -l l -u u -w w",
         "lowerdir=l/s:l,upperdir=u,workdir=w"),
    Trip("lower by a bind", "overlapping-layers", shell("mount --bind l l2", *BASE),
         "-l l -l l2 -u u -w w", "lowerdir=l:l2,upperdir=u,workdir=w"),
    Trip("lower is upper", "overlapping-layers", dirs(*BASE), "-l u -l l -u u -w w",
         "lowerdir=u:l,upperdir=u,workdir=w"),
    Trip("lower in upper", "overlapping-layers", dirs(*BASE, "u/s"), "-l u/s -l l -u u -w w",
         "lowerdir=u/s:l,upperdir=u,workdir=w"),
    Trip("lower is work", "overlapping-layers", dirs(*BASE), "-l w -l l -u u -w w",
         "lowerdir=w:l,upperdir=u,workdir=w"),
    Trip("upper in lower", "overlapping-layers", dirs(*BASE, "l/u", "l/w"), "-l l -u l/u -w l/w",
         "lowerdir=l,upperdir=l/u,workdir=l/w", shows("! ls m/u 2>/dev/null")),
    Trip("target in lower", "mountpoint-overlaps-layer", dirs(*BASE, "l/t"), FLAGS, PLAIN,
         shows("touch l/t/new && test -e u/new"), target="l/t"),
    Trip("target is a lower", "target-is-a-lower", shell("touch l/x", *BASE), FLAGS, PLAIN,
         shows("rm l/x && test ! -e l/x"), target="l"),
    Trip("target is the upper", "mountpoint-overlaps-layer", dirs(*BASE), FLAGS, PLAIN,
         shows("findmnt u"), target="u"),
    Trip("upper read-only", "upper-readonly",
         shell(TMPFS + " && mount -o remount,ro f", *BASE, "f"), ON_F, STRING_ON_F),
    Trip("upper on a read-only bind", "upper-readonly",
         shell("mkdir f/u f/w && mount --bind f f && mount -o remount,bind,ro f", *BASE, "f"),
         ON_F, STRING_ON_F),
    Trip("upper on squashfs", "upper-readonly",
         shell("mkdir -p s/u s/w && mksquashfs s i.sq -quiet -no-progress >/dev/null "
               "&& mount -o loop i.sq f", *BASE, "f"), ON_F, STRING_ON_F),
    Trip("upper on overlay", "upperdir-fs-unsupported-overlay",
         shell("mount -t overlay o -o lowerdir=l2,upperdir=u,workdir=w f && mkdir f/u f/w",
               *BASE, "f"), ON_F, STRING_ON_F),
    Trip("upper on fuse-overlayfs", "upperdir-fs-unsupported-fuse", fuse, ON_F, STRING_ON_F),
    Trip("stacked too deep", "max-stacking-depth",
         shell("mount -t overlay o -o lowerdir={0}/l:{0}/l2 o1 "
               "&& mount -t overlay o -o lowerdir={0}/o1:{0}/l3 o2".replace("{0}", "$PWD"),
               *BASE, "l3", "o1", "o2"),
         "-l o2 -u u -w w", "lowerdir=o2,upperdir=u,workdir=w"),
    Trip("stacked too deep by relative names", "max-stacking-depth",
         shell("mount -t overlay o -o lowerdir=l:l2 o1 "
               "&& mount -t overlay o -o lowerdir=o1:l3,upperdir=u2,workdir=w2 o2",
               *BASE, "l3", "o1", "o2", "u2", "w2"),
         "-l o2 -u u -w w", "lowerdir=o2,upperdir=u,workdir=w"),
    Trip("volatile mark", "volatile-incompat-dirty", shell(VOLATILE, *BASE), FLAGS, PLAIN),
    Trip("volatile mark again", "volatile-incompat-dirty", shell(VOLATILE, *BASE),
         FLAGS + " -o volatile", PLAIN + ",volatile"),
    Trip("index of another lower", "index-estale-lower-changed", shell(index_used(""), *BASE),
         "-l l2 -u u -w w -o index=on", "lowerdir=l2,upperdir=u,workdir=w,index=on"),
    Trip("index of a copied lower", "index-estale-lower-changed",
         shell(index_used(" && cp -a l ln && rm -r l && mv ln l"), *BASE),
         FLAGS + " -o index=on", PLAIN + ",index=on"),
    Trip("index and nfs_export", "index-estale-lower-changed",
         shell(index_used(""), *BASE), "-l l2 -u u -w w -o nfs_export=on",
         "lowerdir=l2,upperdir=u,workdir=w,nfs_export=on"),
    Trip("upper in use", "upperdir-in-use-index-on",
         shell(USED.format(u="u", w="w2", i="on"), *BASE, "m2", "w2"), FLAGS + " -o index=on",
         PLAIN + ",index=on"),
    Trip("work in use", "upperdir-in-use-index-on",
         shell(USED.format(u="u2", w="w", i="off"), *BASE, "m2", "u2"), FLAGS + " -o index=on",
         PLAIN + ",index=on"),
    Trip("lower in use", "lowerdir-in-use-as-upper",
         shell(USED.format(u="u2", w="w2", i="off"), *BASE, "m2", "u2", "w2"),
         "-l u2 -u u -w w -o index=on", "lowerdir=u2,upperdir=u,workdir=w,index=on"),
    Trip("upper shared", "upper-shared-warning",
         shell(USED.format(u="u", w="w2", i="off"), *BASE, "m2", "w2"), FLAGS, PLAIN,
         shows("touch m2/from-the-other && test -e m/from-the-other")),
    Trip("work immutable", "workdir-not-writable-mounted-ro",
         loop("ext4", "mkdir f/u f/w && chattr +i f/w", *BASE), ON_F, STRING_ON_F, read_only),
    Trip("work append-only", "workdir-not-writable-mounted-ro",
         loop("ext4", "mkdir f/u f/w f/w/work && chattr +a f/w", *BASE), ON_F, STRING_ON_F,
         read_only),
    Trip("upper immutable", "upper-immutable",
         loop("ext4", "mkdir f/u f/w && chattr +i f/u", *BASE), ON_F, STRING_ON_F, writes_fail),
    Trip("upper append-only", "upper-immutable",
         loop("ext4", "mkdir f/u f/w && touch f/u/x && chattr +a f/u", *BASE), ON_F, STRING_ON_F,
         shows("! rm m/x 2>/dev/null")),
    Trip("leftovers too deep", "workdir-not-empty", shell("touch l/x", *BASE, "w/work/a/b/c"),
         FLAGS, PLAIN, read_only),
    Trip("a mount in the work directory", "workdir-not-empty",
         shell("mount -t tmpfs t w/work/x", *BASE, "w/work/x"), FLAGS, PLAIN, read_only),
    Trip("a file for an index", "workdir-not-empty", shell("touch w/index", *BASE),
         FLAGS + " -o index=on", PLAIN + ",index=on"),
    Trip("read-only subvolume", "workdir-not-writable-mounted-ro",
         loop("btrfs", "btrfs -q subvolume create f/s && mkdir f/s/u f/s/w "
              "&& btrfs property set f/s ro true", *BASE),
         "-l l -u f/s/u -w f/s/w", "lowerdir=l,upperdir=f/s/u,workdir=f/s/w", read_only,
         after=True),
    Trip("ext4 full", "upper-enospc",
         loop("ext4", "mkdir f/u f/w; cat /dev/zero > f/x 2>/dev/null; true", *BASE), ON_F,
         STRING_ON_F, writes_fail, after=True),
    Trip("upper full", "upper-enospc",
         shell("mount -t tmpfs -o size=64k t f && mkdir f/u f/w; cat /dev/zero > f/x 2>/dev/null; "
               "true", *BASE, "f"), ON_F, STRING_ON_F, writes_fail),
    Trip("no inodes", "upper-enospc",
         shell("mount -t tmpfs -o nr_inodes=3 t f && mkdir f/u f/w", *BASE, "f"), ON_F,
         STRING_ON_F, writes_fail),
    Trip("no d_type", "xfs-ftype0-no-dtype", ext4_image, ON_F, STRING_ON_F, mounted),
    Trip("no attributes", "upper-fs-no-xattr",
         shell("mount -t ramfs r f && mkdir f/u f/w l/d", *BASE, "f"), ON_F, STRING_ON_F,
         shows("findmnt -no OPTIONS m | grep -q uuid=null")),
    Trip("no RENAME_WHITEOUT", "zfs-no-rename-whiteout",
         shell("mount -t ramfs r f && mkdir f/u f/w", *BASE, "f"), ON_F, STRING_ON_F, mounted),
    Trip("two subvolumes", "btrfs-subvolume-upper-exdev",
         loop("btrfs", "btrfs -q subvolume create f/u && btrfs -q subvolume create f/w "
              "&& touch l/x", *BASE), ON_F, STRING_ON_F,
         shows("! sh -c 'echo y >> m/x' 2>/dev/null")),
    Trip("upper is a subvolume", "btrfs-subvolume-upper-exdev",
         loop("btrfs", "btrfs -q subvolume create f/u && mkdir f/w && touch l/x", *BASE), ON_F,
         STRING_ON_F, shows("! sh -c 'echo y >> m/x' 2>/dev/null")),
    Trip("options that conflict", "conflicting-options", dirs(*BASE),
         FLAGS + " -o metacopy=on,redirect_dir=off", PLAIN + ",metacopy=on,redirect_dir=off"),
    Trip("a value that is none", "bad-option-value", dirs(*BASE), FLAGS + " -o index=yes",
         PLAIN + ",index=yes"),
    Trip("unknown option", "unknown-mount-option-old-kernel", dirs(*BASE), FLAGS + " -o nosuch=1",
         PLAIN + ",nosuch=1"),
    Trip("another type's option", "unknown-mount-option-old-kernel", dirs(*BASE),
         FLAGS + " -o udba=none", PLAIN + ",udba=none"),
    Trip("colon in a name", "colon-in-path", dirs(*BASE, "a:b"), "-o lowerdir=a:b:l",
         "lowerdir=a:b:l"),
    Trip("export without nofollow", "feature-fell-back", dirs(*BASE), "-l l -l l2 -o nfs_export=on",
         "lowerdir=l:l2,nfs_export=on", shows("! findmnt -no OPTIONS m | grep -q nfs_export=on")),
    Trip("submount hidden", "lowerdir-submounts-hidden",
         shell("mount -t tmpfs t l/s && touch l/s/x", *BASE, "l/s"), FLAGS, PLAIN,
         shows("test ! -e m/s/x")),
    Trip("submount of the upper hidden", "lowerdir-submounts-hidden",
         shell("mount -t tmpfs t u/s && touch u/s/x", *BASE, "u/s"), FLAGS, PLAIN,
         shows("test ! -e m/s/x")),
    Trip("layer of fstab", "mount-ordering-lower-not-mounted", fstab, "-l late/x -l l",
         "lowerdir=late/x:l"),
    Trip("foreign work directory", "workdir-not-empty", shell("touch w/mine", *BASE), FLAGS, PLAIN,
         shows("test -e w/mine")),
    Trip("userns without userxattr", "userns-needs-userxattr", dirs(*BASE, "l/d"), FLAGS, PLAIN,
         shows("rmdir m/d && ! mkdir m/d"), user=True),
    Trip("userns and redirects", "userns-trusted-xattr-option", dirs(*BASE),
         FLAGS + " -o redirect_dir=on", PLAIN + ",redirect_dir=on", user=True),
    Trip("userns and metacopy", "userns-trusted-xattr-option", dirs(*BASE),
         FLAGS + " -o metacopy=on", PLAIN + ",metacopy=on", user=True),
)  # fmt: skip


@pytest.mark.namespace
def test_a_layer_with_locked_mounts_is_copied(lab: Path) -> None:
    """Mounts of the namespace before are locked: no overlay may show what they hide."""
    make("l/s", "l2", "m")
    syscalls.mount("t", "l/s", "tmpfs", 0, "")
    environment = _program(lab)
    inner = "unshare -Urm sh -ec "
    plain = f"mount -t overlay o -o lowerdir={lab}/l:{lab}/l2,userxattr m"
    assert sh(f"{inner} '{plain}'").returncode != 0
    done = sh(f"{inner} 'layerctl doctor --json -l l -l l2 m'", **environment)
    (finding,) = json.loads(done.stdout)["findings"][:1]
    assert finding["cause"] == "userns-lower-with-submounts"
    script = "\n".join(finding["fix"]["commands"])
    good_again = sh(f'{inner} "$SCRIPT"', SCRIPT=script, **environment)
    assert good_again.returncode == 0, good_again.stderr


@pytest.mark.namespace
def test_without_the_right_to_mount_a_namespace_is_offered(lab: Path) -> None:
    make("l", "l2", "m")
    environment = _program(lab)
    less = "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "
    assert sh(f"{less} mount -t overlay o -o lowerdir=l:l2 m").returncode != 0
    done = sh(f"{less} layerctl doctor --json -l l -l l2 m", **environment)
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["cause"] == "missing-cap-sys-admin"
    mended = sh(f"{less} {finding['fix']['commands'][0]}", **environment)
    assert mended.returncode == 0, mended.stderr


@pytest.mark.namespace
def test_a_mount_of_another_namespace_is_taken_down_there(lab: Path) -> None:
    make(*BASE, "other")
    script = f"mount -t overlay o -o {PLAIN},index=on other && echo x && exec sleep 60"
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"x\n"
        arguments = [*FLAGS.split(), "-o", "index=on", "m"]
        finding = _examined(arguments)["findings"][0]
        assert finding["cause"] == "upperdir-in-use-index-on"
        for command in finding["fix"]["commands"]:
            done = sh(command, **_program(lab))
            assert done.returncode == 0, (command, done.stderr)
    finally:
        holder.kill()
        holder.communicate()


def test_there_are_enough_of_them() -> None:
    assert len(TRIPS) >= 40
    assert len({trip.cause for trip in TRIPS}) >= 25


def _program(lab: Path) -> dict[str, str]:
    """Return an environment in which `layerctl` is this program."""
    folder = lab / ".bin"
    folder.mkdir(exist_ok=True)
    script = folder / "layerctl"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m layerctl "$@"\n')
    script.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def _mounted_here(lab: Path) -> set[tuple[str, int]]:
    return {
        (entry.target, entry.mount_id)
        for entry in mounts.entries()
        if entry.target.startswith(f"{lab}/")
    }


@pytest.mark.parametrize("trip", TRIPS, ids=lambda trip: trip.name.replace(" ", "-"))
def test_round_trip(trip: Trip) -> None:
    def go(lab: Path) -> None:
        try:
            _go(lab, trip)
        finally:
            let_go(lab)

    in_namespace(go, user=trip.user)


def _go(lab: Path, trip: Trip) -> None:
    trip.prepare(lab)
    environment = _program(lab)
    arguments = [*trip.arguments.split(), trip.target]
    before = sorted(os.walk(lab))
    document = _examined(arguments)
    assert [one for one in sorted(os.walk(lab)) if "/f" not in one[0]] == [
        one for one in before if "/f" not in one[0]
    ], "doctor left something"
    finding = next((one for one in document["findings"] if one["cause"] == trip.cause), None)
    assert finding is not None, document["findings"]
    first = document["findings"][0]["cause"]
    if document["verdict"] == "failure":
        assert first == trip.cause, document["findings"]

    status = _plain_mount(trip)
    assert trip.goes_wrong(lab, status), (trip.name, status)
    if status == 0 and not trip.after:
        good(f"umount {trip.target}")
    elif trip.name == "one lower alone":
        assert status != 0

    here = _mounted_here(lab)
    for command in finding["fix"]["commands"]:
        done = sh(command, **environment)
        assert done.returncode == 0, (command, done.stderr)
    if trip.after:
        return
    new = [entry for entry in mounts.entries() if (entry.target, entry.mount_id) not in here]
    if not any(entry.fstype == "overlay" for entry in new):
        done = layerctl("mount", *arguments)
        assert done.returncode == 0, done.stderr
    again = [entry for entry in mounts.entries() if (entry.target, entry.mount_id) not in here]
    assert any(entry.fstype == "overlay" for entry in again)


def _examined(arguments: list[str]) -> Any:
    done = layerctl("doctor", *arguments, "--json")
    assert done.returncode in (0, 1), done.stderr
    return layerctl_json("doctor", *arguments, code=done.returncode)


def _plain_mount(trip: Trip) -> int:
    """Mount as the user would without us: by mount(2), with one string."""
    try:
        syscalls.mount("o", trip.target, "overlay", 0, trip.options)
    except OSError as error:
        return error.errno or -1
    return 0

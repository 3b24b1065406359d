"""Setups that are well: doctor is silent on every one, and the kernel mounts it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from layerctl.kernel import mounts, syscalls
from tests.support import images, in_namespace, layerctl, layerctl_json
from tests.support.plans import make
from tests.support.shell import BASE, dirs, good, let_go, shell


class Setup(NamedTuple):
    """A setup that is well."""

    name: str
    arguments: str
    prepare: Callable[[Path], None] = dirs(*BASE, "l3")
    fs: str = "tmpfs"
    user: bool = False


FLAGS = "-l l -u u -w w"
EVERYWHERE = (
    ("plain", FLAGS),
    ("three lowers", "-l l -l l2 -l l3 -u u -w w"),
    ("no upper", "-l l -l l2"),
    ("redirects and metacopy", FLAGS + " -o metacopy=on,redirect_dir=on"),
    ("index", FLAGS + " -o index=on"),
)
OPTIONS = (
    "redirect_dir=off", "redirect_dir=follow", "redirect_dir=nofollow", "index=off", "xino=off",
    "xino=auto", "uuid=on", "uuid=null", "uuid=auto", "userxattr", "nfs_export=on,index=on",
    "metacopy=off", "verity=off", "default_permissions", "noatime", "nosuid,nodev",
)  # fmt: skip


def packed(fstype: str) -> Callable[[Path], None]:
    def prepare(lab: Path) -> None:
        make(*BASE, "l3", "f")
        (lab / "l" / "x").write_text("x")
        images.mount_packed(lab / "l", fstype, lab / "f")

    return prepare


def nested(_lab: Path) -> None:
    make(*BASE, "l3", "f")
    good("mount -t overlay o -o lowerdir=l2:l3 f")


def fuse_lower(_lab: Path) -> None:
    make(*BASE, "f", "fu", "fw")
    good("fuse-overlayfs -o lowerdir=l2,upperdir=fu,workdir=fw f")


def used_before(_lab: Path) -> None:
    make(*BASE)
    good(
        "touch l/x && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w,index=on m "
        "&& echo y >> m/x && rm m/x && umount m"
    )


SETUPS = (
    *(
        Setup(f"{name} on {fs}", arguments, fs=fs)
        for fs in images.WRITABLE
        for name, arguments in EVERYWHERE
    ),
    *(Setup(f"with {options}", f"{FLAGS} -o {options}") for options in OPTIONS),
    Setup("a squashfs below", "-l f -u u -w w", packed("squashfs")),
    Setup("an erofs below", "-l f -u u -w w", packed("erofs")),
    Setup("an overlay below", "-l f -u u -w w", nested),
    Setup("a FUSE filesystem below", "-l f -u u -w w", fuse_lower),
    Setup("layers used before", FLAGS, used_before),
    Setup("layers used before with index", FLAGS + " -o index=on", used_before),
    Setup("a work directory to be made", "-l l -u u"),
    Setup("a data-only layer", "-l l --data l2 -o metacopy=on,redirect_dir=on"),
    Setup("asked to be read-only", FLAGS + " -r"),
    Setup("another overlay beside", FLAGS,
          shell("mount -t overlay o -o lowerdir=l,upperdir=u2,workdir=w2 m2", *BASE, "u2", "w2",
                "m2")),
    Setup("layers by links", "-l ll -u lu -w w",
          shell("ln -s l ll && ln -s u lu", *BASE)),
    Setup("names with dots and slashes", "-l ./l/ -l l2/../l2 -u u// -w ./w", dirs(*BASE)),
    Setup("a target that is mounted on", FLAGS, shell("mount -t tmpfs t m", *BASE)),
    Setup("upper and work on a mount of their own", "-l l -u f/u -w f/w",
          shell("mount -t tmpfs t f && mkdir f/u f/w", *BASE, "f")),
    Setup("names that start alike", "-l l -l l2 -l l22 -u u -w w", dirs(*BASE, "l22")),
    Setup("a name with a colon", "-l a:b -u u -w w", dirs(*BASE, "a:b")),
    Setup("a name with a comma", "-l a,b -u u -w w", dirs(*BASE, "a,b")),
    Setup("a user namespace", FLAGS + " -o userxattr", user=True),
    Setup("a user namespace without an upper", "-l l -l l2", user=True),
)  # fmt: skip


def test_there_are_enough_of_them() -> None:
    assert len(SETUPS) >= 40


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.name.replace(" ", "-"))
def test_doctor_is_silent(setup: Setup) -> None:
    def go(lab: Path) -> None:
        setup.prepare(lab)
        try:
            _judge(lab, setup)
        finally:
            let_go(lab)

    in_namespace(go, user=setup.user, fs=setup.fs)


def _judge(lab: Path, setup: Setup) -> None:
    before = sorted(os.walk(lab))
    document = layerctl_json("doctor", *setup.arguments.split(), "m")
    assert document["findings"] == []
    assert document["verdict"] == "ok"
    assert sorted(os.walk(lab)) == before
    assert layerctl("doctor", *setup.arguments.split(), "m").stdout == "all is well\n"
    done = layerctl("mount", *setup.arguments.split(), "m")
    assert done.returncode == 0, done.stderr
    live = layerctl_json("doctor", "m")
    assert live["verdict"] == "ok", live["findings"]


@pytest.mark.namespace
def test_a_live_mount_that_is_not_well() -> None:
    make(*BASE, "f")
    good("mount -t tmpfs -o nr_inodes=3 t f && mkdir f/u f/w")
    syscalls.mount("o", "m", "overlay", 0, "lowerdir=l,upperdir=f/u,workdir=f/w")
    document = layerctl_json("doctor", "m")
    causes = [one["cause"] for one in document["findings"]]
    assert "mounted-read-only" in causes
    assert "upper-enospc" in causes
    good("umount m")
    good("mount -t overlay o -o lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w,volatile m")
    document = layerctl_json("doctor", "m")
    assert document["verdict"] == "warning"
    assert document["findings"][0]["cause"] == "volatile-upper"
    asked = {"redirect-dir-off-rename-exdev", "hardlink-broken-across-overlay"}
    assert asked <= {one["cause"] for one in document["findings"]}
    os.rename("l", "l-moved")
    causes = [one["cause"] for one in layerctl_json("doctor", "m", code=1)["findings"]]
    assert "layer-gone" in causes


@pytest.mark.namespace
def test_marks_of_the_other_kind_have_no_effect(lab: Path) -> None:
    make(*BASE)
    os.mkdir("u/d")
    os.setxattr("u/d", "user.overlay.opaque", b"y")
    good("mount -t overlay o -o lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w m")
    causes = [one["cause"] for one in layerctl_json("doctor", "m")["findings"]]
    assert "markers-without-effect" in causes
    assert mounts.find_layered("m").stack.upper == f"{lab}/u"

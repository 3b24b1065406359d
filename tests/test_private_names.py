"""Mounts that are built in a namespace of their own, where nobody else can swap a name.

`sudo layerctl mount` in a home, on a kernel that takes no descriptors of layers: what mountinfo
shows must be the names of the directories.
"""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main
from layerctl.errors import RefusedError
from layerctl.kernel import beneath, context, mounts, private_names, syscalls
from layerctl.kernel.context import Features
from tests.support import layerctl, layerctl_json
from tests.support.neighbour import NEIGHBOUR

MS_SHARED = 1 << 20


@pytest.fixture(params=["fsconfig", "mount"])
def api(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have a kernel that takes no descriptors of layers, and what it takes instead."""
    append = request.param == "fsconfig"
    features = Features(context=append, append=append and context.overlay_features().append)
    monkeypatch.setattr(context, "overlay_features", lambda: features)
    return "fsconfig" if features.append else "mount"


def home(lab: Path, *names: str) -> Path:
    """Make directories of another user, and go there."""
    lab.chmod(0o755)  # it is a sticky directory, like /tmp
    place = lab / "home"
    for path in (place, *(place / name for name in names)):
        path.mkdir(parents=True)
        os.chown(path, NEIGHBOUR, NEIGHBOUR)
    os.chdir(place)
    return place


@pytest.mark.namespace
@pytest.mark.parametrize("propagation", [syscalls.MS_PRIVATE, MS_SHARED])
def test_the_names_are_shown_and_nothing_else_is_seen(
    lab: Path, api: str, propagation: int
) -> None:
    syscalls.mount("none", "/", "", syscalls.MS_REC | propagation, "")
    place = home(lab, "up, a\\b", "lo:1", "lo2", "work", "m")
    syscalls.mount("disk", str(place / "lo2"), "tmpfs", 0, "")
    (place / "lo:1/a").write_text("a")
    (place / "lo2/b").write_text("b")
    (place / "lo2/sub").mkdir()
    syscalls.mount("disk", str(place / "lo2/sub"), "tmpfs", 0, "")
    before, open_before = mounts.entries(), os.listdir("/proc/self/fd")
    words = ["-l", "lo:1", "-l", "lo2", "-u", "up, a\\b", "-w", "work"]
    assert main(["mount", "-o", "nosuid,noatime", *words, "m"]) == 0
    assert os.listdir("/proc/self/fd") == open_before
    (entry,) = set(mounts.entries()) - set(before)
    assert ("lowerdir+=" in entry.super_options) == (api == "fsconfig")
    assert set(entry.mount_options) == {"rw", "nosuid", "noatime"}
    stack = mounts.find_layered("m").stack
    assert [layer.path for layer in stack.layers] == [
        f"{place}/up, a\\b", f"{place}/lo:1", f"{place}/lo2",
    ]  # fmt: skip
    assert stack.work == f"{place}/work"
    assert sorted(os.listdir("m")) == ["a", "b", "sub"]
    (place / "m/b").unlink()
    (place / "m/new").write_text("n")
    (place / "m/a").write_text("changed")
    changes = layerctl_json("inspect", "changes", "m")["changes"]
    assert {one["path"] for one in changes} == {"a", "b", "new"}
    assert layerctl("doctor", "m").returncode == 0
    assert main(["mount", "-o", "remount,ro", "m"]) == 0
    assert main(["umount", "m"]) == 0
    assert set(mounts.entries()) == set(before)


@pytest.mark.namespace
def test_what_the_kernel_refuses_there_is_told_and_leaves_nothing(
    lab: Path, api: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home(lab, "up", "lo", "m")
    real: Callable[..., None] = getattr(syscalls, api)

    def refuse(*arguments: Any) -> None:
        judged = syscalls.FSCONFIG_CMD_CREATE if api == "fsconfig" else "overlay"
        if judged in arguments[1:3]:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real(*arguments)

    monkeypatch.setattr(syscalls, api, refuse)
    before, open_before = mounts.entries(), os.listdir("/proc/self/fd")
    assert main(["mount", "-l", "lo", "-u", "up", "m"]) == 32
    said = capfd.readouterr().err
    assert f"from {'mount' if api == 'mount' else 'fsconfig create'}" in said
    assert os.strerror(errno.EDQUOT) in said
    assert (mounts.entries(), os.listdir("/proc/self/fd")) == (before, open_before)
    assert sorted(os.listdir(".")) == ["lo", "m", "up"]


@pytest.mark.namespace
def test_another_directory_under_the_name_is_refused(lab: Path) -> None:
    place = home(lab, "a", "b")
    fd = os.open("a", os.O_PATH)
    with pytest.raises(RefusedError) as caught:
        private_names.build({f"{place}/b": fd}, lambda _: (-1, None))
    assert caught.value.id == "directory-swapped"
    assert str(place / "b") in caught.value.message

    def look(own: str) -> tuple[int, tuple[bool, list[str], str]]:
        here = os.open(place / "a", os.O_PATH)
        return -1, (beneath.identity(here) == beneath.identity(fd), os.listdir(place), own)

    found = private_names.build({f"{place}/a": fd, "/": os.open("/", os.O_PATH)}, look)
    assert found[0] == -1
    same, names, own = found[1]
    assert same
    assert sorted(names) == sorted(["a", os.path.basename(own)])
    assert os.path.dirname(own) == str(place)
    (lab / "link").symlink_to(place)  # leads to where the names are
    assert not private_names.possible([f"{lab}/link", f"{place}/a"])


@pytest.mark.namespace
@pytest.mark.usefixtures("api")
def test_a_layer_above_the_names_keeps_its_name_and_one_between_them_has_none(
    lab: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = home(lab, "up", "work", "m", "lo")
    flags = ("-u", "up", "-w", "work")
    for lower in (str(lab), "/"):
        assert main(["mount", "-l", lower, *flags, "m"]) == 0
        stack = mounts.find_layered("m").stack
        assert [layer.path for layer in stack.layers] == [f"{place}/up", lower]
        assert sorted(os.listdir("m")) == sorted(os.listdir(lower))
        assert main(["umount", "m"]) == 0
    for lower in (str(place), "up"):
        if lower == "up":
            home(place / "up", "in")
            os.chdir(place)
            flags = ("-u", "up/home/in", "-w", "work")
        capfd.readouterr()
        assert not private_names.possible([str(place / lower), str(place / flags[1])])
        assert main(["mount", "-l", lower, *flags, "m"]) == 0
        assert "mountinfo will not show" in capfd.readouterr().err
        assert main(["umount", "m"]) == 0


@pytest.mark.namespace
@pytest.mark.usefixtures("api")
def test_in_a_root_that_is_no_mount_there_are_none(
    lab: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert private_names.possible([])
    home(lab, "up", "lo", "work", "m")
    for force in (["--api", "mount"], []):  # everything is imported by that
        assert main(["mount", *force, "-l", "lo", "-u", "up", "-w", "work", "m"]) == 0
        assert main(["umount", "m"]) == 0
    for name in ("root/proc", "root/sys"):
        (lab / name).mkdir(parents=True)
    (lab / "home").rename(lab / "root/home")
    syscalls.mount("/proc", f"{lab}/root/proc", "", syscalls.MS_BIND | syscalls.MS_REC, "")
    os.chroot(lab / "root")
    os.chdir("/")
    assert not private_names.possible([])
    words = ["mount", "-l", "/home/lo", "-u", "/home/up", "-w", "/home/work"]
    assert main([*words, "/home/m"]) == 0
    line = Path("/proc/self/mountinfo").read_text().splitlines()[-1]
    assert "/home/up" not in line, line
    assert "mountinfo will not show" in capfd.readouterr().err
    assert main(["umount", "/home/m"]) == 0


def test_an_error_goes_from_one_process_to_another() -> None:
    error = RefusedError("an-id", "what", why="why", hint="help", details=("one",))
    other = pickle.loads(pickle.dumps(error))
    assert (str(other), vars(other)) == ("what", vars(error))

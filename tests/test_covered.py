"""Layers whose names lead elsewhere now: covered, moved, made again. Right, or said to be unknown.

Each shape is made so that the truth is known beforehand; asked is what `inspect` says of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from tests.support import ROOT, layerctl, layerctl_json, valid
from tests.support.mounting import grow

BIND = syscalls.MS_BIND


def overlay(lab: Path, lower: str, target: str, upper: str | None = "u") -> None:
    words = [f"lowerdir={':'.join(f'{lab}/{one}' for one in lower.split(':'))}"]
    if upper is not None:
        grow(lab, upper, f"{upper}.work")
        words.append(f"upperdir={lab}/{upper},workdir={lab}/{upper}.work")
    syscalls.mount("overlay", str(lab / target), "overlay", 0, ",".join(words))


def merged(target: Path | str, *more: str) -> dict[str, int]:
    """Return what the mount shows as `inspect merged` has it: each path with its layer."""
    rows = layerctl_json("inspect", "merged", *more, target)["entries"]
    return {row["path"]: row["layer"] for row in rows}


def changes(target: Path | str) -> set[tuple[str, str]]:
    rows = layerctl_json("inspect", "changes", target)["changes"]
    return {(row["change"], row["path"]) for row in rows}


def unknown(*arguments: str | Path, code: int = 3) -> str:
    """Expect that no answer is given, and return why."""
    done = layerctl(*arguments, "--json")
    assert (done.returncode, done.stdout) == (code, ""), done
    error = valid("error", done.stderr)["error"]
    assert error["id"] in ("layer-unknown", "missing-layer-directory"), error
    return f"{error['message']}: {error['why']}"


@pytest.mark.namespace
def test_over_its_own_lower(lab: Path) -> None:
    grow(lab, "l/a.x", "l/b.x")
    overlay(lab, "l", "l")
    (lab / "l/a.x").write_text("changed")
    (lab / "l/b.x").unlink()
    grow(lab, "l/new.x")
    assert changes(lab / "l") == {("modified", "a.x"), ("deleted", "b.x"), ("added", "new.x")}
    assert merged(lab / "l") == {"a.x": 0, "new.x": 0}
    (row,) = layerctl_json("inspect", "whiteouts", lab / "l")["whiteouts"]
    assert (row["path"], row["hides"]) == ("b.x", [1])


@pytest.mark.namespace
def test_over_its_own_lower_twice(lab: Path) -> None:
    grow(lab, "l/a.x", "l/b.x")
    overlay(lab, "l", "l")
    (lab / "l/b.x").unlink()
    grow(lab, "l/c.x")
    overlay(lab, "l", "l", upper="second")
    (lab / "l/a.x").unlink()
    # the second one's lower is the first overlay, which only it covers
    assert changes(lab / "l") == {("deleted", "a.x")}
    assert merged(lab / "l") == {"c.x": 1}


@pytest.mark.namespace
@pytest.mark.parametrize("cover", ["tmpfs", "bind", "overlay"])
def test_a_lower_of_several_is_covered_later(lab: Path, cover: str) -> None:
    grow(lab, "l1/one.x", "l2/two.x", "l3/three.x", "other/other.x", "m")
    overlay(lab, "l1:l2:l3", "m")
    before = merged(lab / "m")
    if cover == "tmpfs":
        syscalls.mount("t", str(lab / "l2"), "tmpfs", 0, "")
        grow(lab, "l2/cover.x")
    elif cover == "bind":
        syscalls.mount(str(lab / "other"), str(lab / "l2"), "", BIND, "")
    else:
        overlay(lab, "other", "l2", upper="u2")
    assert merged(lab / "m") == before == {"one.x": 1, "two.x": 2, "three.x": 3}


@pytest.mark.namespace
def test_a_cover_that_was_there_before_is_the_layer(lab: Path) -> None:
    grow(lab, "l/hidden.x", "m")
    syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "")
    grow(lab, "l/seen.x")
    overlay(lab, "l", "m")
    assert merged(lab / "m") == {"seen.x": 1}
    syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "")
    grow(lab, "l/later.x")
    assert merged(lab / "m") == {"seen.x": 1}


@pytest.mark.namespace
def test_a_parent_of_all_layers_is_covered(lab: Path) -> None:
    grow(lab, "base/l/a.x", "m")
    overlay(lab, "base/l", "m", upper="base/u")
    (lab / "m/a.x").unlink()
    grow(lab, "m/new.x")
    syscalls.mount("t", str(lab / "base"), "tmpfs", 0, "")
    grow(lab, "base/l/false.x", "base/u/false.x")
    assert changes(lab / "m") == {("deleted", "a.x"), ("added", "new.x")}


@pytest.mark.namespace
def test_the_filesystem_of_a_lower_is_covered_at_its_mount_point(lab: Path) -> None:
    grow(lab, "disk", "m")
    syscalls.mount("t", str(lab / "disk"), "tmpfs", 0, "")
    grow(lab, "disk/l/a.x")
    overlay(lab, "disk/l", "m")
    syscalls.mount("t", str(lab / "disk"), "tmpfs", 0, "")
    grow(lab, "disk/l/false.x")
    assert merged(lab / "m") == {"a.x": 1}
    assert changes(lab / "m") == set()


@pytest.mark.namespace
def test_another_mount_of_the_covered_filesystem_serves(lab: Path) -> None:
    grow(lab, "disk", "same", "m")
    syscalls.mount("t", str(lab / "disk"), "tmpfs", 0, "")
    grow(lab, "disk/l/a.x")
    overlay(lab, "disk/l", "m")
    syscalls.mount(str(lab / "disk"), str(lab / "same"), "", BIND, "")
    syscalls.mount("t", str(lab / "disk"), "tmpfs", 0, "")
    assert merged(lab / "m") == {"a.x": 1}


@pytest.mark.namespace
def test_the_upper_is_covered(lab: Path) -> None:
    grow(lab, "l/a.x", "l/b.x", "m")
    overlay(lab, "l", "m")
    (lab / "m/a.x").unlink()
    syscalls.mount("t", str(lab / "u"), "tmpfs", 0, "")
    assert changes(lab / "m") == {("deleted", "a.x")}


@pytest.mark.namespace
@pytest.mark.parametrize("again", [False, True])
def test_the_upper_was_moved(lab: Path, again: bool) -> None:
    grow(lab, "l/a.x", "l/b.x", "m")
    overlay(lab, "l", "m")
    (lab / "m/a.x").unlink()
    (lab / "u").rename(lab / "moved")
    if again:
        grow(lab, "u")
    for command in ("changes", "merged", "whiteouts"):
        unknown("inspect", command, lab / "m")
    assert layerctl("doctor", lab / "m").returncode != 0


@pytest.mark.namespace
@pytest.mark.parametrize("names", [("a.x",), ("a.x", "b.x"), ("other.x",), ()])
def test_a_lower_was_moved_and_made_again(lab: Path, names: tuple[str, ...]) -> None:
    grow(lab, "l/a.x", "m")
    overlay(lab, "l", "m")
    (lab / "l").rename(lab / "moved")
    grow(lab, "l", *(f"l/{name}" for name in names))
    unknown("inspect", "merged", lab / "m")


@pytest.mark.namespace
def test_the_upper_is_detached(lab: Path) -> None:
    grow(lab, "disk", "l/a.x", "m")
    syscalls.mount("t", str(lab / "disk"), "tmpfs", 0, "")
    overlay(lab, "l", "m", upper="disk/u")
    (lab / "m/a.x").unlink()
    syscalls.umount2(str(lab / "disk"), syscalls.MNT_DETACH)
    unknown("inspect", "changes", lab / "m")
    grow(lab, "disk/u")
    unknown("inspect", "changes", lab / "m")


@pytest.mark.namespace
def test_the_target_is_covered(lab: Path) -> None:
    grow(lab, "l/a.x", "l2/b.x", "m")
    overlay(lab, "l", "m")
    overlay(lab, "l2", "m", upper="u2")
    assert merged(lab / "m") == {"b.x": 1}
    syscalls.mount("t", str(lab / "m"), "tmpfs", 0, "")
    done = layerctl("inspect", "merged", lab / "m", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    assert valid("error", done.stderr)["error"]["id"] == "not-layered"


@pytest.mark.namespace
def test_something_is_mounted_inside_a_covered_layer(lab: Path) -> None:
    grow(lab, "l/sub/deep.x", "m")
    syscalls.mount("t", str(lab / "l/sub"), "tmpfs", 0, "")
    grow(lab, "l/sub/false.x")
    overlay(lab, "l", "m")
    syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "")
    assert merged(lab / "m") == {"sub": 1, "sub/deep.x": 1}


@pytest.mark.namespace
def test_by_a_symbolic_link_that_leads_elsewhere_now(lab: Path) -> None:
    grow(lab, "one/a.x", "two/b.x", "m")
    (lab / "link").symlink_to("one")
    overlay(lab, "link", "m")
    assert merged(lab / "m") == {"a.x": 1}
    (lab / "link").unlink()
    (lab / "link").symlink_to("two")
    unknown("inspect", "merged", lab / "m")


@pytest.mark.namespace
def test_in_a_copy_of_the_mount_namespace(lab: Path) -> None:
    """Mounts are copied as a tree, in which what came later may stand first."""
    grow(lab, "first", "l/a.x")
    syscalls.mount("t", str(lab / "first"), "tmpfs", 0, "")
    grow(lab, "first/l/a.x", "m")
    overlay(lab, "first/l", "m")
    syscalls.mount("t", str(lab / "first/l"), "tmpfs", 0, "")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    assert merged(lab / "m") == {"a.x": 1}


@pytest.mark.namespace
def test_an_empty_cover_in_a_copy_of_the_mount_namespace_hides_nothing(lab: Path) -> None:
    grow(lab, "first", "m")
    syscalls.mount("t", str(lab / "first"), "tmpfs", 0, "")
    grow(lab, "first/l1/deep/er/a.x", "first/l2/b.x")
    overlay(lab, "first/l1:first/l2", "m", upper=None)
    syscalls.mount("t", str(lab / "first/l1"), "tmpfs", 0, "")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    assert merged(lab / "m", "--file-type", "file") == {"b.x": 1, "deep/er/a.x": 0}


@pytest.mark.namespace(user=True)
def test_in_a_user_namespace(lab: Path) -> None:
    grow(lab, "l/a.x", "u", "u.work", "m")
    words = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/u.work,userxattr"
    syscalls.mount("overlay", str(lab / "l"), "overlay", 0, words)
    (lab / "l/a.x").unlink()
    grow(lab, "l/new.x")
    assert changes(lab / "l") == {("deleted", "a.x"), ("added", "new.x")}
    syscalls.mount("t", str(lab / "u"), "tmpfs", 0, "")
    assert changes(lab / "l") == {("deleted", "a.x"), ("added", "new.x")}


@pytest.mark.namespace
def test_without_privilege_it_is_unknown(lab: Path) -> None:
    grow(lab, "l/a.x", "m")
    lab.chmod(0o755)
    overlay(lab, "l", "m")
    syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "mode=755")

    done = _as_nobody("inspect", "merged", str(lab / "m"))
    assert done.returncode == 4, done.stderr
    assert done.stdout == ""
    assert "covers it" in done.stderr


def _as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _NOBODY, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip


_NOBODY = """
import os, sys
import pickle, resource, socket, traceback
from layerctl.cli.main import main
from tests.support import import_everything
import_everything()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.namespace
def test_lists_name_what_covers_a_layer(lab: Path) -> None:
    grow(lab, "l/a.x", "m")
    overlay(lab, "l", "m")
    rows = layerctl_json("list")["mounts"]
    (row,) = [one for one in rows if one["target"] == f"{lab}/m"]
    assert not row.get("notes")
    syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "")
    rows = layerctl_json("list")["mounts"]
    (row,) = [one for one in rows if one["target"] == f"{lab}/m"]
    said = f"layer 1, {lab}/l, is covered by the tmpfs mount on {lab}/l"
    assert row["notes"] == [said]
    assert said in layerctl("inspect", "mount", lab / "m").stderr


@pytest.mark.namespace
def test_doctor_looks_beneath(lab: Path) -> None:
    grow(lab, "l/a.x", "m")
    overlay(lab, "l", "m")
    (lab / "l/.wh.gone").write_text("")
    before = {one["cause"] for one in layerctl_json("doctor", lab / "m")["findings"]}
    syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "")
    after = {one["cause"] for one in layerctl_json("doctor", lab / "m")["findings"]}
    assert after == before | {"layer-covered"}


@pytest.mark.namespace
def test_from_another_mount_namespace(lab: Path) -> None:
    """A container's mount is looked at from its namespace by way of nsenter."""
    grow(lab, "l/a.x", "m")
    reader, writer = os.pipe()
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "")  # here alone
            grow(lab, "l/inside.x")
            overlay(lab, "l", "m")
            os.write(go, b"1")
            os.read(reader, 1)
        finally:
            os._exit(0)
    os.read(ready, 1)
    try:
        namespace = os.open(f"/proc/{child}/ns/mnt", os.O_RDONLY)
        syscalls.setns(namespace, 0)
        assert merged(lab / "m") == {"inside.x": 1}
        syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "")
        assert merged(lab / "m") == {"inside.x": 1}
    finally:
        os.write(writer, b"1")
        os.waitpid(child, 0)


@pytest.mark.namespace
def test_a_mount_that_came_from_another_namespace_with_its_names(lab: Path) -> None:
    """Mounted where a tmpfs is over the lower, and seen where none does."""
    grow(lab, "shared", "l/outside.x")
    syscalls.mount("shared", str(lab / "shared"), "tmpfs", 0, "")
    syscalls.mount("none", str(lab / "shared"), "", 1 << 20, "")  # MS_SHARED
    grow(lab, "shared/m", "shared/u", "shared/w")
    child = os.fork()
    if child == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("none", str(lab / "l"), "tmpfs", 0, "")
            grow(lab, "l/inside.x")
            words = f"lowerdir={lab}/l,upperdir={lab}/shared/u,workdir={lab}/shared/w"
            syscalls.mount("overlay", str(lab / "shared/m"), "overlay", 0, words)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.listdir(lab / "shared/m") == ["inside.x"]
    unknown("inspect", "merged", lab / "shared/m")
    assert layerctl("doctor", lab / "shared/m").returncode != 0

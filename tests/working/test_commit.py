"""Commit: the upper layer goes into the lower one, and the kernel shows the same all the while."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from layerctl.kernel import syscalls
from layerctl.model import Role
from layerctl.usecases import working
from layerctl.working import commit
from layerctl.working.steps import Verb
from tests.support import in_namespace, layerctl
from tests.support.killing import Work
from tests.support.stacks import Case, Mounted, make_case
from tests.support.trees import differences, look, shown
from tests.support.working import Checking, check_killed, check_view, of_many


def work(case: Case) -> None:
    with working.committing(case.stack, range(1)) as steps:
        list(working.do(steps))


def work_on_all(case: Case) -> None:
    """Merge all layers but the lowest into the next one, from the topmost down."""
    lowers = sum(layer.role is Role.LOWER for layer in case.stack.layers)
    with working.committing(case.stack, range(lowers)) as steps:
        list(working.do(steps))


def work_by_copying(case: Case) -> None:
    """Work as if the layers were on two filesystems."""
    with mock.patch.object(commit, "renames_work", return_value=False):
        work(case)


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
@pytest.mark.parametrize("check", [check_view, check_killed])
@pytest.mark.parametrize("how", [work, work_by_copying, work_on_all], ids=["rename", "copy", "all"])
def test_random_stacks(how: Work, check: Checking, *, user: bool) -> None:
    assert in_namespace(partial(of_many, check, how, user=user), user=user) == []


def layers(lab: Path, *, lowers: int = 1, elsewhere: bool = False, options: str = "") -> Case:
    """Make empty layers, the first lower one on another filesystem where that is asked for."""
    for name in ("u", "w", "m", "other", *(f"l{number}" for number in range(lowers))):
        (lab / name).mkdir()
    if elsewhere:
        syscalls.mount("other", f"{lab}/l0", "tmpfs", 0, "")
    lower = [f"{lab}/l{number}" for number in range(lowers)]
    return make_case(str(lab), lower, upper=f"{lab}/u", options=options)


def kept(case: Case, how: Work = work) -> None:
    """Commit; demand that the kernel shows the same, and that the upper layer is empty."""
    before = shown(case)
    how(case)
    assert list(differences(before, shown(case))) == []
    assert os.listdir(case.stack.layers[0].path) == []
    left = os.listxattr(case.stack.layers[0].path)
    assert not [name for name in left if "layerctl" in name]


@pytest.mark.namespace
def test_names_of_one_file_stay_one_file(lab: Path) -> None:
    case = layers(lab)
    (lab / "u/one").write_text("x")
    os.link(lab / "u/one", lab / "u/two")
    kept(case)
    assert (lab / "l0/one").samefile(lab / "l0/two")


@pytest.mark.namespace
def test_whiteouts_stay_where_a_layer_below_has_the_name(lab: Path) -> None:
    case = layers(lab, lowers=2)
    for name in ("l1/below", "l0/both", "l1/both", "l0/next"):
        (lab / name).write_text("x")
    for name in ("below", "both", "next"):
        os.mknod(lab / "u" / name, stat.S_IFCHR, 0)
    kept(case)
    assert sorted(os.listdir(lab / "l0")) == ["below", "both"]


@pytest.mark.namespace
def test_a_directory_over_a_whiteout_or_a_file_becomes_opaque(lab: Path) -> None:
    case = layers(lab, lowers=2)
    for name in ("white", "file", "alone"):
        (lab / "u" / name).mkdir()
    for name in ("white", "file"):
        (lab / "l1" / name).mkdir()
        (lab / "l1" / name / "hidden").write_text("x")
    os.mknod(lab / "l0/white", stat.S_IFCHR, 0)
    (lab / "l0/file").write_text("x")
    os.setxattr(lab / "u/alone", "trusted.overlay.opaque", b"y")
    kept(case)
    opaque = [name for name in os.listdir(lab / "l0") if os.listxattr(lab / "l0" / name)]
    assert sorted(opaque) == ["file", "white"]


def make_many(layer: Path) -> None:
    """Make directories with files."""
    for directory in range(3):
        for number in range(20):
            file = layer / f"d{directory}/in/{number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{file}")


@pytest.mark.namespace
@pytest.mark.parametrize("shared", [False, True], ids=["new", "shared"])
def test_a_directory_over_nothing_is_moved_as_a_whole(lab: Path, *, shared: bool) -> None:
    case = layers(lab)
    make_many(lab / "u")
    if shared:
        for directory in range(3):
            (lab / f"l0/d{directory}/in").mkdir(parents=True, mode=0o700)
    before = shown(case)
    with working.committing(case.stack, range(1)) as steps:
        done = list(working.do(steps))
    assert list(differences(before, shown(case))) == []
    assert [step.verb for step in done].count(Verb.MOVE) == 3
    assert os.listdir(lab / "u") == []


@pytest.mark.namespace
def test_the_empty_one_stays_opaque(lab: Path) -> None:
    case = layers(lab, lowers=2)
    for layer in ("u", "l0", "l1"):
        (lab / layer / "d").mkdir()
        (lab / layer / "d" / f"of {layer}").write_text("x")
    (lab / "l0/d/of l0").unlink()
    os.setxattr(lab / "l0/d", "trusted.overlay.opaque", b"y")
    kept(case)
    assert os.listxattr(lab / "l0/d") == ["trusted.overlay.opaque"]


@pytest.mark.namespace
def test_a_redirect_of_the_empty_one_is_kept(lab: Path) -> None:
    case = layers(lab, lowers=2, options="redirect_dir=on")
    (lab / "l1/old").mkdir()
    (lab / "l1/old/file").write_text("x")
    (lab / "l0/d").mkdir()
    os.mknod(lab / "l0/old", stat.S_IFCHR, 0)
    os.setxattr(lab / "l0/d", "trusted.overlay.redirect", b"old")
    (lab / "u/d").mkdir()
    (lab / "u/d/new").write_text("y")
    kept(case)
    assert shown(case).keys() == {"", "d", "d/file", "d/new"}


@pytest.mark.namespace
def test_an_immutable_file_is_moved_with_its_directory(lab: Path) -> None:
    case = layers(lab)
    (lab / "u/new").mkdir()
    (lab / "u/new/file").write_text("x")
    subprocess.run(["chattr", "+i", lab / "u/new/file"], check=True)
    kept(case)
    assert look(str(lab / "l0"))["new/file"].flags == 0x10
    subprocess.run(["chattr", "-i", lab / "l0/new/file"], check=True)


@pytest.mark.namespace
@pytest.mark.parametrize("below", ["nothing", "directory", "whiteout"])
def test_a_listing_shows_no_whiteout_over_nothing(lab: Path, below: str) -> None:
    case = layers(lab, lowers=2)
    for path in (lab / "u/d/in", lab / "u/d"):
        path.mkdir(parents=True, exist_ok=True)
        os.setxattr(path, "trusted.overlay.origin", b"")
        os.mknod(path / "gone", stat.S_IFCHR, 0)
    if below == "directory":
        (lab / "l0/d").mkdir()
    elif below == "whiteout":
        os.mknod(lab / "l0/d", stat.S_IFCHR, 0)
    os.utime(lab / "u/d/in", ns=(1, 2))
    with Mounted(case) as merged:
        assert [names for _, _, names in os.walk(merged)] == [[], [], []]
    kept(case)
    with Mounted(case) as merged:
        assert [names for _, _, names in os.walk(merged)] == [[], [], []]


@pytest.mark.namespace
def test_the_bottom_layer_gets_no_markers(lab: Path) -> None:
    case = layers(lab)
    (lab / "l0/d").mkdir()
    (lab / "l0/d/file").write_text("x")
    (lab / "l0/gone").mkdir()
    (lab / "l0/gone/deep").write_text("x")
    with Mounted(case):
        (lab / "m/d/file").chmod(0o600)
        shutil.rmtree(lab / "m/gone")
        (lab / "m/gone").mkdir()
        (lab / "m/gone/new").mkdir()
        (lab / "m/d/file").rename(lab / "m/gone/new/file")
    kept(case)
    for path in (lab / "l0").rglob("*"):
        assert os.listxattr(path) == []
        assert not stat.S_ISCHR(path.lstat().st_mode)


@pytest.mark.namespace
def test_what_cannot_be_done_is_refused_before_anything_is_touched(lab: Path) -> None:
    case = layers(lab)
    for name in ("a", "b", "f", "z"):
        (lab / "u" / name).write_text("x")
    os.setxattr(lab / "u/f", "trusted.overlay.protattr", b"i")
    before = look(str(lab / "u"))
    done = layerctl("commit", "-u", "u", "-l", "l0", "-w", "w", "--json")
    assert (done.returncode, json.loads(done.stderr)["error"]["id"]) == (32, "layer-not-movable")
    assert look(str(lab / "u")) == before
    assert case.stack.upper == f"{lab}/u"


@pytest.mark.namespace
@pytest.mark.parametrize("how", [work, work_by_copying], ids=["rename", "copy"])
def test_whiteouts_by_attribute_are_whiteouts(lab: Path, how: Work) -> None:
    case = layers(lab, lowers=2)
    for layer in ("u", "l0", "l1"):
        for name in ("d", "new/in" if layer == "u" else "d"):
            (lab / layer / name).mkdir(parents=True, exist_ok=True)
    (lab / "l1/new/in").mkdir(parents=True)
    for name in ("l0/d/next", "l1/d/below", "l1/new/in/below"):
        (lab / name).write_text("x")
    for name in ("next", "below", "nothing", "text"):
        for directory in ("d", "new/in"):
            (lab / "u" / directory / name).write_text("x" if name == "text" else "")
            os.setxattr(lab / "u" / directory / name, "trusted.overlay.whiteout", b"")
    kept(case, how)
    assert sorted(os.listdir(lab / "l0/d")) == ["below", "text"]
    assert sorted(os.listdir(lab / "l0/new/in")) == ["below", "text"]
    assert os.listxattr(lab / "l0/d/text") == []


def rename_and_change(case: Case) -> None:
    """Rename a lower directory through a mount, and change only metadata of a lower file."""
    lower = Path(case.stack.layers[1].path)
    for name in ("old/deep", "other"):
        (lower / name).mkdir(parents=True)
    for name in ("old/kept", "old/gone", "old/deep/file", "other/file", "changed"):
        (lower / name).write_text(name)
    (lower / "old/kept").chmod(0o4755)
    os.utime(lower / "old/deep", ns=(5, 6))
    with Mounted(case) as merged:
        os.rename(f"{merged}/old", f"{merged}/new")
        os.unlink(f"{merged}/new/gone")
        Path(f"{merged}/new/added").write_text("x")
        os.rename(f"{merged}/other", f"{merged}/new/deep/other")
        os.rename(f"{merged}/new/deep/other", f"{merged}/new/deep/again")
        os.chmod(f"{merged}/changed", 0o600)
        os.rename(f"{merged}/changed", f"{merged}/new/deep/changed")


@pytest.mark.namespace
@pytest.mark.parametrize("how", [work, work_by_copying], ids=["rename", "copy"])
def test_redirects_and_metadata_only_files_become_whole(lab: Path, how: Work) -> None:
    case = layers(lab, options="redirect_dir=on,metacopy=on")
    rename_and_change(case)
    kept(case, how)
    assert sorted(os.listdir(lab / "l0")) == ["new"]
    assert (lab / "l0/new/deep/changed").read_text() == "changed"
    assert not [name for path in (lab / "l0").rglob("*") for name in os.listxattr(path)]
    assert sorted(os.listdir(lab)) == ["l0", "m", "other", "u", "w"]
    assert os.listxattr(lab) == []


@pytest.mark.namespace
def test_a_name_of_several_is_not_copied(lab: Path) -> None:
    case = layers(lab, options="redirect_dir=on")
    (lab / "l0/old").mkdir()
    (lab / "l0/old/one").write_text("x")
    os.link(lab / "l0/old/one", lab / "l0/two")
    with Mounted(case) as merged:
        os.rename(f"{merged}/old", f"{merged}/new")
    words = ("-u", "u", "-l", "l0", "-w", "w", "-o", "redirect_dir=on")
    done = layerctl("commit", *words, "--json")
    assert json.loads(done.stderr)["error"]["id"] == "hard-link-elsewhere"
    assert not (lab / "u.layerctl-part").exists()


@pytest.mark.namespace
def test_a_run_is_refused_before_its_first_layer_is_merged(lab: Path) -> None:
    layers(lab, lowers=2)
    (lab / "u/file").write_text("x")
    (lab / "l0/marked").touch()
    os.setxattr(lab / "l0/marked", "trusted.overlay.protattr", b"i")
    stack = ("-u", "u", "-l", "l0", "-l", "l1", "-w", "w")
    done = layerctl("commit", *stack, "--layer", "0..1", "--json")
    assert json.loads(done.stderr)["error"]["id"] == "layer-not-movable"
    assert os.listdir(lab / "u") == ["file"]


@pytest.mark.namespace
@pytest.mark.parametrize("path", ["l0/d", "l0/z", "l0/gone/deep/file", "l0/opaque/file"])
def test_what_cannot_be_replaced_is_refused(lab: Path, path: str) -> None:
    layers(lab)
    for name in ("d", "opaque", "gone/deep"):
        (lab / "l0" / name).mkdir(parents=True)
    for name in ("u/a", "l0/z", "u/z", "l0/gone/deep/file", "l0/opaque/file", "l0/d/own"):
        (lab / name).write_text("x")
    (lab / "u/d").mkdir()
    (lab / "u/d/new").write_text("x")
    (lab / "u/opaque").mkdir()
    os.setxattr(lab / "u/opaque", "trusted.overlay.opaque", b"y")
    os.mknod(lab / "u/gone", stat.S_IFCHR, 0)
    subprocess.run(["chattr", "+i", lab / path], check=True)
    done = layerctl("commit", "-u", "u", "-l", "l0", "-w", "w", "--json")
    subprocess.run(["chattr", "-i", lab / path], check=True)
    error = json.loads(done.stderr)["error"]
    assert (error["id"], error["commands"]) == ("layer-not-movable", [f"chattr -ia {lab}/{path}"])
    assert sorted(os.listdir(lab / "u")) == ["a", "d", "gone", "opaque", "z"]


@pytest.mark.namespace
@pytest.mark.parametrize("flag", ["i", "a"])
def test_what_cannot_be_renamed_is_refused(lab: Path, flag: str) -> None:
    layers(lab)
    for name in ("a", "z"):
        (lab / "u" / name).write_text("x")
    subprocess.run(["chattr", f"+{flag}", lab / "u/z"], check=True)
    done = layerctl("commit", "-u", "u", "-l", "l0", "-w", "w", "--json")
    subprocess.run(["chattr", f"-{flag}", lab / "u/z"], check=True)
    assert json.loads(done.stderr)["error"]["id"] == "layer-not-movable"
    assert sorted(os.listdir(lab / "u")) == ["a", "z"]


@pytest.mark.namespace
def test_names_of_one_file_stay_one_file_elsewhere(lab: Path) -> None:
    case = layers(lab, elsewhere=True)
    (lab / "u/d").mkdir()
    (lab / "u/one").write_text("x")
    os.link(lab / "u/one", lab / "u/d/two")
    kept(case)
    assert (lab / "l0/one").samefile(lab / "l0/d/two")


@pytest.mark.namespace
def test_a_directory_of_layers_may_hold_other_things(lab: Path) -> None:
    case = layers(lab, elsewhere=True)
    (lab / "u/file").write_text("x")
    os.chown(lab / "u", 5, 6)
    (lab / "u").chmod(0o2750)
    before = (lab / "u").stat()
    names = sorted(os.listdir(lab))
    kept(case)
    assert sorted(os.listdir(lab)) == names
    after = (lab / "u").stat()
    assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (
        before.st_uid, before.st_mode, before.st_mtime_ns,
    )  # fmt: skip


@pytest.mark.namespace
def test_a_layer_that_is_a_mount_cannot_be_replaced(lab: Path) -> None:
    layers(lab, lowers=2, elsewhere=True)
    (lab / "l0/file").write_text("x")
    words = ("-u", "u", "-l", "l0", "-l", "l1", "-w", "w", "--layer", "1")
    done = layerctl("commit", *words, "--json")
    assert (done.returncode, json.loads(done.stderr)["error"]["id"]) == (32, "layer-is-mount")
    assert os.listdir(lab / "l1") == []


@pytest.mark.namespace
def test_a_full_filesystem_is_known_before(lab: Path) -> None:
    layers(lab)
    syscalls.mount("small", f"{lab}/l0", "tmpfs", 0, "size=64k")
    (lab / "u/big").write_bytes(b"x" * 10**6)
    done = layerctl("commit", "-u", "u", "-l", "l0", "-w", "w", "--json")
    assert json.loads(done.stderr)["error"]["id"] == "no-room"
    assert os.listdir(lab / "l0") == []


@pytest.mark.namespace
def test_a_script_makes_redirects_whole(lab: Path) -> None:
    case = layers(lab, options="redirect_dir=on,metacopy=on")
    rename_and_change(case)
    before = shown(case)
    options = "redirect_dir=on,metacopy=on"
    stack = ("-u", f"{lab}/u", "-l", f"{lab}/l0", "-w", f"{lab}/w", "-o", options)
    script = layerctl("commit", "--print", "sh", *stack).stdout
    assert list(differences(before, shown(case))) == []
    subprocess.run(["sh", "-e"], input=script, text=True, check=True)
    assert os.listdir(lab / "u") == []
    assert list(differences(before, shown(case))) == []


@pytest.mark.namespace
@pytest.mark.parametrize("elsewhere", [False, True], ids=["rename", "copy"])
def test_a_script_does_the_same(lab: Path, *, elsewhere: bool) -> None:
    case = layers(lab, elsewhere=elsewhere)
    (lab / "l0/d").mkdir()
    (lab / "l0/gone").write_text("x")
    (lab / "u/d").mkdir(mode=0o700)
    (lab / "u/d/file").write_text("x")
    (lab / "u/new").mkdir()
    (lab / "u/new/file").write_text("x")
    os.mknod(lab / "u/gone", stat.S_IFCHR, 0)
    before = shown(case)
    stack = ("-u", f"{lab}/u", "-l", f"{lab}/l0", "-w", f"{lab}/w")
    script = layerctl("commit", "--print", "sh", *stack).stdout
    assert list(differences(before, shown(case))) == []
    subprocess.run(["sh"], input=script, text=True, check=True)
    assert os.listdir(lab / "u") == []
    assert list(differences(before, shown(case))) == []


@pytest.mark.namespace
def test_one_file_in_both_layers_leaves_the_upper_one(lab: Path) -> None:
    case = layers(lab, lowers=2)
    (lab / "u/file").write_text("x")
    os.link(lab / "u/file", lab / "l0/file")
    for name in ("l1/gone", "l1/file"):
        (lab / name).write_text("y")
    os.mknod(lab / "u/gone", stat.S_IFCHR, 0)
    os.link(lab / "u/gone", lab / "l0/gone")
    kept(case)
    assert sorted(os.listdir(lab / "l0")) == ["file", "gone"]

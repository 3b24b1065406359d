"""Trim: what goes changes nothing, as the kernel sees it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from layerctl.usecases import working
from tests.support import in_namespace, layerctl, layerctl_json
from tests.support.stacks import Case, Mounted, make_case
from tests.support.trees import differences, shown
from tests.support.working import Checking, check_killed, check_view, of_many


def work(case: Case) -> None:
    with working.trimming(case.stack, ignore_times=False) as steps:
        list(working.do(steps))


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
@pytest.mark.parametrize("check", [check_view, check_killed])
def test_random_stacks(check: Checking, *, user: bool) -> None:
    assert in_namespace(partial(of_many, check, work, user=user), user=user) == []


def layers(lab: Path) -> Case:
    for name in ("l", "u", "w", "m"):
        (lab / name).mkdir()
    (lab / "l/file").write_text("content")
    (lab / "l/file").chmod(0o644)
    (lab / "l/link").symlink_to("file")
    os.utime(lab / "l/file", ns=(1, 10**18 + 123456789))
    return make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")


def copy_up(lab: Path, name: str = "file") -> Path:
    subprocess.run(["cp", "-a", lab / "l" / name, lab / "u" / name], check=True)
    return lab / "u" / name


@pytest.mark.namespace
@pytest.mark.parametrize("name", ["file", "link"])
def test_an_equal_copy_goes(lab: Path, name: str) -> None:
    case = layers(lab)
    copy = copy_up(lab, name)
    work(case)
    assert not os.path.lexists(copy)


def rewrite(path: Path) -> None:
    """Write as much as there was, and set the times as they were."""
    status = path.stat()
    path.write_text("CONTENT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DIFFERENCES: dict[str, Callable[[Path], object]] = {
    "suid": lambda path: path.chmod(0o4644),
    "owner": lambda path: os.chown(path, 1, -1),
    "group": lambda path: os.chown(path, -1, 1),
    "nanosecond": lambda path: os.utime(path, ns=(1, 10**18 + 123456788)),
    "content": rewrite,
    "attribute": lambda path: os.setxattr(path, "user.note", b"x"),
    "trusted": lambda path: os.setxattr(path, "trusted.note", b"x"),
    "escaped": lambda path: os.setxattr(path, "trusted.overlay.overlay.opaque", b"y"),
    "other": lambda path: os.setxattr(path, "user.overlay.opaque", b"y"),
    "acl": lambda path: subprocess.run(["setfacl", "-m", "u:7:r", path], check=True),
    "protattr": lambda path: os.setxattr(path, "trusted.overlay.protattr", b"a"),
    "name": lambda path: os.link(path, path.with_name("other")),
}


@pytest.mark.namespace
@pytest.mark.parametrize("what", DIFFERENCES)
def test_what_differs_in_anything_stays(lab: Path, what: str) -> None:
    case = layers(lab)
    copy = copy_up(lab)
    DIFFERENCES[what](copy)
    work(case)
    assert copy.exists()


@pytest.mark.namespace
def test_a_name_of_a_lower_hard_link_stays(lab: Path) -> None:
    case = layers(lab)
    os.link(lab / "l/file", lab / "l/second")
    copy = copy_up(lab)
    work(case)
    assert copy.exists(), "else two names would become one file"


@pytest.mark.namespace
def test_times_alone_may_be_ignored(lab: Path) -> None:
    layers(lab)
    os.utime(copy_up(lab), (1, 1))
    assert layerctl("trim", "--ignore-mtime", "-u", "u", "-l", "l").returncode == 0
    assert not list((lab / "u").iterdir())


@pytest.mark.namespace
def test_a_directory_keeps_its_time_and_an_equal_one_goes(lab: Path) -> None:
    case = layers(lab)
    (lab / "l/d").mkdir()
    (lab / "l/d/file").touch()
    (lab / "l/e").mkdir()
    subprocess.run(["cp", "-a", lab / "l/d", lab / "l/e", lab / "u"], check=True)
    (lab / "u/e/mine").touch()
    os.mknod(lab / "u/e/gone", stat.S_IFCHR, 0)
    os.utime(lab / "u/e", ns=(5, 7))
    before = shown(case)
    work(case)
    assert list(differences(before, shown(case))) == []
    assert sorted(os.listdir(lab / "u")) == ["e"]
    assert os.stat(lab / "u/e").st_mtime_ns == 7
    assert not [name for name in os.listxattr(lab / "u/e") if "layerctl" in name]


@pytest.mark.namespace
def test_a_directory_whose_lower_one_would_list_a_device_stays(lab: Path) -> None:
    case = layers(lab)
    (lab / "l/d").mkdir()
    os.mknod(lab / "l/d/device", stat.S_IFCHR, 0)
    subprocess.run(["cp", "-a", lab / "l/d", lab / "u"], check=True)
    os.unlink(lab / "u/d/device")
    shutil.copystat(lab / "l/d", lab / "u/d")
    before = shown(case)
    work(case)
    assert list(differences(before, shown(case))) == []


@pytest.mark.namespace
@pytest.mark.parametrize("form", ["json", "sh"])
def test_a_dry_run_changes_nothing_and_its_script_does_the_same(lab: Path, form: str) -> None:
    case = layers(lab)
    copy_up(lab)
    os.mknod(lab / "u/gone", stat.S_IFCHR, 0)
    (lab / "u/d").mkdir()
    os.setxattr(lab / "u/d", "trusted.overlay.opaque", b"y")
    before = shown(case)
    stack = ("-u", f"{lab}/u", "-l", f"{lab}/l", "-w", f"{lab}/w")
    if form == "json":
        rows = layerctl_json("trim", "-n", *stack)["steps"]
        assert [row["step"] for row in rows] == ["unmark", "remove", "remove", "times"]
        assert sorted(os.listdir(lab / "u")) == ["d", "file", "gone"]
        return
    script = layerctl("trim", "--print", "sh", *stack).stdout
    assert sorted(os.listdir(lab / "u")) == ["d", "file", "gone"]
    subprocess.run(["sh"], input=script, text=True, check=True)
    assert sorted(os.listdir(lab / "u")) == ["d"]
    assert list(differences(before, shown(case))) == []


@pytest.mark.namespace
def test_a_read_only_stack_is_refused(lab: Path) -> None:
    layers(lab)
    done = layerctl("trim", "-l", "u", "-l", "l", "--json")
    assert done.returncode == 32
    assert "no-upper-layer" in done.stderr


@pytest.mark.namespace
def test_only_what_hides_the_source_of_a_renamed_copy_stays(lab: Path) -> None:
    case = layers(lab)
    (lab / "l/other").write_text("content")
    with Mounted(case):
        (lab / "m/file").chmod(0o600)
        (lab / "m/file").rename(lab / "m/renamed")
    os.unlink(lab / "u/file")  # the whiteout
    copies = [copy_up(lab), copy_up(lab, "other")]
    before = shown(case)
    work(case)
    assert [os.path.lexists(copy) for copy in copies] == [True, False]
    assert list(differences(before, shown(case))) == []

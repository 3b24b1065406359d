"""The cases of another tool for layers, overlayfs-tools, and what it is known to lose or refuse."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from layerctl.usecases import working
from tests.support import layerctl
from tests.support.faults import directory, file, mark, whiteout
from tests.support.stacks import Case, Mounted, make_case
from tests.support.trees import differences, look, shown


def commit(case: Case) -> Case:
    with working.committing(case.stack, range(1)) as steps:
        list(working.do(steps))
    return case


def trim(case: Case) -> Case:
    with working.trimming(case.stack, ignore_times=False) as steps:
        list(working.do(steps))
    return case


def deref(case: Case) -> Case:
    where = os.path.dirname(case.target)
    with working.flattening_into(case.stack, range(1), f"{where}/new") as steps:
        list(working.do(steps))
    return make_case(where, [f"{where}/l"], upper=f"{where}/new")


WORKS: dict[str, Callable[[Case], Case]] = {"commit": commit, "trim": trim, "deref": deref}


def link(path: Path, target: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def removed(lower: Path, upper: Path) -> None:
    """Directories that were removed, or replaced by a file, a link and an opaque directory."""
    for name in ("removed/subdir/a.txt", "by a file/sub/c.txt", "by opaque/origin\\sub/dir/file"):
        file(lower / name, name)
    directory(lower / "by link/another")
    for name in ("removed", "empty"):
        directory(lower / name)
        whiteout(upper / name)
    file(upper / "by a file", "now a file").chmod(0o600)
    link(upper / "by link", "../elsewhere")
    directory(upper / "by opaque/new")
    mark(upper / "by opaque", "opaque")


def merged(lower: Path, upper: Path) -> None:
    """Merged directories: names with quotes, blanks and backslashes, files and links swapped."""
    for name in ("a_file", "only_old", 'changed" "file', "trivial/a_file", "more/to_link"):
        file(lower / name, name)
    link(lower / "unchanged'link", "x")
    link(lower / "more/to_file", "x")
    subprocess.run(["cp", "-a", lower / "a_file", lower / "trivial", upper], check=True)
    whiteout(upper / "only_old")
    file(upper / 'changed" "file', "new")
    link(upper / "more/to_link", "a\\link")
    file(upper / "more/to_file", "x")
    file(upper / "deep/$HOME/`id`/file", "x")


def modes(lower: Path, upper: Path) -> None:
    """Copies that differ only in suid, an attribute or a time: vacuum removes such copies."""
    for name in ("suid", "attribute", "time", "same"):
        path = file(lower / name, "x")
        subprocess.run(["cp", "-a", path, upper / name], check=True)
    (upper / "suid").chmod(0o4644)
    os.setxattr(upper / "attribute", "user.note", b"x")
    os.utime(upper / "time", ns=(1, 1))


def devices(lower: Path, upper: Path) -> None:
    """Device nodes, fifos and sockets, at which its merge stops halfway."""
    file(lower / "d/x", "x")
    for number, kind in enumerate((stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)):
        os.mknod(directory(upper / "d") / f"node{number}", kind | 0o640, os.makedev(1, 3))


def renamed(lower: Path, upper: Path) -> None:
    """Directories that were renamed, whose redirects its merge refuses."""
    file(lower / "a/b/file", "x")
    directory(upper / "new", redirect=b"/a")
    whiteout(upper / "a")


CASES = (removed, merged, modes, devices, renamed)


def build(lab: Path, case: Callable[[Path, Path], None]) -> Case:
    for name in ("l", "u", "w", "m"):
        directory(lab / name)
    case(lab / "l", lab / "u")
    made = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="redirect_dir=on")
    with Mounted(made):  # the kernel notes what it notes
        look(made.target)
    return made


@pytest.mark.namespace
@pytest.mark.parametrize("what", CASES)
@pytest.mark.parametrize("work", WORKS)
def test_the_merged_tree_stays(lab: Path, what: Callable[[Path, Path], None], work: str) -> None:
    case = build(lab, what)
    stack = ("-u", "u", "-l", "l", "-o", "redirect_dir=on")
    assert layerctl("check", *stack).stdout == "no faults found\n"
    before = shown(case)
    assert list(differences(before, shown(WORKS[work](case)))) == []


@pytest.mark.namespace
@pytest.mark.parametrize("what", CASES)
def test_a_commit_leaves_no_markers_in_the_lowest_layer(
    lab: Path, what: Callable[[Path, Path], None]
) -> None:
    commit(build(lab, what))
    left = [name for one in look(f"{lab}/l").values() for name, _ in one.attributes]
    assert not [name for name in left if name.startswith("trusted.overlay.")]
    assert os.listdir(lab / "u") == []

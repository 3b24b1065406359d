"""Check: every fault is built on this kernel, found, mended where it may be, and then gone."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from layerctl.usecases import working
from layerctl.working.check.fault import Mending
from tests.support import first_seed, in_namespace, layerctl, layerctl_json
from tests.support.operations import build_by_operations
from tests.support.stacks import Case, Mounted, make_case
from tests.support.trees import look, shown
from tests.support.working import Checking, check_killed, check_view, of_many

PREFIX = "trusted.overlay."


def mark(path: Path, name: str, value: bytes = b"y") -> None:
    os.setxattr(path, PREFIX + name, value, follow_symlinks=False)


def whiteout(path: Path) -> Path:
    os.mknod(path, stat.S_IFCHR, 0)
    return path


def directory(path: Path, **marks: bytes) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, value in marks.items():
        mark(path, name, value)
    return path


def file(path: Path, text: str = "", **marks: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for name, value in marks.items():
        mark(path, name, value)
    return path


class Row(NamedTuple):
    """A fault: how it is built, what is found, and what the merged tree is once it is mended."""

    build: Callable[[Path], object]
    causes: set[str]
    mending: Mending
    options: str = ""
    mended: Callable[[dict[str, Any]], bool] = bool


def _deep(lab: Path) -> None:
    directory(lab / "w/work/x/y/z")


def _two_origins(lab: Path) -> None:
    file(lab / "l/one", "x")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")):
        (lab / "m/one").chmod(0o600)
    subprocess.run(["cp", "-a", lab / "u/one", lab / "u/two"], check=True)


def _other_lower(lab: Path) -> None:
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/new").touch()
    shutil.rmtree(lab / "l")
    directory(lab / "spare")
    directory(lab / "l")
    file(lab / "l/file", "x")


def _copied_upper(lab: Path) -> None:
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/new").touch()
    subprocess.run(["cp", "-a", lab / "u", lab / "copy"], check=True)
    shutil.rmtree(lab / "u")
    (lab / "copy").rename(lab / "u")


def _foreign_in_index(lab: Path) -> None:
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/new").touch()
    file(lab / "w/index/stranger")


def _other_type(lab: Path) -> None:
    file(lab / "l/one", "x")
    directory(lab / "l/dir")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")):
        (lab / "m/dir").chmod(0o700)
    origin = os.getxattr(lab / "u/dir", PREFIX + "origin")
    file(lab / "u/one", "y", origin=origin)


def _impure(lab: Path) -> None:
    file(lab / "l/one", "x")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")):
        (lab / "m/new").mkdir()
        (lab / "m/one").rename(lab / "m/new/one")
    os.removexattr(lab / "u/new", PREFIX + "impure")


SAFE, ASK, REPORT = Mending.SAFE, Mending.ASK, Mending.REPORT
ROWS: dict[str, Row] = {
    "1 new directory": Row(
        lambda lab: whiteout(directory(lab / "u/new") / "x"),
        {"whiteout-not-merged"}, SAFE, mended=lambda tree: "new/x" not in tree,
    ),
    "1 opaque directory": Row(
        lambda lab: (file(lab / "l/d/x"), whiteout(directory(lab / "u/d", opaque=b"y") / "x")),
        {"whiteout-not-merged"}, SAFE, mended=lambda tree: "d/x" not in tree,
    ),
    "1 lower directory": Row(
        lambda lab: whiteout(directory(lab / "l/d") / "x"),
        {"whiteout-not-merged"}, SAFE, mended=lambda tree: "d/x" not in tree,
    ),
    "2": Row(lambda lab: whiteout(lab / "u/x"), {"whiteout-over-nothing"}, SAFE),
    "3": Row(
        lambda lab: (file(lab / "l/x"), file(lab / "u/x", whiteout=b"")),
        {"xattr-whiteout-in-upper"}, SAFE, mended=lambda tree: "x" not in tree,
    ),
    "4": Row(
        lambda lab: file(lab / "u/x", "data", whiteout=b""), {"xattr-whiteout-not-empty"}, REPORT
    ),
    "5": Row(
        lambda lab: (file(lab / "l/d/x"), directory(lab / "u/d", opaque=b"1")),
        {"opaque-value"}, ASK, mended=lambda tree: "d/x" in tree,
    ),
    "6 file": Row(
        lambda lab: file(lab / "u/x", "y", opaque=b"y"), {"opaque-without-effect"}, SAFE
    ),
    "6 root": Row(lambda lab: mark(lab / "u", "opaque"), {"opaque-without-effect"}, SAFE),
    "7": Row(
        lambda lab: directory(lab / "u/d", redirect=b"/nothing"),
        {"redirect-to-nothing"}, SAFE, "redirect_dir=on",
    ),
    "7 same name": Row(
        lambda lab: (file(lab / "l/d/x"), directory(lab / "u/d", redirect=b"/nothing")),
        {"redirect-to-nothing"}, ASK, "redirect_dir=on", lambda tree: "d/x" not in tree,
    ),
    "7 file": Row(
        lambda lab: (file(lab / "l/f"), directory(lab / "u/d", redirect=b"/f")),
        {"redirect-to-nothing"}, SAFE, "redirect_dir=on",
    ),
    **{
        f"8 {value!r}": Row(
            lambda lab, value=value: directory(lab / "u/d", redirect=value),  # type: ignore[misc]
            {"redirect-invalid"}, ASK, "redirect_dir=on", lambda tree: not tree["d"].error,
        )
        for value in (b"", b"//b", b"a/b")
    },
    "9": Row(
        lambda lab: (directory(lab / "l/a"), directory(lab / "u/d", redirect=b"/a"),
                     whiteout(lab / "u/a")),
        {"redirect-not-followed"}, REPORT, "redirect_dir=nofollow",
    ),
    "10": Row(
        lambda lab: (file(lab / "l/a/x"), directory(lab / "u/b", redirect=b"a")),
        {"redirect-uncovered"}, SAFE, "redirect_dir=on",
        lambda tree: "a" not in tree and not tree["b"].error and "b/x" in tree,
    ),
    "11": Row(
        lambda lab: (file(lab / "l/a/x"), whiteout(lab / "u/a"),
                     directory(lab / "u/b", redirect=b"a"), directory(lab / "u/c", redirect=b"a")),
        {"redirect-twice"}, REPORT, "redirect_dir=on",
    ),
    "13": Row(
        lambda lab: file(lab / "u/f", metacopy=b""), {"metacopy-without-data"}, ASK, "metacopy=on",
        lambda tree: "f" not in tree,
    ),
    "13 directory": Row(
        lambda lab: (directory(lab / "l/f"), file(lab / "u/f", metacopy=b"")),
        {"metacopy-without-data"}, ASK, "metacopy=on", lambda tree: not tree["f"].error,
    ),
    "14": Row(
        lambda lab: (file(lab / "l/f"), file(lab / "u/f", metacopy=b"")),
        {"metacopy-not-followed"}, REPORT, "metacopy=off",
    ),
    "15": Row(
        lambda lab: (file(lab / "l/f", "x"), file(lab / "u/f", metacopy=b"ab")),
        {"metacopy-too-short"}, ASK, "metacopy=on", lambda tree: tree["f"].content == b"x",
    ),
    "16": Row(
        lambda lab: (file(lab / "l/f"), file(lab / "u/f", metacopy=b"\1\4\0\0")),
        {"metacopy-invalid"}, ASK, "metacopy=on",
    ),
    "17": Row(
        lambda lab: (file(lab / "l/f", "long"), file(lab / "u/f", metacopy=b"")),
        {"metacopy-size"}, REPORT, "metacopy=on",
    ),
    "18": Row(
        lambda lab: (file(lab / "l/f", "1234"), file(lab / "u/f", "abcd", metacopy=b"")),
        {"metacopy-over-data"}, ASK, "metacopy=on", lambda tree: tree["f"].content == b"1234",
    ),
    "20": Row(
        lambda lab: (file(lab / "l/f"), file(lab / "u/f", metacopy=b"")),
        {"verity-digest-missing"}, REPORT, "metacopy=on,verity=require",
    ),
    "21": Row(lambda lab: file(lab / "u/f", "x", origin=b"garbage"), {"origin-invalid"}, SAFE),
    "22": Row(_other_type, {"origin-of-another-type"}, SAFE),
    "23": Row(
        _two_origins, {"origin-twice"}, SAFE,
        mended=lambda tree: not tree["one"].error and not tree["two"].error,
    ),
    "26": Row(_impure, {"impure-missing"}, SAFE),
    "27": Row(_other_lower, {"index-other-lower"}, ASK, "index=on"),
    "28": Row(_copied_upper, {"index-other-upper"}, ASK, "index=on"),
    "29": Row(_foreign_in_index, {"index-foreign-name"}, ASK, "index=on"),
    "32": Row(lambda lab: file(lab / "u/f", "x", nlink=b"many"), {"nlink-invalid"}, ASK),
    "33": Row(lambda lab: file(lab / "u/f", "x", protattr=b"z"), {"protattr-invalid"}, ASK),
    "34": Row(lambda lab: mark(lab / "u", "uuid", b"short"), {"uuid-invalid"}, SAFE),
    "36": Row(
        lambda lab: directory(lab / "w/work/incompat/newer"), {"workdir-incompat"}, ASK
    ),
    "37": Row(_deep, {"workdir-too-deep"}, SAFE),
    "38": Row(
        lambda lab: subprocess.run(["chattr", "+i", file(lab / "w/work/file")], check=True),
        {"workdir-immutable"}, SAFE,
    ),
    "39 name space": Row(
        lambda lab: os.setxattr(directory(lab / "u/d"), "user.overlay.opaque", b"y"),
        {"foreign-marker"}, REPORT,
    ),
    "39 unknown": Row(lambda lab: mark(file(lab / "u/f"), "news"), {"unknown-marker"}, REPORT),
    "39 aufs": Row(lambda lab: file(lab / "u/.wh.x"), {"aufs-name-in-overlay"}, REPORT),
    "40": Row(
        lambda lab: whiteout(directory(lab / "u/d", opaque=b"y") / ".wh..wh..opq"),
        {"fuse-opaque-device"}, SAFE,
    ),
}  # fmt: skip
#: Rows of which the kernel does not mount before they are mended.
REFUSED = {"27", "28", "29", "36"}


def prepare(lab: Path, row: Row) -> tuple[Case, tuple[str, ...]]:
    for name in ("l", "u", "w", "m"):
        directory(lab / name)
    row.build(lab)
    case = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options=row.options)
    arguments = ("-u", f"{lab}/u", "-l", f"{lab}/l", "-w", f"{lab}/w")
    return case, (*arguments, *(("-o", row.options) if row.options else ()))


@pytest.mark.namespace
@pytest.mark.parametrize("name", ROWS)
def test_a_fault_is_found_and_mended(lab: Path, name: str) -> None:
    row = ROWS[name]
    case, stack = prepare(lab, row)
    before = [look(layer.path) for layer in case.stack.layers]
    found = layerctl_json("check", *stack, code=1)["faults"]
    assert {one["cause"] for one in found} == row.causes
    assert {one["class"] for one in found} == {row.mending.value}
    for one in found:
        assert layerctl("explain", one["cause"]).returncode == 0
        assert os.path.lexists(one["path"])
    assert [look(layer.path) for layer in case.stack.layers] == before, "it only looks"
    if row.mending is REPORT:
        assert layerctl("check", "--repair=ask", *stack).returncode == 1
        return
    if row.mending is ASK:
        assert layerctl("check", "--repair", *stack).returncode == 1, "it is not asked for"
        done = layerctl("check", "--repair", *row.causes, *stack)
    else:
        done = layerctl("check", "--repair", *stack)
    assert done.returncode == 0, done.stderr + done.stdout
    with Mounted(case):
        tree = look(case.target)
        assert row.mended(tree)
        (lab / "m/writable").touch()
    assert layerctl("check", *stack).stdout == "no faults found\n"


@pytest.mark.namespace
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_the_kernel_refuses(lab: Path, name: str) -> None:
    case, _ = prepare(lab, ROWS[name])
    with pytest.raises(OSError, match=r"Stale|Invalid"), Mounted(case):
        pass


@pytest.mark.namespace
def test_whiteouts_are_not_judged_where_redirects_are_not_followed(lab: Path) -> None:
    for name in ("l", "u", "w", "m"):
        directory(lab / name)
    file(lab / "l/a/x")
    options = "redirect_dir=on"
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options=options)):
        (lab / "m/a").rename(lab / "m/b")
        (lab / "m/b/x").unlink()
    stack = ("-u", f"{lab}/u", "-l", f"{lab}/l", "-o", "redirect_dir=nofollow")
    found = layerctl_json("check", *stack, code=1)["faults"]
    assert {one["cause"] for one in found} == {"redirect-not-followed"}
    assert layerctl("check", "--repair=ask", *stack).returncode == 1
    assert os.path.lexists(lab / "u/b/x"), "it hides l/a/x once the redirect is followed"


@pytest.mark.namespace
@pytest.mark.parametrize("keep", [True, False])
def test_what_is_removed_goes_to_a_quarantine(lab: Path, *, keep: bool) -> None:
    _, stack = prepare(lab, ROWS["15"])
    (lab / "u/f").write_text("precious")
    arguments = () if keep else ("--no-quarantine",)
    assert layerctl("check", "--repair", "metacopy-too-short", *arguments, *stack).returncode == 0
    quarantine = lab / "u.layerctl-quarantine"
    assert quarantine.exists() == keep
    if keep:
        assert (quarantine / "0").read_text() == "precious"
        assert (quarantine / "0.path").read_text() == "f"
        assert quarantine.stat().st_mode & 0o777 == 0o700


@pytest.mark.namespace
def test_a_repair_keeps_the_times_of_directories(lab: Path) -> None:
    case, stack = prepare(lab, ROWS["1 new directory"])
    os.utime(lab / "u/new", ns=(3, 4))
    assert layerctl("check", "--repair", *stack).returncode == 0
    assert shown(case)["new"].modified == 4


@pytest.mark.namespace
def test_a_mounted_stack_is_checked_and_not_repaired(lab: Path) -> None:
    case, stack = prepare(lab, ROWS["2"])
    with Mounted(case):
        assert layerctl("check", case.target).returncode == 1
        done = layerctl("check", "--repair", *stack, "--json")
        assert (done.returncode, "layer-in-use" in done.stderr) == (32, True)
        assert (lab / "u/x").exists() or os.path.lexists(lab / "u/x")


@pytest.mark.namespace(user=True)
def test_user_markers(lab: Path) -> None:
    for name in ("l", "u", "w", "m"):
        directory(lab / name)
    os.setxattr(file(lab / "u/x", "data"), "user.overlay.opaque", b"y")
    stack = ("-u", f"{lab}/u", "-l", f"{lab}/l", "-o", "userxattr")
    (found,) = layerctl_json("check", *stack, code=1)["faults"]
    assert found["cause"] == "opaque-without-effect"
    assert layerctl("check", "--repair", *stack).returncode == 0


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
def test_stacks_that_mounts_made_have_no_faults(*, user: bool) -> None:
    start = first_seed()

    def body(lab: Path) -> list[str]:
        failed: list[str] = []
        for seed in range(start, start + 25):
            case = build_by_operations(random.Random(seed), f"{lab}/case", user=user)
            words = ["-o", case.data]
            found = json.loads(layerctl("check", *words, "--json").stdout)["faults"]
            failed += [
                f"{seed} {case.data}: {one}"
                for one in found
                if not one["cause"].endswith("-not-followed")  # its options are not those it had
            ]
            shutil.rmtree(f"{lab}/case")
            if failed:
                break
        return failed

    assert in_namespace(body, user=user) == []


def work(case: Case) -> None:
    """Mend what is safe."""
    with working.repairing(case.stack, "safe", quarantine=False) as steps:
        list(working.do(steps))


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
@pytest.mark.parametrize("check", [check_view, check_killed])
def test_a_safe_repair_keeps_the_merged_tree(check: Checking, *, user: bool) -> None:
    assert in_namespace(partial(of_many, check, work, user=user), user=user) == []


BRANCHES: dict[str, tuple[Callable[[Path], object], str]] = {
    "name and whiteout": (
        lambda lab: (file(lab / "b0/x"), file(lab / "b0/.wh.x")), "aufs-name-and-whiteout",
    ),
    "read-only": (lambda lab: file(lab / "b1/.wh.x"), "aufs-whiteout-ignored"),
    "look-alike": (lambda lab: file(lab / "b0/d/.wh..wh..opaque"), "aufs-unknown-name"),
    "pseudo-link": (lambda lab: file(lab / "b0/.wh..wh.plnk/5.7"), "aufs-pseudo-link-left"),
    "orphan": (lambda lab: file(lab / "b0/.wh..wh.orph/.wh.abc"), "aufs-orphan-left"),
}  # fmt: skip


@pytest.mark.namespace
@pytest.mark.parametrize("name", BRANCHES)
def test_branches_of_an_aufs(lab: Path, name: str) -> None:
    directory(lab / "b0")
    directory(lab / "b1")
    build, cause = BRANCHES[name]
    build(lab)
    (found,) = layerctl_json("check", "-b", "b0=rw", "-b", "b1=ro", code=1)["faults"]
    assert found["cause"] == cause


@pytest.mark.namespace
def test_a_healthy_aufs_has_no_faults(lab: Path) -> None:
    for name in (".wh..wh.aufs", "d/.wh..wh..opq", ".wh.gone"):
        file(lab / "b0" / name)
    for name in (".wh..wh.plnk", ".wh..wh.orph"):
        directory(lab / "b0" / name)
    file(lab / "b1/gone")
    assert layerctl("check", "-b", "b0=rw", "-b", "b1=ro").returncode == 0

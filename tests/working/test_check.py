"""Check: every fault is built on this kernel, found, mended where it may be, and then gone."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from layerctl.usecases import working
from tests.support import first_seed, in_namespace, layerctl, layerctl_json
from tests.support.faults import (
    ASK,
    REFUSED,
    REPORT,
    ROWS,
    directory,
    file,
    mark,
    prepare,
    whiteout,
)  # fmt: skip
from tests.support.operations import build_by_operations
from tests.support.stacks import Case, Mounted, make_case
from tests.support.trees import look, shown
from tests.support.working import Checking, check_killed, check_view, of_many


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


def interrupted(path: Path) -> None:
    directory(path)
    os.setxattr(path, "trusted.layerctl.times", b"1000 2000")


#: What is wrong, how it is built, the cause, and whether a repair mends it.
BRANCHES: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "name and whiteout": (
        lambda lab: (file(lab / "b0/x"), file(lab / "b0/.wh.x")), "aufs-name-and-whiteout", True,
    ),
    "read-only": (lambda lab: file(lab / "b1/.wh.x"), "aufs-whiteout-ignored", False),
    "look-alike": (lambda lab: file(lab / "b0/d/.wh..wh..opaque"), "aufs-unknown-name", False),
    "pseudo-link": (lambda lab: file(lab / "b0/.wh..wh.plnk/5.7"), "aufs-pseudo-link-left", True),
    "orphan": (lambda lab: file(lab / "b0/.wh..wh.orph/.wh.abc"), "aufs-orphan-left", True),
    "unfinished": (
        lambda lab: interrupted(lab / "b0/d"), "work-unfinished", True,
    ),
}  # fmt: skip


@pytest.mark.namespace
@pytest.mark.parametrize("name", BRANCHES)
def test_branches_of_an_aufs(lab: Path, name: str) -> None:
    directory(lab / "b0")
    directory(lab / "b1")
    build, cause, is_mended = BRANCHES[name]
    build(lab)
    stack = ("-b", "b0=rw", "-b", "b1=ro")
    (found,) = layerctl_json("check", *stack, code=1)["faults"]
    assert found["cause"] == cause
    times = (lab / "b0").stat().st_mtime_ns
    mended = layerctl("check", *stack, "--repair=ask")
    assert mended.returncode == (0 if is_mended else 1), mended.stderr
    assert (lab / "b0").stat().st_mtime_ns == times
    assert layerctl("check", *stack).returncode == (0 if is_mended else 1)


@pytest.mark.namespace
def test_a_healthy_aufs_has_no_faults(lab: Path) -> None:
    for name in (".wh..wh.aufs", "d/.wh..wh..opq", ".wh.gone"):
        file(lab / "b0" / name)
    for name in (".wh..wh.plnk", ".wh..wh.orph"):
        directory(lab / "b0" / name)
    file(lab / "b1/gone")
    assert layerctl("check", "-b", "b0=rw", "-b", "b1=ro").returncode == 0


@pytest.mark.namespace
def test_the_markers_of_a_layer_alone_may_hide_something(lab: Path) -> None:
    whiteout(directory(lab / "u/d") / "gone")
    directory(lab / "u/moved", redirect=b"/elsewhere")
    found = layerctl_json("check", "-l", "u", "-o", "redirect_dir=on", code=1)
    assert found["faults"] == []
    assert "2 markers" in found["notes"][0]
    assert layerctl("check", "--repair=ask", "-l", "u").returncode == 1
    assert os.path.lexists(lab / "u/d/gone"), "what it hides is not known"
    mark(lab / "u/d", "opaque")
    assert [one["cause"] for one in layerctl_json("check", "-l", "u", code=1)["faults"]] == [
        "whiteout-not-merged"
    ]


@pytest.mark.namespace
def test_a_read_only_lower_layer_is_reported_and_the_rest_is_mended(lab: Path) -> None:
    directory(lab / "u")
    whiteout(lab / "u/x")
    whiteout(directory(lab / "l/d") / "x")
    syscalls.mount(f"{lab}/l", f"{lab}/l", "", syscalls.MS_BIND, "")
    flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | os.ST_RDONLY
    syscalls.mount("", f"{lab}/l", "", flags, "")
    found = layerctl_json("check", "--repair", "-u", "u", "-l", "l", code=1)["faults"]
    assert [(one["cause"], one["class"]) for one in found] == [("whiteout-not-merged", "report")]
    assert not os.path.lexists(lab / "u/x")


@pytest.mark.namespace
def test_a_directory_that_was_renamed_back_has_no_fault(lab: Path) -> None:
    for name in ("u", "w", "m"):
        directory(lab / name)
    file(lab / "l/d/x")
    options = "redirect_dir=on"
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options=options)):
        directory(lab / "m/other")
        (lab / "m/d").rename(lab / "m/other/d")
        (lab / "m/other/d").rename(lab / "m/d")
    assert os.getxattr(lab / "u/d", "trusted.overlay.redirect") == b"/d"
    stack = ("-u", f"{lab}/u", "-l", f"{lab}/l", "-o", options)
    assert layerctl("check", *stack).stdout == "no faults found\n"


@pytest.mark.namespace
@pytest.mark.parametrize(("name", "refused"), [
    ("13", "metacopy-not-followed"), ("17", "metacopy-not-followed"),
    ("7", "redirect-not-followed"), ("10", "redirect-not-followed"),
])  # fmt: skip
def test_faults_are_found_whatever_the_options_follow(lab: Path, name: str, refused: str) -> None:
    row = ROWS[name]
    _, stack = prepare(lab, row._replace(options="redirect_dir=nofollow,metacopy=off"))
    found = {one["cause"] for one in layerctl_json("check", *stack, code=1)["faults"]}
    assert found - {refused} == row.causes
    assert refused in found


@pytest.mark.namespace
def test_an_old_place_that_only_lower_layers_show_is_no_fault(lab: Path) -> None:
    for name in ("u", "w", "m"):
        directory(lab / name)
    file(lab / "k/a/x")
    directory(lab / "l/b", redirect=b"a")
    options = "redirect_dir=on"
    stack = ("-u", "u", "-l", "l", "-l", "k", "-o", options)
    assert layerctl("check", *stack).stdout == "no faults found\n"
    tree = shown(make_case(str(lab), [f"{lab}/l", f"{lab}/k"], upper=f"{lab}/u", options=options))
    assert {"a/x", "b/x"} <= tree.keys(), "the kernel shows both"

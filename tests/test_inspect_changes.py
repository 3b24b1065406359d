"""What the upper layer changed is what was done through the mount."""

from __future__ import annotations

import os
import random
import shutil
import stat
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from layerctl.inspecting.changes import Changes
from layerctl.inspecting.opening import opened
from tests.support import first_seed, in_namespace, layerctl, layerctl_json
from tests.support.compare import kernel_tree, wrong_changes
from tests.support.operations import Operations
from tests.support.stacks import Mounted, make_case


def base(lab: Path) -> None:
    """Make a lower layer to be changed, all of it old."""
    for name in ("l/d/sub", "l/gone", "l/moved", "u", "w", "m"):
        (lab / name).mkdir(parents=True)
    for name in ("kept", "appended", "touched", "chmodded", "same", "deleted", "replaced"):
        (lab / "l" / name).write_text(f"{name}\n")
    (lab / "l/d/sub/file").write_text("x")
    (lab / "l/gone/file").write_text("x")
    (lab / "l/moved/file").write_text("x")
    os.symlink("one", lab / "l/link")
    for above, directories, files in os.walk(lab / "l"):
        for name in (*directories, *files):
            os.utime(f"{above}/{name}", (10**9, 10**9), follow_symlinks=False)


def found(lab: Path, *arguments: str) -> dict[str, tuple[str, Any]]:
    stack = ("-u", f"{lab}/u", "-l", f"{lab}/l")
    document = layerctl_json("inspect", "changes", *stack, *arguments)
    return {one["path"]: (one["change"], one["differs"]) for one in document["changes"]}


def _change(merged: Path) -> None:
    with (merged / "appended").open("a") as file:
        file.write("more")
    os.utime(merged / "touched")
    (merged / "chmodded").chmod(0o600)
    with (merged / "same").open("r+"):
        pass
    (merged / "deleted").unlink()
    (merged / "replaced").unlink()
    (merged / "replaced").mkdir()
    (merged / "new").mkdir()
    (merged / "new/file").write_text("x")
    shutil.rmtree(merged / "gone")
    (merged / "gone").mkdir()
    (merged / "moved").rename(merged / "renamed")
    (merged / "renamed/more").write_text("x")
    (merged / "d/sub/other").write_text("x")
    (merged / "link").unlink()
    (merged / "link").symlink_to("two")


@pytest.mark.namespace
def test_every_kind_of_change(lab: Path) -> None:
    base(lab)
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="redirect_dir=on")):
        _change(lab / "m")
        document = layerctl_json("inspect", "changes", lab / "m")
    got = {one["path"]: one["change"] for one in document["changes"]}
    assert got == {
        "appended": "modified",
        "touched": "metadata",
        "chmodded": "metadata",
        "same": "unchanged",
        "deleted": "deleted",
        "replaced": "replaced",
        "new": "added",
        "new/file": "added",
        "gone/file": "deleted",
        "renamed": "renamed",
        "renamed/more": "added",
        "d/sub/other": "added",
        "link": "modified",
    }
    (renamed,) = [one for one in document["changes"] if one["change"] == "renamed"]
    assert (renamed["from"], renamed["type"]) == ("moved", "dir")


@pytest.mark.namespace
def test_contents_decide_where_times_do_not(lab: Path) -> None:
    base(lab)
    for name, text in (("kept", "KEPT\n"), ("touched", "touched\n")):
        (lab / "u" / name).write_text(text)
    assert found(lab) == {
        "kept": ("modified", ["content", "mtime"]),
        "touched": ("metadata", ["mtime"]),
    }
    os.utime(lab / "u/kept", (10**9, 10**9))
    assert found(lab)["kept"] == ("unchanged", [])
    assert found(lab, "--content")["kept"] == ("modified", ["content"])


@pytest.mark.namespace
def test_files_written_in_the_same_moment_are_read(lab: Path) -> None:
    base(lab)
    (lab / "u/kept").write_text("KEPT\n")
    now = os.stat(lab / "u/kept").st_mtime_ns
    os.utime(lab / "l/kept", ns=(now, now))
    assert found(lab) == {"kept": ("modified", ["content"])}


@pytest.mark.namespace
def test_the_letters_of_docker_diff(lab: Path) -> None:
    base(lab)
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")):
        (lab / "m/d/sub/new").write_text("x")
        (lab / "m/deleted").unlink()
        (lab / "m/kept").chmod(0o600)
    done = layerctl("inspect", "changes", "-u", f"{lab}/u", "-l", f"{lab}/l", "--format", "docker")
    assert done.stdout.splitlines() == [
        "C /d", "C /d/sub", "A /d/sub/new", "D /deleted", "C /kept",
    ]  # fmt: skip


@pytest.mark.namespace
def test_since_takes_several_layers_together(lab: Path) -> None:
    for number, name in enumerate(("top", "middle", "bottom")):
        (lab / str(number)).mkdir()
        (lab / str(number) / name).write_text("x")
    os.mknod(lab / "0/bottom", stat.S_IFCHR, 0)
    stack = ("-l", f"{lab}/0", "-l", f"{lab}/1", "-l", f"{lab}/2")
    got = layerctl_json("inspect", "changes", *stack, "--since", "2")["changes"]
    assert {(one["path"], one["change"], one["layer"]) for one in got} == {
        ("top", "added", 0),
        ("middle", "added", 1),
        ("bottom", "deleted", 0),
    }


def random_changes(seed: int, lab: Path, *, user: bool) -> list[str]:
    """Change a random tree through a mount; return where the changes found are not those made."""
    rng = random.Random(seed)
    where = f"{lab}/case"
    os.makedirs(f"{where}/l")
    for name in ("u", "w", "m"):
        os.mkdir(f"{where}/{name}")
    Operations(rng, f"{where}/l", "lower", user=user).some(40)
    options = "userxattr" if user else rng.choice(["", "redirect_dir=on", "metacopy=on"])
    case = make_case(where, [f"{where}/l"], upper=f"{where}/u", options=options)
    before = kernel_tree(f"{where}/l", ())
    with Mounted(case):
        Operations(rng, f"{where}/m", "upper", user=user).some(20)
    with Mounted(case):
        after = kernel_tree(f"{where}/m", ())
    with opened(case.stack) as view:
        made = {one.path: one for one in chain.from_iterable(Changes(view, 1, content=True))}
    shutil.rmtree(where)
    return list(wrong_changes(made, before, after))


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
def test_random_changes(*, user: bool) -> None:
    start = first_seed()

    def body(lab: Path) -> list[str]:
        failed: list[str] = []
        for seed in range(start, start + int(os.environ.get("LAYERCTL_CASES", "400")) // 2):
            failed += [f"seed {seed}: {text}" for text in random_changes(seed, lab, user=user)]
            if failed:
                break
        return failed

    assert in_namespace(body, user=user) == []

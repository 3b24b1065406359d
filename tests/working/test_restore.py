"""Restore: only the named paths change, and to what the kernel shows without the upper layer."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from layerctl.working.sites import Wish
from tests.support import first_seed, in_namespace, layerctl, layerctl_json
from tests.support.restoring import check_live, check_restore_killed, check_restored, restore
from tests.support.stacks import Case, Mounted, make_case

Check = Callable[..., list[str]]


def many(lab: Path, check: Check, *, user: bool) -> list[str]:
    """Check many random stacks; return what is wrong with the first one that fails."""
    answers: Counter[str] = Counter()
    for seed in range(first_seed(), first_seed() + int(os.environ.get("LAYERCTL_CASES", "25"))):
        answer, *wrong = check(seed, f"{lab}/case", user=user)
        if wrong:
            return wrong
        answers[answer] += 1
    mostly = answers["changed"] > answers.total() / 2
    return [] if mostly else [f"too little was restored: {answers}"]


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
@pytest.mark.parametrize("check", [check_restored, check_restore_killed, check_live])
def test_random_stacks(check: Check, *, user: bool) -> None:
    assert in_namespace(partial(many, check=check, user=user), user=user) == []


OPTIONS = "redirect_dir=on"
FLAGS = ("-u", "u", "-w", "w", "-l", "l", "-o", OPTIONS)


def changed(lab: Path) -> Case:
    """Return a stack that was changed through a mount."""
    for name in ("l/d/sub", "l/e", "l/gone/deep", "u", "w", "m"):
        (lab / name).mkdir(parents=True)
    for name in ("file", "other", "d/x", "d/sub/y", "e/z", "gone/deep/f"):
        (lab / "l" / name).write_text(f"below: {name}")
    case = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options=OPTIONS)
    with Mounted(case):
        m = lab / "m"
        (m / "file").unlink()
        (m / "other").write_text("changed")
        (m / "new").write_text("new")
        (m / "d").rename(m / "renamed")
        (m / "renamed/more").write_text("more")
        subprocess.run(["rm", "-r", m / "e", m / "gone"], check=True)
        (m / "e").mkdir()
        (m / "e/own").write_text("own")
    return case


def texts(case: Case) -> dict[str, str]:
    """Return what the files of the merged tree hold."""
    with Mounted(case) as target:
        root = Path(target)
        return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


BEFORE = {"other": "changed", "new": "new", "renamed/x": "below: d/x", "renamed/more": "more",
          "renamed/sub/y": "below: d/sub/y", "e/own": "own"}  # fmt: skip
_D = {"d/x": "below: d/x", "d/sub/y": "below: d/sub/y", "renamed/x": None, "renamed/sub/y": None,
      "renamed/more": None}  # fmt: skip
#: By what is asked: what changes in `texts`; None for what is gone.
CASES: dict[tuple[str, ...], dict[str, str | None]] = {
    ("file",): {"file": "below: file"},
    ("other",): {"other": "below: other"},
    ("new",): {"new": None},
    ("file", "new"): {"file": "below: file", "new": None},
    ("gone",): {"gone/deep/f": "below: gone/deep/f"},
    ("-r", "d"): _D,
    ("-r", "renamed"): _D,
    ("-r", "e"): {"e/own": None, "e/z": "below: e/z"},
    ("e/z",): {"e/z": "below: e/z"},
    ("e/own",): {"e/own": None},
    ("renamed/more",): {"renamed/more": None},
    ("--layer", "1", "other"): {"other": "below: other"},
    ("--layer", "1", "-r", "e"): {"e/own": None, "e/z": "below: e/z"},
}


@pytest.mark.namespace
@pytest.mark.parametrize("asked", CASES, ids=" ".join)
def test_what_was_changed_comes_back(lab: Path, asked: tuple[str, ...]) -> None:
    case = changed(lab)
    assert texts(case) == BEFORE
    done = layerctl("restore", *FLAGS, *asked)
    assert done.returncode == 0, done.stderr
    then = {name: text for name, text in (BEFORE | CASES[asked]).items() if text is not None}
    assert texts(case) == then
    assert os.listdir(lab / "w") == ["work"]


@pytest.mark.namespace
@pytest.mark.parametrize("asked", [one for one in CASES if "file" in one or "-r" in one],
                         ids=" ".join)  # fmt: skip
def test_the_script_does_the_same(lab: Path, asked: tuple[str, ...]) -> None:
    case = changed(lab)
    (lab / "script").write_text(layerctl("restore", "--print", "sh", *FLAGS, *asked).stdout)
    assert texts(case) == BEFORE
    subprocess.run(["sh", lab / "script"], check=True)
    then = {name: text for name, text in (BEFORE | CASES[asked]).items() if text is not None}
    assert texts(case) == then


REFUSED: dict[tuple[str, ...], tuple[int, str]] = {
    ("e",): (32, "holds-changes"),
    ("renamed",): (32, "holds-changes"),
    ("d",): (32, "holds-changes"),
    ("gone/deep/f",): (32, "not-restorable"),
    ("file/below",): (3, "no layer has"),
    ("other/below",): (32, "not-restorable"),
    ("nothing",): (3, "no layer has 'nothing'"),
    ("-r", "d/sub"): (32, "not-restorable"),
    ("--layer", "1", "new"): (32, "not-restorable"),
    ("--layer", "1", "e"): (32, "holds-changes"),
    ("--layer", "1", "gone"): (32, "not-restorable"),
    ("--layer", "2", "file"): (2, "no-such-layer"),
    ("--layer", "0", "file"): (2, "no-such-layer"),
    ("-r", "."): (2, "usage"),
    (): (2, "usage"),
}


@pytest.mark.namespace
@pytest.mark.parametrize("asked", REFUSED, ids=" ".join)
def test_what_is_refused_changes_nothing(lab: Path, asked: tuple[str, ...]) -> None:
    case = changed(lab)
    done = layerctl("restore", *FLAGS, *asked)
    code, words = REFUSED[asked]
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert texts(case) == BEFORE


#: What is not renamed, and deleted directories with -r, since they are copied.
LIVE: dict[tuple[str, ...], dict[str, str | None]] = {
    **{one: then for one, then in CASES.items() if not {"d", "renamed", "gone"} & {*one}},
    ("-r", "gone"): CASES["gone",],
    ("-r", "d"): {"d/x": "below: d/x", "d/sub/y": "below: d/sub/y"},
}


@pytest.mark.namespace
@pytest.mark.parametrize("asked", LIVE, ids=" ".join)
def test_a_live_mount_is_restored_through_itself(lab: Path, asked: tuple[str, ...]) -> None:
    case = changed(lab)
    flags = [word for word in asked if word.startswith("-") or word == "1"]
    with Mounted(case) as target:
        done = layerctl("restore", *flags, target, *asked[len(flags) :])
        assert done.returncode == 0, done.stderr
    then = {name: text for name, text in (BEFORE | LIVE[asked]).items() if text is not None}
    assert texts(case) == then


@pytest.mark.namespace
@pytest.mark.parametrize("name", ["one", "two"])
def test_a_name_of_a_file_in_the_index_is_restored_through_the_mount(lab: Path, name: str) -> None:
    for directory in ("l", "u", "w", "m"):
        (lab / directory).mkdir()
    (lab / "l/one").write_text("below")
    os.link(lab / "l/one", lab / "l/two")
    case = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")
    with Mounted(case) as target:
        (lab / "m/one").write_text("changed")
        os.unlink(lab / "m/one")
    flags = ("-u", "u", "-w", "w", "-l", "l", "-o", "index=on")
    assert "layer-indexed" in layerctl("restore", *flags, name).stderr
    with Mounted(case) as target:
        assert layerctl("restore", target, name).returncode == 0
    other = {} if name == "two" else {"two": "changed"}
    assert texts(case) == {name: "below"} | other


@pytest.mark.namespace
def test_a_renamed_directory_of_a_live_mount_is_refused(lab: Path) -> None:
    case = changed(lab)
    with Mounted(case) as target:
        done = layerctl("restore", "-r", target, "renamed")
    assert (done.returncode, f"mv -T {target}/renamed {target}/d" in done.stderr) == (32, True)
    assert texts(case) == BEFORE


@pytest.mark.namespace
def test_a_read_only_mount_is_refused(lab: Path) -> None:
    case = changed(lab)
    with Mounted(case) as target:
        subprocess.run(["mount", "-o", "remount,ro", target], check=True)
        done = layerctl("restore", target, "other")
    assert (done.returncode, "is mounted read-only" in done.stderr) == (32, True)


@pytest.mark.namespace
def test_a_dry_run_shows_the_steps(lab: Path) -> None:
    case = changed(lab)
    rows = layerctl_json("restore", "-n", "--json", *FLAGS, "other", "new")["steps"]
    assert [row["why"] for row in rows[:2]] == [
        "a file; layer 1 has a file", "a file; no layer has it"
    ]  # fmt: skip
    assert texts(case) == BEFORE


@pytest.mark.namespace
@pytest.mark.parametrize("mine", [False, True])
def test_nothing_of_others_is_removed_beside_the_layer(lab: Path, *, mine: bool) -> None:
    changed(lab)
    aside = lab / "w/layerctl-aside"
    aside.mkdir()
    (aside / "0").write_text("somebody's")
    if mine:
        os.setxattr(aside, "trusted.overlay.layerctl.aside", b"y")
    done = layerctl("restore", *FLAGS, "-r", "e")
    assert (done.returncode, aside.exists()) == ((0, False) if mine else (32, True))


@pytest.mark.namespace
def test_a_renamed_file_keeps_its_content_when_its_old_name_shows_again(lab: Path) -> None:
    case = changed(lab)
    with Mounted(case):
        os.rename(lab / "m/other", lab / "m/elsewhere")
    restore(Wish(("other",)), case)
    found = texts(case)
    assert (found["other"], found["elsewhere"]) == ("below: other", "changed")


@pytest.mark.namespace
def test_an_immutable_file_is_refused(lab: Path) -> None:
    changed(lab)
    if subprocess.run(["chattr", "+i", lab / "u/new"], capture_output=True).returncode == 0:
        done = layerctl("restore", *FLAGS, "file", "new")
        subprocess.run(["chattr", "-i", lab / "u/new"], check=True)
        assert "immutable" in done.stderr
        assert not (lab / "l/file").exists() or os.path.lexists(lab / "u/file")

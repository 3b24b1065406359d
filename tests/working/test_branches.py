"""Trim and commit of aufs branches: the merged tree stays as it is, before, after and between."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from layerctl.errors import LayerctlError
from layerctl.model import Layer, Role, Stack
from layerctl.usecases import working
from layerctl.working.aufs import commit
from layerctl.working.sites import Wish
from tests.support import first_seed, in_namespace, layerctl
from tests.support.branches import build_branches, resolved
from tests.support.killing import StoppedWorkError, every_change
from tests.support.stacks import Case
from tests.support.trees import Shown, differences, look

Work = Callable[[Stack], None]


def trim(stack: Stack) -> None:
    with working.trimming(stack, ignore_times=False) as steps:
        list(working.do(steps))


def commit_by_rename(stack: Stack) -> None:
    with working.committing(stack, range(1)) as steps:
        list(working.do(steps))


def commit_by_copy(stack: Stack) -> None:
    """Work as if the branches were on two filesystems."""
    with mock.patch.object(commit, "renames_work", return_value=False):
        commit_by_rename(stack)


WORKS = [trim, commit_by_rename, commit_by_copy]


class _FullError(OSError):
    """The filesystem is full, as a test says."""


def apart(before: dict[str, Shown], stack: Stack, *, between: bool = False) -> list[str]:
    """Return how the merged tree differs; names of one file may be apart between two steps."""
    found = differences(before, resolved(stack), between=between)
    return [line for line in found if not (between and ": names " in line)]


def view_of_one(seed: int, where: str, work: Work) -> tuple[list[str], int]:
    """Work on a random stack; return what is wrong at any step, and how many steps there were."""
    case = build_branches(seed, where, links=0 if work is commit_by_copy else 2)
    before = resolved(case.stack)
    found: list[str] = []
    answer = ""

    def look_again(number: int, done: bool) -> None:
        if done and not found:
            found.extend(f"{number}: {x}" for x in apart(before, case.stack, between=True))

    with every_change(look_again) as calls:
        try:
            work(case.stack)
        except LayerctlError as error:
            answer = error.id
    found += [f"in the end: {line}" for line in apart(before, case.stack)]
    if answer and calls:
        found.append(f"refused ({answer}) after {len(calls)} changes")
    left = [
        name for name in os.listdir(case.stack.layers[0].path) if not name.startswith(".wh..wh.")
    ]
    if work is not trim and not answer and left:
        found.append(f"left in the topmost branch: {left}")
    shutil.rmtree(where)
    return [f"seed {seed}: {line}" for line in found[:6]], len(calls)


def killed(seed: int, where: str, work: Work) -> tuple[list[str], int]:
    """Stop the work at some changes, or fail there; a second run ends as an undisturbed one."""
    case = build_branches(seed, where, links=0 if work is commit_by_copy else 2)
    with every_change(lambda *_: None) as calls, suppress(LayerctlError):
        work(case.stack)
    whole = plain(case)
    shutil.rmtree(where)
    rng = random.Random(seed)
    found: list[str] = []
    for number in sorted(rng.sample(range(len(calls)), min(5, len(calls)))):
        how = rng.choice(["before", "after", "error"])
        case = build_branches(seed, where, links=0 if work is commit_by_copy else 2)
        before = resolved(case.stack)

        def stop(at: int, done: bool, number: int = number, how: str = how) -> None:
            if at == number and done == (how == "after"):
                raise StoppedWorkError if how != "error" else _FullError(errno.ENOSPC, "full")

        with every_change(stop), suppress(StoppedWorkError, _FullError):
            work(case.stack)
        at = f"{how} {number} ({calls[number]})"
        found += [f"{at}: {line}" for line in apart(before, case.stack, between=True)]
        with suppress(LayerctlError):
            work(case.stack)
        found += [f"{at}, run again: {line}" for line in apart(before, case.stack)]
        if plain(case) != whole and not found:
            found.append(f"{at}, run again: {plain(case)}\n{whole}")
        shutil.rmtree(where)
    return [f"seed {seed}: {line}" for line in found[:6]], len(calls)


def plain(case: Case) -> list[dict[str, tuple[object, ...]]]:
    """Return the branches without times, which differ between two builds."""
    return [
        {
            path: (one.mode, one.owner, one.size, one.attributes)
            for path, one in look(layer.path).items()
        }
        for layer in case.stack.layers
    ]


def of_many(
    lab: Path, check: Callable[[int, str, Work], tuple[list[str], int]], work: Work
) -> tuple[list[str], bool]:
    """Check many random stacks; return what the first that fails has to say, if any changed."""
    cases = int(os.environ.get("LAYERCTL_CASES", "15"))
    changes = 0
    for seed in range(first_seed(), first_seed() + cases):
        found, calls = check(seed, f"{lab}/case", work)
        changes += calls
        if found:
            return found, True
    return [], changes > cases


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("check", [view_of_one, killed])
def test_random_branches(check: Callable[..., Any], work: Work) -> None:
    assert in_namespace(partial(of_many, check=check, work=work)) == ([], True)


def branches(lab: Path, *files: str) -> None:
    """Make three branches; a name with a slash at its end is a directory."""
    for name in ("b0/", "b1/", "b2/", *files):
        path = lab / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.write_text("x")


STACK = ("-b", "b0=rw", "-b", "b1=ro+wh", "-b", "b2")


@pytest.mark.namespace
def test_commit_keeps_only_markers_over_something(lab: Path) -> None:
    branches(
        lab, "b0/.wh.below", "b0/.wh.next", "b0/.wh.nothing", "b0/d/.wh..wh..opq", "b0/d/.wh.x",
        "b0/new/.wh..wh..opq", "b0/new/f", "b0/.wh..wh.aufs", "b0/.wh..wh.plnk/", "b1/next",
        "b1/d/y", "b2/below", "b2/d/z", "b1/.wh.cut", "b0/cut/f", "b2/cut/g",
    )  # fmt: skip
    done = layerctl("commit", *STACK)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir("b0")) == [".wh..wh.aufs", ".wh..wh.plnk"]
    assert sorted(os.listdir("b1")) == [".wh.below", "cut", "d", "new"]
    assert sorted(os.listdir("b1/d")) == [".wh..wh..opq"]
    assert sorted(os.listdir("b1/cut")) == [".wh..wh..opq", "f"]
    assert os.listdir("b1/new") == ["f"]


@pytest.mark.namespace
def test_a_whiteout_that_is_one_file_with_that_below_goes(lab: Path) -> None:
    branches(lab, "b0/.wh.x", "b2/x")
    os.link("b0/.wh.x", "b1/.wh.x")
    assert layerctl("commit", *STACK).returncode == 0
    assert (os.listdir("b0"), os.listdir("b1")) == ([], [".wh.x"])


@pytest.mark.namespace
def test_names_of_one_file_stay_one_file_and_pseudo_links_go(lab: Path) -> None:
    branches(lab, "b0/one", "b0/.wh..wh.plnk/", "b1/two")
    inode = Path("b0/one").stat().st_ino
    os.link("b0/one", "b0/two")
    os.link("b0/one", f"b0/.wh..wh.plnk/12.{inode}")
    assert layerctl("commit", *STACK).returncode == 0
    assert Path("b1/one").samefile("b1/two")
    assert Path("b1/one").stat().st_nlink == 2


REFUSED = {
    "whiteouts that would not count": (
        ("b0/.wh.x", "b2/x"), ("-b", "b0=rw", "-b", "b1", "-b", "b2"),
    ),
    "the only name": (("b0/.wh..wh.plnk/12.34",), STACK),
    "both": (("b0/x", "b0/.wh.x"), STACK),
    "dirren": (("b0/.wh..wh..dr.x",), STACK),
    "read-only": (("b0/x",), ("-b", "b0=ro", "-b", "b1")),
    "one branch": (("b0/x",), ("-b", "b0=rw")),
}  # fmt: skip


@pytest.mark.namespace
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_kept_is_refused_whole(lab: Path, what: str) -> None:
    files, stack = REFUSED[what]
    branches(lab, *files)
    before = look(str(lab))
    done = layerctl("commit", *stack)
    assert done.returncode == 32
    assert "help:" in done.stderr
    assert list(differences(before, look(str(lab)))) == []


@pytest.mark.namespace
def test_deref_has_nothing_to_do_for_an_aufs(lab: Path) -> None:
    branches(lab)
    done = layerctl("deref", "--into", "n", *STACK)
    assert (done.returncode, "no redirects" in done.stderr) == (32, True)


@pytest.mark.namespace
def test_one_branch_of_two_has_the_markers_that_count(lab: Path) -> None:
    branches(
        lab, "b0/.wh.below", "b0/.wh.next", "b1/next", "b2/below", "b0/d/.wh..wh..opq", "b0/d/x",
        "b1/d/y", "b2/d/z", "b1/.wh.kept", "b2/kept", "b0/one", "b0/.wh..wh.aufs",
    )  # fmt: skip
    os.link("b0/one", "b0/two")
    stack = ("-b", "b0=rw", "-b", "b1=ro+wh", "-b", "b2")
    assert layerctl("commit", *stack, "--into", "n").returncode == 0
    assert sorted(os.listdir("n")) == [".wh.below", ".wh.kept", "d", "one", "two"]
    assert sorted(os.listdir("n/d")) == [".wh..wh..opq", "x"]
    assert Path("n/one").samefile("n/two")
    assert layerctl("commit", *stack, "--into", "m", "--layer", "1..2").returncode == 2


@pytest.mark.namespace
@pytest.mark.parametrize("command", ["trim", "commit"])
def test_the_script_does_the_same(lab: Path, command: str) -> None:
    files = ("b0/a", "b1/a", "b0/.wh.c", "b2/d/f", "b0/d/.wh.f", "b0/n/f", "b0/.wh.gone", "b2/gone")
    branches(lab, *files)
    os.utime("b0/a", (1, 1))
    os.utime("b1/a", (1, 1))
    script = layerctl(command, *STACK, "--print", "sh").stdout
    subprocess.run(["sh"], input=script, text=True, check=True)
    by_script = [sorted(path.name for path in Path(one).rglob("*")) for one in ("b0", "b1")]
    shutil.rmtree("b0")
    shutil.rmtree("b1")
    branches(lab, *files)
    os.utime("b0/a", (1, 1))
    os.utime("b1/a", (1, 1))
    assert layerctl(command, *STACK).returncode == 0
    assert by_script == [sorted(path.name for path in Path(one).rglob("*")) for one in ("b0", "b1")]


def squashed(seed: int, where: str, work: Work) -> tuple[list[str], int]:
    """Make one branch of the topmost ones; return what differs with it in their place."""
    case = build_branches(seed, where, links=0 if work is commit_by_copy else 2)
    before, whole = resolved(case.stack), plain(case)
    branches_ = case.stack.layers
    count = random.Random(seed).randint(2, len(branches_))
    refusal = ""
    try:
        with working.flattening_into(case.stack, range(count), f"{where}/new") as steps:
            list(working.do(steps))
    except LayerctlError as error:
        refusal = error.id
    found = [] if plain(case) == whole else ["the branches were changed"]
    if refusal:
        found += [name for name in os.listdir(where) if name.startswith("new")]
    else:
        new = branches_[0]._replace(path=f"{where}/new")
        after = resolved(case.stack._replace(layers=(new, *branches_[count:])))
        found += differences(before, after)
    shutil.rmtree(where)
    return [f"seed {seed}, {count} branches: {line}" for line in found[:6]], 0 if refusal else 9


def test_one_branch_of_several_shows_the_same() -> None:
    assert in_namespace(partial(of_many, check=squashed, work=trim)) == ([], True)


#: Paths to restore, with -r or not, and what the branches have afterwards.
RESTORED: list[tuple[tuple[str, ...], list[str], list[str]]] = [
    (("gone",), ["b1/gone"], ["b0/.wh.gone"]),
    (("file",), ["b1/file"], ["b0/file"]),
    (("added",), [], ["b0/added"]),
    (("-r", "opaque"), ["b1/opaque/old"], ["b0/opaque"]),
    (("-r", "d", "gone"), ["b1/d/x"], ["b0/d", "b0/.wh.gone"]),
    (("d/.keep", "d/x"), ["b1/d/x", "b0/d/y"], ["b0/d/.wh.x", "b0/d/.keep"]),
]
WORKED = (
    "b0/.wh.gone", "b1/gone", "b0/file", "b1/file", "b0/added", "b0/opaque/.wh..wh..opq",
    "b0/opaque/new", "b1/opaque/old", "b0/d/.wh.x", "b0/d/y", "b1/d/x", "b0/d/.keep",
    "b0/.wh..wh.aufs",
)  # fmt: skip


def paths_of(words: tuple[str, ...]) -> Wish:
    return Wish(tuple(word for word in words if word != "-r"), "-r" in words)


def restore(stack: Stack, wish: Wish) -> None:
    with working.restoring(stack, wish) as (_, steps):
        list(working.do(steps))


def is_named(path: str, wish: Wish) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in wish.paths)


def restored_at_any_step(lab: Path, words: tuple[str, ...]) -> list[str]:
    """Restore, stopped before and after each change; return what is wrong then, and at the end."""
    layers = tuple(Layer(f"{lab}/case/b{n}", Role.BRANCH, "ro" if n else "rw") for n in range(3))
    stack, wish, found = Stack("aufs", layers), paths_of(words), []

    def fresh() -> dict[str, Shown]:
        shutil.rmtree(lab / "case", ignore_errors=True)
        branches(lab / "case", *WORKED)
        return {path: one for path, one in resolved(stack).items() if not is_named(path, wish)}

    def rest() -> dict[str, Shown]:
        return {path: one for path, one in resolved(stack).items() if not is_named(path, wish)}

    before = fresh()
    with every_change(lambda *_: None) as calls:
        restore(stack, wish)
    found += list(differences(before, rest()))
    whole = sorted(str(path) for path in (lab / "case").rglob("*"))
    for when in [(at, done) for at in range(len(calls)) for done in (False, True)]:
        before = fresh()

        def stop(at: int, done: bool, when: tuple[int, bool] = when) -> None:
            if (at, done) == when:
                raise StoppedWorkError

        with every_change(stop), suppress(StoppedWorkError):
            restore(stack, wish)
        found += differences(before, rest(), between=True)
        restore(stack, wish)
        found += differences(before, rest())
        if sorted(str(path) for path in (lab / "case").rglob("*")) != whole:
            found.append(f"stopped at {when}: another end")
    return found


@pytest.mark.parametrize("words", [row[0] for row in RESTORED], ids=" ".join)
def test_a_restore_changes_nothing_else_at_any_step(words: tuple[str, ...]) -> None:
    assert in_namespace(partial(restored_at_any_step, words=words)) == []


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "there", "gone"), RESTORED, ids=[" ".join(row[0]) for row in RESTORED]
)
def test_what_is_below_shows_again(
    lab: Path, words: tuple[str, ...], there: list[str], gone: list[str]
) -> None:
    branches(lab, *WORKED)
    stack = ("-b", "b0=rw", "-b", "b1", "-b", "b2")
    done = layerctl("restore", *stack, *words)
    assert done.returncode == 0, done.stderr
    assert [path for path in there if not Path(path).exists()] == []
    assert [path for path in gone if Path(path).exists()] == []
    assert not list(Path("b0").glob(".wh..wh.orph/*"))


NOT_RESTORED = {
    "in an opaque directory": (("opaque/old",), 32, "not-restorable"),
    "below a whiteout": (("gone/x",), 3, ""),
    "a directory with changes": (("d",), 32, "holds-changes"),
    "nothing": (("nothing",), 3, ""),
    "a version": (("--layer", "1", "file"), 2, "usage"),
    "the root": (("/",), 2, "usage"),
}


@pytest.mark.namespace
@pytest.mark.parametrize("what", NOT_RESTORED)
def test_what_cannot_be_restored_is_refused(lab: Path, what: str) -> None:
    words, code, error = NOT_RESTORED[what]
    branches(lab, *WORKED)
    before = look(str(lab))
    done = layerctl("restore", "-b", "b0=rw", "-b", "b1", *words)
    assert (done.returncode, error in done.stderr) == (code, True), done.stderr
    assert list(differences(before, look(str(lab)))) == []

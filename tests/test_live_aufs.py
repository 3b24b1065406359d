"""aufs itself, where the kernel has it: mounts, branches, pseudo-links, the xino trap."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main
from layerctl.errors import LayerctlError
from layerctl.kernel import mounts, syscalls
from layerctl.model import Stack
from layerctl.rules.flags import mount2_flags
from layerctl.usecases import working
from tests.support import first_seed, in_namespace
from tests.support.branches import build_branches
from tests.support.killing import every_change
from tests.support.stacks import Case, make_case
from tests.support.trees import Shown, differences, look, shown


def run(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """Run the program in this process, which spares a slow machine its start."""
    capfd.readouterr()
    assert main(list(arguments)) == code
    out, err = capfd.readouterr()
    return out, err


def run_json(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(run(capfd, *arguments, "--json")[0])


def make(lab: Path, *names: str) -> None:
    for name in names:
        (lab / name).mkdir(parents=True)


def branches(lab: Path) -> list[tuple[str, str | None]]:
    layers = mounts.find_layered(str(lab / "m")).stack.layers
    return [(os.path.relpath(layer.path, lab), layer.permission) for layer in layers]


@pytest.mark.namespace
def test_the_main_job(lab: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(lab, "l1", "l2", "l3", "m")
    (lab / "l2/image2").write_text("l2\n")
    (lab / "l3/image3").write_text("l3\n")
    run(capfd, "mount", "-t", "aufs", "-o", "dirs=./l1:./l2:./l3", "none", "./m")
    assert branches(lab) == [("l1", "rw"), ("l2", "ro"), ("l3", "ro")]
    with (lab / "m/image2").open("a") as file:
        file.write("more\n")
    (lab / "m/image3").unlink()
    assert (lab / "l2/image2").read_text() == "l2\n"
    assert (lab / "l1/image2").read_text() == "l2\nmore\n"
    (one,) = run_json(capfd, "inspect", "aufs", "m")["aufs"]
    assert one["xino"] == f"{lab}/l1/.aufs.xino"
    assert [branch["permission"] for branch in one["branches"]] == ["rw", "ro", "ro"]
    entries = run_json(capfd, "inspect", "merged", "m")["entries"]
    assert [(e["path"], e["layer"]) for e in entries] == [("image2", 0)]
    (whiteout,) = run_json(capfd, "inspect", "whiteouts", "m")["whiteouts"]
    assert (whiteout["path"], whiteout["kind"], whiteout["hides"]) == ("image3", "aufs", [2])
    run(capfd, "umount", "m")


@pytest.mark.namespace
def test_branches_change_while_mounted(lab: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(lab, *(f"l{n}" for n in range(1, 8)), "we,ird:na=me", "m")
    (lab / "l3/held").write_text("x")
    run(capfd, "mount", "-b", "l1", "-b", "l2", "m")
    run(capfd, "branch", "append", "m", "l3", "l4=ro+wh")
    run(capfd, "branch", "prepend", "m", "l5=rw")
    run(capfd, "branch", "add", "m", "1", "l6=ro")
    run(capfd, "branch", "append", "m", "we,ird:na=me=ro")
    expected = [
        ("l5", "rw"), ("l6", "ro"), ("l1", "rw"), ("l2", "ro"), ("l3", "ro"), ("l4", "ro+wh"),
        ("we,ird:na=me", "ro"),
    ]  # fmt: skip
    assert branches(lab) == expected
    run(capfd, "branch", "mod", "m", "l6=rw", "l1=ro")
    run(capfd, "branch", "del", "m", "we,ird:na=me", "l2")
    expected[1:4] = [("l6", "rw"), ("l1", "ro")]
    del expected[-1]
    assert branches(lab) == expected
    with (lab / "m/held").open():
        _, err = run(capfd, "branch", "del", "m", "l4", "l3", code=32)
    assert "held" in err
    assert branches(lab) == expected  # the first deletion was undone
    for words, code in (
        (("append", "m", "l1"), 32), (("append", "m", "nosuch"), 32), (("del", "m", "l7"), 32),
        (("append", "m", "l7=bogus"), 2), (("add", "m", "9", "l7"), 2), (("mod", "m", "l1"), 2),
        (("append", "l7", "l6"), 3),
    ):  # fmt: skip
        run(capfd, "branch", *words, code=code)
        assert branches(lab) == expected
    run(capfd, "branch", "append", "-n", "m", "l7")
    assert branches(lab) == expected


@pytest.mark.namespace
def test_a_branch_is_known_by_any_name(lab: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(lab, "a", "b", "c", "bb", "new", "m")
    (lab / "link").symlink_to("b")
    syscalls.mount(str(lab / "b"), str(lab / "bb"), "", syscalls.MS_BIND, "")
    run(capfd, "mount", "-b", "a", "-b", "b", "-b", "c", "m")
    expected = branches(lab)
    for words in (
        ("append", "m", "bb"), ("prepend", "m", "bb=rw"), ("add", "m", "1", "bb"),
        ("append", "m", "new", "bb"), ("append", "m", "link"),
    ):  # fmt: skip
        _, err = run(capfd, "branch", *words, code=32)
        assert "is already a branch" in err
        assert branches(lab) == expected
    run(capfd, "branch", "mod", "m", "bb=ro+wh")
    run(capfd, "branch", "del", "m", "link")
    assert branches(lab) == [expected[0], expected[2]]


@pytest.mark.namespace
def test_what_aufs_took_without_doing_is_not_taken_back(
    lab: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(lab, "a", "b", "c", "bb", "new", "m")
    syscalls.mount(str(lab / "b"), str(lab / "bb"), "", syscalls.MS_BIND, "")
    run(capfd, "mount", "-b", "a", "-b", "b", "-b", "c", "m")
    expected = branches(lab)
    monkeypatch.setattr("layerctl.mounting.branches._check_new", lambda *_: None)
    _, err = run(capfd, "branch", "append", "m", "new", "bb", code=32)
    assert "is already a branch" in err
    assert branches(lab) == expected


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("options", "made"),
    [
        ("br=a:b,append=c", "a=rw b=ro c=ro"),
        ("br=a:b,append=x:y", "a=rw b=ro x:y=ro"),
        ("prepend=a,br=b:c", "b=rw c=ro a=rw"),
        ("br=a,append=c,br=b", "a=rw b=ro c=ro"),
        ("br=a:b:c,mod=b=ro+wh,del=c,dirwh=-1", "a=rw b=ro+wh"),
        ("add=0:a,add=0:b,rdblk=0x1000,create=mfs:0x10", "b=rw a=rw"),
    ],
)
def test_a_first_mount_changes_its_own_branches(
    lab: Path, capfd: pytest.CaptureFixture[str], options: str, made: str
) -> None:
    make(lab, "a", "b", "c", "x:y", "m")
    run(capfd, "mount", "-t", "aufs", "-o", options, "none", "m")
    assert " ".join(f"{path}={permission}" for path, permission in branches(lab)) == made


@pytest.mark.namespace
def test_127_branches_in_batches(lab: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = [f"b{n:03d}{'x' * 100}" for n in range(128)]
    make(lab, *names, "m")
    run(capfd, "mount", *(word for name in names[:127] for word in ("-b", name)), "m")
    assert [name for name, _ in branches(lab)] == names[:127]
    run(capfd, "branch", "append", "m", names[127], code=32)
    run(capfd, "umount", "m")
    run(capfd, "mount", *(word for name in names for word in ("-b", name)), "m", code=2)


@pytest.mark.namespace
def test_the_xino_trap_and_its_ways_out(lab: Path, capfd: pytest.CaptureFixture[str]) -> None:
    syscalls.mount("t", "/mnt", "tmpfs", 0, "")  # the lab is in /tmp, which is covered next
    lab = Path("/mnt")
    os.chdir(lab)
    make(lab, "l1", "l2", "m")
    syscalls.mount("t", "/tmp", "ramfs", 0, "")
    words = ("mount", "-b", "l1=ro", "-b", "l2=ro")
    _, err = run(capfd, *words, "m")
    assert "tmpfs" in err
    run(capfd, "umount", "m")
    run(capfd, *words, "--aufs-xino", "default", "m", code=32)
    run(capfd, *words, "--aufs-xino", "none", "m")
    assert "noxino" in mounts.find_layered(str(lab / "m")).stack.options
    run(capfd, "umount", "m")
    run(capfd, *words, "--aufs-xino", "/dev/shm/x.xino", "m")
    (one,) = run_json(capfd, "inspect", "aufs", "m")["aufs"]
    assert one["xino"] == "/dev/shm/x.xino"
    run(capfd, "umount", "m")


@pytest.mark.namespace
def test_pseudo_links_are_whole_after_unmounting(
    lab: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(lab, "l1", "l2", "m")
    (lab / "l2/one").write_text("x")
    os.link(lab / "l2/one", lab / "l2/two")
    run(capfd, "mount", "-b", "l1", "-b", "l2", "m")
    with (lab / "m/one").open("a") as file:
        file.write("y")
    assert list((lab / "l1/.wh..wh.plnk").iterdir())
    run(capfd, "umount", "m")
    one, two = (os.stat(lab / "l1" / name) for name in ("one", "two"))
    assert one.st_ino == two.st_ino
    assert (lab / "l1/two").read_text() == "xy"


@pytest.mark.namespace
def test_names_of_a_changed_file_are_given_to_its_copy(
    lab: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(lab, "l1", "l2/d", "m")
    (lab / "l2/one").write_text("x")
    (lab / "l2/alone").write_text("x")
    os.link(lab / "l2/one", lab / "l2/d/two")
    os.link(lab / "l2/alone", lab / "l2/d/other")
    run(capfd, "mount", "-b", "l1", "-b", "l2", "m")

    def providers() -> dict[str, tuple[int, str | None]]:
        entries = run_json(capfd, "inspect", "merged", "m")["entries"]
        return {one["path"]: (one["layer"], one.get("cause")) for one in entries}

    below = {"alone": (1, None), "d": (1, None), "d/other": (1, None)}
    assert providers() == {**below, "one": (1, None), "d/two": (1, None)}
    with (lab / "m/one").open("a") as file:
        file.write("y")
    assert providers() == {**below, "one": (0, None), "d/two": (0, "pseudo-link")}
    story = run_json(capfd, "inspect", "merged", "m", "d/two")
    assert (story["layer"], story["cause"]) == (0, "pseudo-link")
    assert Path(story["layers"][0]["file"]).read_text() == "xy"
    assert [layer["state"] for layer in story["layers"]] == ["provides", "hidden"]
    assert not (lab / "l1/d").exists()  # reading through the name would join it to the copy
    run(capfd, "umount", "m")
    assert (lab / "l1/d/two").read_text() == "xy"


@pytest.mark.namespace
def test_hard_links_are_not_lost_unasked(lab: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(lab, "l1", "l2", "m")
    (lab / "l2/one").write_text("x")
    os.link(lab / "l2/one", lab / "l2/two")
    for end in ("--force", "rw"):
        run(capfd, "mount", "-b", "l1", "-b", "l2", "m")
        with (lab / "m/one").open("a") as file:
            file.write("y")
        syscalls.mount("none", str(lab / "m"), "", syscalls.MS_REMOUNT | mount2_flags(["ro"]), "")
        _, err = run(capfd, "umount", "m", code=32)
        assert "hard link: two" in err
        assert "hard link: one" not in err
        entries = run_json(capfd, "inspect", "merged", "m")["entries"]
        assert [(one["path"], one["layer"]) for one in entries] == [("one", 0), ("two", 0)]
        assert not (lab / "l1/two").exists()
        if end == "--force":
            run(capfd, "umount", "--force", "m")
            assert not (lab / "l1/two").exists()
            (lab / "l1/one").unlink()
        else:
            run(capfd, "mount", "-o", "remount,rw", "m")
            run(capfd, "umount", "m")
            assert (lab / "l1/two").read_text() == (lab / "l1/one").read_text()


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("br=l1::l2", 2), ("br=l1=bogus:l2", 2), ("br=l1=rw+bogus:l2", 2), ("br=l1:l1", 32),
        ("br=l1:/proc", 32), ("br=l1:l2,udba=bogus", 2), ("br=l1:l2,create=bogus", 2),
        ("br=l1:l2,nosuchoption", 32), ("dirs:l1:l2", 2), ("br=", 2),
    ],
)  # fmt: skip
def test_what_aufs_would_take_and_change_is_refused(
    lab: Path, capfd: pytest.CaptureFixture[str], options: str, code: int
) -> None:
    make(lab, "l1", "l2", "m")
    run(capfd, "mount", "-t", "aufs", "-o", options, "none", "m", code=code)
    assert not [one for one in mounts.entries() if one.fstype == "aufs"]


def trim(stack: Stack) -> None:
    with working.trimming(stack, ignore_times=False) as steps:
        list(working.do(steps))


def commit(stack: Stack) -> None:
    with working.committing(stack, range(1)) as steps:
        list(working.do(steps))


def flagless(found: dict[str, Shown]) -> dict[str, Shown]:
    """Leave out the flags of chattr(1): aufs has no ioctl for them on directories.

    The time of the root goes as well, since a mount creates aufs's own files in it.
    """
    for one in found.values():
        one.flags = 0
    found[""].modified = 0
    return found


def seen(case: Case) -> dict[str, Shown]:
    """Return what aufs shows; without a xino it has other inode numbers for names of one file."""
    found = flagless(shown(case))
    for one in found.values():
        one.names = frozenset()
        one.attributes = tuple(pair for pair in one.attributes if "layerctl" not in pair[0])
    return found


def kept_on_random_branches(lab: Path, work: Callable[[Stack], None]) -> list[str]:
    """Work on random branches; return what aufs shows otherwise afterwards, or between."""
    found: list[str] = []
    changes = 0
    for seed in range(first_seed(), first_seed() + 8):
        case = build_branches(seed, f"{lab}/case")
        before = seen(case)

        def look_again(number: int, done: bool) -> None:
            if done and number % 7 == 3:
                found.extend(differences(before, seen(case), between=True))  # noqa: B023 - at once

        with every_change(look_again) as calls, suppress(LayerctlError):
            work(case.stack)
        changes += len(calls)
        found += [f"seed {seed}: {line}" for line in differences(before, seen(case))]
        shutil.rmtree(lab / "case")
    return found if changes > 20 else ["nothing was changed"]


@pytest.mark.parametrize("work", [trim, commit])
def test_aufs_shows_the_same_of_branches_that_were_worked_on(work: Callable[..., None]) -> None:
    assert in_namespace(partial(kept_on_random_branches, work=work), fs="ext4") == []


@pytest.mark.namespace
@pytest.mark.parametrize("form", ["overlay", "fuse-overlayfs"])
def test_branches_that_aufs_wrote_are_converted(
    lab: Path, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    make(lab, "l1", "l2/d/sub", "l2/e", "m", "o")
    for name in ("gone", "kept", "d/gone", "d/sub/x", "e/old"):
        (lab / "l2" / name).write_text("below")
    os.link(lab / "l2/kept", lab / "l2/link")
    run(capfd, "mount", "-b", "l1", "-b", "l2", "m")
    for name in ("gone", "d/gone", "d/sub/x", "e/old"):
        (lab / "m" / name).unlink()
    (lab / "m/e").rmdir()
    (lab / "m/e").mkdir()
    (lab / "m/e/new").write_text("new")
    with (lab / "m/link").open("a") as file:
        file.write(" and above")
    before = flagless(look(str(lab / "m")))
    run(capfd, "umount", "m")
    assert (lab / "l1/.wh..wh.plnk").is_dir()
    run(capfd, "convert", "l1", "--to", form)
    run(capfd, "convert", "l2", "--to", form)
    assert not [path for path in (lab / "l1").rglob(".wh..wh.*") if path.name != ".wh..wh..opq"]
    case = make_case(str(lab), [f"{lab}/l2"], upper=f"{lab}/l1")
    (lab / "w").mkdir()
    run(capfd, "convert", "l1", "--to", "overlay")
    assert list(differences(before, flagless(shown(case)))) == []
    run(capfd, "convert", "l1", "--to", "aufs")
    run(capfd, "mount", "-b", "l1", "-b", "l2", "m")
    assert list(differences(before, flagless(look(str(lab / "m"))))) == []
    assert (lab / "l1/.wh.gone").stat().st_ino == (lab / "l1/.wh..wh.aufs").stat().st_ino
    run(capfd, "umount", "m")

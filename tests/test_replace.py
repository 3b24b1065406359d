"""`mount --replace`: a longer stack in the place of a mounted one, on the real kernel."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main
from layerctl.kernel import mounts, syscalls
from layerctl.mounting import apply, remount, swap
from tests.support import layerctl, layerctl_json
from tests.support.mounting import grow, mounted_here, shown

#: Walks a tree again and again, and fails if a name is missing. It says when it has begun.
READER = """
import os, sys
wanted = {f"d{n}/f{m}" for n in range(30) for m in range(5)}
rounds = 0
last = False
while not last or rounds < 3:
    last = os.path.exists("stop")
    found = set()
    for where, _, files in os.walk("m"):
        found |= {os.path.relpath(os.path.join(where, name), "m") for name in files}
    for name in wanted:
        os.stat("m/" + name)
    if wanted - found:
        sys.exit(f"missing: {sorted(wanted - found)[:5]}")
    rounds += 1
    if rounds == 1:
        print(flush=True)
print(rounds, len(found))
"""


def stacks(lab: Path) -> None:
    grow(lab, "a/a.x", "b/b.x", "c/c.x", "d/d.x", "m")


def lowers(lab: Path) -> list[str]:
    return [os.path.basename(path) for _, path in shown(lab / "m")]


@pytest.mark.namespace
@pytest.mark.parametrize("backing", ["tmpfs", "ext4"])
def test_no_name_is_missing_while_a_reader_walks(lab: Path, backing: str) -> None:
    del backing
    for number in range(30):
        grow(lab, *(f"a/d{number}/f{m}" for m in range(0)), f"a/d{number}")
        for m in range(5):
            (lab / f"a/d{number}/f{m}").write_text("")
    names = [f"n{number}" for number in range(5)]
    grow(lab, "b", "m", *(f"{name}/{name}.x" for name in names))
    assert layerctl("mount", "-l", "a", "-l", "b", "m").returncode == 0
    with subprocess.Popen([sys.executable, "-c", READER], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        for name in names:
            done = layerctl("mount", "--replace", "--lazy", "-l", name, "m")
            assert done.returncode == 0, done.stderr
        (lab / "stop").touch()
        rest = reader.stdout.read().decode()
    assert reader.returncode == 0, rest
    assert int(rest.split()[1]) == 150 + len(names)
    assert lowers(lab) == [*reversed(names), "a", "b"]
    assert mounted_here(lab) == [f"{lab}/m"]


@pytest.mark.namespace
def test_the_options_and_the_source_stay(lab: Path) -> None:
    stacks(lab)
    first = ("-l", "a", "-l", "b", "-o", "nosuid,metacopy=on", "name", "m")
    assert layerctl("mount", *first).returncode == 0
    document = layerctl_json("mount", "--replace", "-l", "c", "--data", "d", "m")
    (mount,) = document["mounts"]
    assert [one["path"] for one in mount["layers"]] == [f"{lab}/{name}" for name in "cabd"]
    assert [one["role"] for one in mount["layers"]] == ["lower"] * 3 + ["data"]
    assert (mount["source"], "nosuid" in mount["flags"]) == ("name", True)
    assert mount["options"]["metacopy"] == "on"
    assert sorted(os.listdir("m")) == ["a.x", "b.x", "c.x"]


@pytest.mark.namespace
def test_a_mount_in_use_is_left_alone_or_detached(lab: Path) -> None:
    stacks(lab)
    assert layerctl("mount", "-l", "a", "-l", "b", "m").returncode == 0
    before = mounts.find("m")
    with subprocess.Popen(["sh", "-c", "cd m; echo; read x; ls"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as user:  # fmt: skip
        assert user.stdin is not None
        assert user.stdout is not None
        user.stdout.readline()
        refused = layerctl("mount", "--replace", "-l", "c", "m", "--json")
        assert refused.returncode == 32
        error = json.loads(refused.stderr)["error"]
        assert error["id"] == "leaked-mount-busy"
        assert f"(pid {user.pid}" in error["details"][0]
        assert (mounts.find("m"), len(mounted_here(lab))) == (before, 1)
        done = layerctl("mount", "--replace", "--lazy", "-l", "c", "m")
        assert done.returncode == 0
        assert f"the old stack is held by: sh (pid {user.pid}" in done.stderr
        assert "layerctl (pid" not in done.stderr
        assert sorted(os.listdir("m")) == ["a.x", "b.x", "c.x"]
        user.stdin.write(b"\n")
        user.stdin.flush()
        user.stdin.close()
        assert user.stdout.read().split() == [b"a.x", b"b.x"]  # it still uses the old one
    assert len(mounted_here(lab)) == 1


@pytest.mark.namespace
@pytest.mark.parametrize("backing", ["tmpfs", "ext4", "xfs"])
def test_a_writable_stack_keeps_its_upper_layer(lab: Path, backing: str) -> None:
    del backing
    stacks(lab)
    grow(lab, "a/gone.x", "a/dir/inner.x")
    options = ("-o", "redirect_dir=on,metacopy=on")
    assert layerctl("mount", "-l", "a", "-u", "u", *options, "m", "--mkdir").returncode == 0
    Path("m/mine").write_text("mine")
    os.unlink("m/gone.x")
    os.rename("m/dir", "m/moved")
    os.chmod("m/a.x", 0o600)
    done = layerctl("mount", "--replace", "-l", "c", "m")
    assert (done.returncode, done.stderr) == (0, "")
    assert lowers(lab) == ["u", "c", "a"]
    assert shown(lab / "m")[0] == ("upper", f"{lab}/u")
    assert sorted(os.listdir("m")) == ["a.x", "c.x", "mine", "moved"]
    assert os.listdir("m/moved") == ["inner.x"]
    assert (os.stat("m/a.x").st_mode & 0o777, Path("m/a.x").read_text()) == (0o600, "a/a.x")
    Path("m/mine").write_text("changed")
    assert Path("u/mine").read_text() == "changed"
    assert mounted_here(lab) == [f"{lab}/m"]
    assert layerctl("doctor", "m").returncode == 0


@pytest.mark.namespace
def test_no_name_of_a_writable_stack_is_missing_either(lab: Path) -> None:
    for number in range(30):
        grow(lab, f"a/d{number}")
        for m in range(5):
            (lab / f"a/d{number}/f{m}").write_text("")
    grow(lab, "m", "n0/n0.x", "n1/n1.x", "n2/n2.x")
    assert layerctl("mount", "-l", "a", "-u", "u", "m", "--mkdir").returncode == 0
    with subprocess.Popen([sys.executable, "-c", READER], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        done = [layerctl("mount", "--replace", "-l", f"n{n}", "m") for n in range(3)]
        codes = [(one.returncode, one.stderr) for one in done]
        (lab / "stop").touch()
        rest = reader.stdout.read().decode()
    assert reader.returncode == 0, rest
    assert codes == [(0, "")] * 3
    assert int(rest.split()[1]) == 150 + 3


@pytest.mark.namespace
@pytest.mark.parametrize("step", [2, 3])
def test_the_old_stack_is_writable_again_if_the_new_one_fails(
    lab: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks(lab)
    assert main(["mount", "-l", "a", "-u", "u", "m", "--mkdir"]) == 0
    before = mounts.find("m").super_options
    real, calls = syscalls.fsmount, []

    def fsmount(*arguments: Any, **keywords: Any) -> int:
        calls.append(arguments)
        if len(calls) == step:  # the first is the read-only one in between
            raise OSError(errno.ENOMEM, "made to fail")
        return real(*arguments, **keywords)

    monkeypatch.setattr(syscalls, "fsmount", fsmount)
    code = main(["mount", "--replace", "-l", "c", "m"])
    assert code == (32 if step == 2 else 0)
    if step == 2:
        assert mounts.find("m").super_options == before
    assert mounted_here(lab) == [f"{lab}/m"]
    Path("m/new").touch()


@pytest.mark.namespace
def test_an_upper_layer_is_never_in_two_overlays(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks(lab)
    make_ = ["mount", "-l", "a", "-u", "u", "m", "--mkdir"]
    assert main(make_) == 0
    before = mounts.find("m")
    capsys.readouterr()

    def refused(*line: str) -> str:
        assert main(["mount", "--replace", *line, "m", "--json"]) == 32
        assert mounts.find("m") == before
        return str(json.loads(capsys.readouterr().err)["error"]["id"])

    assert refused("--lazy", "-l", "c") == "upper-in-use-by-replaced"
    syscalls.mount("m", "b", "", syscalls.MS_BIND, "")
    assert refused("-l", "c") == "upper-in-use-by-replaced"
    syscalls.umount2("b", 0)
    with monkeypatch.context() as patch:
        patch.setattr("layerctl.usecases.keeping_upper.can_mount_beneath", lambda: False)
        assert refused("-l", "c") == "upper-in-use-by-replaced"
    assert swap.can_mount_beneath()
    syscalls.umount2("m", 0)
    assert main([*make_, "-o", "index=on"]) == 0
    before = mounts.find("m")
    capsys.readouterr()
    assert refused("-l", "c") == "index-estale-lower-changed"  # as the kernel would say


@pytest.mark.namespace
def test_a_writable_stack_gets_a_new_upper_layer(lab: Path) -> None:
    stacks(lab)
    assert layerctl("mount", "-l", "a", "-u", "u", "m", "--mkdir").returncode == 0
    Path("m/mine").write_text("mine")
    os.unlink("m/a.x")
    done = layerctl("mount", "--replace", "-l", "c", "-u", "u2", "m", "--mkdir")
    assert done.returncode == 0, done.stderr
    assert lowers(lab) == ["u2", "u", "c", "a"]
    assert sorted(os.listdir("m")) == ["c.x", "mine"]
    Path("m/mine").write_text("changed")
    assert (Path("u/mine").read_text(), Path("u2/mine").read_text()) == ("mine", "changed")
    assert layerctl("mount", "--replace", "-r", "m").returncode == 0
    assert shown(lab / "m")[0] == ("lower", f"{lab}/u2")
    assert layerctl("mount", "--replace", "--tmpfs", "m").returncode == 0
    Path("m/throwaway").touch()
    assert layerctl("umount", "m").returncode == 0
    assert mounted_here(lab) == []


@pytest.mark.namespace
def test_a_file_that_is_open_for_writing_keeps_the_old_stack(lab: Path) -> None:
    stacks(lab)
    assert layerctl("mount", "-l", "a", "-u", "u", "m", "--mkdir").returncode == 0
    before = mounts.find("m")
    with open("m/open", "w"):
        line = ("mount", "--replace", "--lazy", "-u", "u2", "--mkdir", "-l", "c", "m", "--json")
        done = layerctl(*line)
    error = json.loads(done.stderr)["error"]
    assert (done.returncode, error["id"]) == (32, "remount-busy")
    assert (mounts.find("m"), Path("u2").exists()) == (before, False)
    Path("m/more").touch()


@pytest.mark.namespace
def test_an_older_kernel_mounts_over_the_old_one(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks(lab)
    assert main(["mount", "-l", "a", "-l", "b", "m"]) == 0
    move_mount = syscalls.move_mount

    def without(fd: int, target_fd: int, target: str, flags: int = 0) -> None:
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        move_mount(fd, target_fd, target)

    monkeypatch.setattr(syscalls, "move_mount", without)
    assert main(["mount", "--replace", "-l", "c", "m"]) == 0
    assert "stays below" in capsys.readouterr().err
    assert sorted(os.listdir("m")) == ["a.x", "b.x", "c.x"]
    assert mounted_here(lab) == [f"{lab}/m"] * 2
    assert main(["mount", "--replace", "--api", "mount", "-l", "d", "m"]) == 0
    assert sorted(os.listdir("m")) == ["a.x", "b.x", "c.x", "d.x"]


@pytest.mark.namespace
@pytest.mark.parametrize("upper", [(), ("-u", "u2", "-w", "w2", "--mkdir")], ids=str)
def test_what_fails_leaves_the_old_stack_as_it_was(
    lab: Path, upper: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks(lab)
    other = ("-u", "u", "--mkdir") if upper else ("-l", "b")
    assert main(["mount", "-l", "a", *other, "m"]) == 0
    before = mounts.find("m").super_options, sorted(os.listdir("."))

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOMEM, "made to fail")

    for place, name in (
        (syscalls, "fsmount"), (syscalls, "move_mount"),
        (apply, "_read_back"), (remount, "carry_out"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fail)
            code = main(["mount", "--replace", *upper, "-l", "c", "m"])
        if name != "carry_out" or upper:
            assert code in (32, 71), name
            now = mounts.find("m").super_options, sorted(os.listdir("."))
            assert now == before, name
            assert mounted_here(lab) == [f"{lab}/m"], name
    (lab / "m" / "new").touch() if upper else None


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("line", "code"),
    [
        (("--replace", "m"), 2),
        (("--lazy", "-l", "a", "-l", "b", "m"), 2),
        (("--replace", "--print", "fstab", "-l", "c", "m"), 2),
        (("--replace", "--like", "m", "m"), 2),
        (("--replace", "-b", "c=ro", "m"), 2),
        (("--replace", "-l", "c", "a"), 3),
        (("--replace", "-l", "c", "missing"), 3),
        (("--replace", "-l", "missing", "m"), 32),
        (("--replace", "-l", "a", "m"), 32),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_replaced(lab: Path, line: tuple[str, ...], code: int) -> None:
    stacks(lab)
    assert layerctl("mount", "-l", "a", "-l", "b", "m").returncode == 0
    before = mounts.find("m")
    done = layerctl("mount", *line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert (mounts.find("m"), len(mounted_here(lab))) == (before, 1)


@pytest.mark.namespace
def test_mapped_owners_are_not_lost(lab: Path) -> None:
    stacks(lab)
    assert layerctl("mount", "--map", "0:50:50", "-l", "a", "-l", "b", "m").returncode == 0
    done = layerctl("mount", "--replace", "-l", "c", "m")
    assert done.returncode == 3
    assert "are mapped" in done.stderr
    assert os.stat("m").st_uid == 50


@pytest.mark.namespace
def test_a_dry_run_changes_nothing(lab: Path) -> None:
    stacks(lab)
    assert layerctl("mount", "-l", "a", "-u", "u", "m", "--mkdir").returncode == 0
    before = mounts.find("m")
    document = layerctl_json("mount", "-n", "--replace", "-l", "c", "-u", "b", "m")
    assert document["steps"][0] == f"see that the old mount on {lab}/m is read-only"
    assert document["steps"][-1] == "umount2: unmount the old mount"
    assert mounts.find("m") == before

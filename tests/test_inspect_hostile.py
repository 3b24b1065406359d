"""Layers that nobody can trust: links, names, depth, change, and what cannot be read."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main
from layerctl.inspecting.listing import Listing
from layerctl.inspecting.opening import opened
from tests.support import layerctl, layerctl_json
from tests.support.stacks import make_case

NOBODY = 65534


def entries(*arguments: str | Path) -> dict[str, Any]:
    return {one["path"]: one for one in layerctl_json("inspect", "merged", *arguments)["entries"]}


@pytest.mark.namespace
def test_links_are_not_followed_out_of_a_layer(lab: Path) -> None:
    for name in ("upper/dir", "lower", "outside/secret"):
        (lab / name).mkdir(parents=True)
    (lab / "lower/link").symlink_to(lab / "outside")
    (lab / "lower/dir").symlink_to(lab / "outside")
    (lab / "upper/up").symlink_to("..")
    stack = ("-u", lab / "upper", "-l", lab / "lower")
    found = entries(*stack)
    assert {path: one["type"] for path, one in found.items()} == {
        "dir": "dir",
        "link": "symlink",
        "up": "symlink",
    }
    for path in ("link/secret", "dir/secret", "up/outside"):
        story = layerctl_json("inspect", "merged", *stack, path, code=3)
        assert story["visible"] is False
        assert {layer["state"] for layer in story["layers"]} == {"absent"}
    changes = layerctl_json("inspect", "changes", *stack)["changes"]
    assert {(one["path"], one["change"]) for one in changes} == {
        ("dir", "replaced"),
        ("up", "added"),
    }


@pytest.mark.namespace
@pytest.mark.parametrize("command", ["merged", "whiteouts", "changes"])
def test_names_cannot_reach_the_terminal_raw(lab: Path, command: str) -> None:
    name = b"\x1b[31mred\n\xff\xc2\x9b"
    for layer in ("upper", "lower"):
        (lab / layer).mkdir()
    Path(os.fsdecode(os.fsencode(lab) + b"/lower/" + name)).write_text("x")
    os.mknod(os.fsdecode(os.fsencode(lab) + b"/upper/" + name), 0o20000, 0)
    (lab / os.fsdecode(b"upper/new" + name)).mkdir()
    stack = ("-u", f"{lab}/upper", "-l", f"{lab}/lower")
    done = layerctl("inspect", command, *stack)
    assert done.returncode == 0
    assert "\x1b[31m" not in done.stdout
    assert "\x9b" not in done.stdout
    assert "red" in done.stdout
    story = layerctl("inspect", "merged", *stack, os.fsdecode(name))
    assert "\x1b[31m" not in story.stdout + story.stderr


@pytest.mark.namespace
def test_a_tree_is_deeper_than_descriptors_reach(lab: Path) -> None:
    for layer in ("a", "b", "c"):
        (lab / layer).mkdir()
        here = os.open(lab / layer, os.O_RDONLY)
        for level in range(1000):
            os.mkdir("x" * 100, dir_fd=here)
            os.mkdir(f"z{level}", dir_fd=here)
            below = os.open("x" * 100, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    stack = [f for layer in ("a", "b", "c") for f in ("-l", f"{lab}/{layer}")]
    done = layerctl("inspect", "merged", *stack, "--jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 2000
    assert all(len(one["merged_from"]) == 3 for one in found)
    for command in ("whiteouts", "changes"):
        done = layerctl("inspect", command, *stack, "--json")
        assert (done.returncode, done.stderr) == (0, "")
    story = layerctl_json("inspect", "merged", *stack, "/".join(["x" * 100] * 30))
    assert story["visible"] is True


def as_nobody(*arguments: str, code: int) -> Any:
    """Run the program in a forked child that has given up all privilege; return its document.

    It is run once before that, so that every module is loaded: an interpreter need not be
    readable for others.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - not what pytest puts there
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            main([*arguments])
            os.dup2(writer, 1)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            code = main([*arguments])
            sys.stdout.flush()
            os._exit(code)
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(99)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == code, text
    return json.loads(text)


@pytest.mark.namespace
def test_what_cannot_be_read_is_unknown_not_absent(lab: Path) -> None:
    for name in ("upper/d", "lower/d", "lower/closed/inside"):
        (lab / name).mkdir(parents=True)
    (lab / "lower/d/file").write_text("x")
    (lab / "upper/d/own").write_text("x")
    (lab / "lower/closed").chmod(0o700)
    os.setxattr(lab / "upper/d", "trusted.overlay.opaque", b"y")
    stack = ("-u", f"{lab}/upper", "-l", f"{lab}/lower")
    assert set(entries(*stack)) == {"closed", "closed/inside", "d", "d/own"}
    document = as_nobody("inspect", "merged", *stack, "--json", code=1)
    found = {one["path"]: one.get("uncertain", False) for one in document["entries"]}
    assert found == {"closed": False, "d": False, "d/file": True, "d/own": False}
    assert any("trusted.overlay" in text for text in document["notes"])
    assert [(one["layer"], one["path"]) for one in document["unknown"]] == [(1, "closed")]
    for command in ("whiteouts", "changes"):
        assert as_nobody("inspect", command, *stack, "--json", code=1)["notes"]
    story = as_nobody("inspect", "merged", *stack, "closed/inside", "--json", code=1)
    assert "unknown" in story["layers"][1]["reason"]
    assert "closed/inside" in {one["path"] for one in story["unknown"]}


@pytest.mark.namespace
def test_a_layer_may_change_while_it_is_read(lab: Path) -> None:
    case = make_case(str(lab), [f"{lab}/lower"], upper=f"{lab}/upper")
    for layer in ("upper", "lower"):
        (lab / layer).mkdir()
    child = os.fork()
    if child == 0:
        number = 0
        while True:  # until it is killed
            number += 1
            top = lab / ("upper" if number % 2 else "lower") / "d"
            shutil.rmtree(top, ignore_errors=True)
            if number % 3:
                (top / "e/f").mkdir(parents=True)
                (top / "e/file").write_text("x")
            else:
                top.symlink_to("/")
                top.unlink()
    try:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            with opened(case.stack, thorough=True) as view:
                paths = [
                    c.directory.child_path(n) for c in Listing(view.resolver) for n, _ in c.entries
                ]
            assert all(path.split("/")[0] == "d" for path in paths)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.namespace
def test_access_times_stay(lab: Path) -> None:
    (lab / "upper/d").mkdir(parents=True)
    (lab / "lower/d").mkdir(parents=True)
    for layer in ("upper", "lower"):
        (lab / layer / "d/file").write_text(layer)
    paths = [path for layer in ("upper", "lower") for path in (lab / layer).rglob("*")]
    for path in paths:
        os.utime(path, (1000, 2000 if path.is_dir() else 3000))
    for command in ("merged", "whiteouts", "changes"):
        layerctl_json("inspect", command, "-u", lab / "upper", "-l", lab / "lower")
    assert {os.stat(path).st_atime for path in paths} == {1000}


@pytest.mark.namespace
def test_five_hundred_layers(lab: Path) -> None:
    stack: list[str] = []
    for number in range(500):
        (lab / f"{number}/all/deep").mkdir(parents=True)
        (lab / f"{number}/all/deep/{number}").write_text("x")
        stack += ["-l", f"{lab}/{number}"]
    done = layerctl("inspect", "merged", *stack, "--jsonl")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 502

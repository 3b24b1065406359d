"""Sizes, dates and owners of entries and changes: what lstat(2) says through the mount."""

from __future__ import annotations

import json
import os
import random
import stat
from pathlib import Path
from typing import Any

import pytest

from layerctl.inspecting.details import Reader
from layerctl.inspecting.listing import Listing
from layerctl.inspecting.opening import opened
from layerctl.render.details import local, long_mode, moment
from tests.support import layerctl
from tests.support.compare import look
from tests.support.stacks import Mounted, build_by_hand, make_case

ALL = "path,size,allocated,mode,owner,mtime,links,target,data,redirect"
_SAME = ("st_size", "st_mode", "st_uid", "st_gid", "st_mtime_ns")


@pytest.mark.namespace
@pytest.mark.parametrize("seed", range(12))
def test_random_stacks_are_as_the_mount_shows_them(seed: int, lab: Path) -> None:
    case = build_by_hand(random.Random(seed), f"{lab}/c", user=False)
    with opened(case.stack, thorough=True) as view:
        reader = Reader(view.resolver, origins=True)
        ours = {
            chunk.directory.child_path(name): reader.of(chunk.directory, name, kind.layer)
            for chunk in Listing(view.resolver)
            for name, kind in chunk.entries
            if kind.reachable and kind.alias is None
        }
    with Mounted(case) as target:
        for path, details in ours.items():
            seen = look(f"{target}/{path}")
            assert details is not None
            assert seen.status is not None
            for field in _SAME:
                if field != "st_size" or not stat.S_ISDIR(details.status.st_mode):
                    assert getattr(details.status, field) == getattr(seen.status, field), path
            assert details.link == seen.link


def columns(command: str, target: str, names: str) -> dict[str, dict[str, Any]]:
    done = layerctl("inspect", command, target, "--json", "--output", names)
    assert done.returncode == 0, done.stderr
    (rows,) = json.loads(done.stdout).values()
    return {row["path"]: row for row in rows}


def _moved(lab: Path) -> str:
    """Mount a stack in which a file has its metadata alone copied up, and a directory is moved."""
    for name in ("l/d", "u", "w", "m"):
        (lab / name).mkdir(parents=True)
    (lab / "l/big").write_bytes(b"x" * 100_000)
    os.utime(lab / "l/big", (10**9, 10**9))
    (lab / "l/link").symlink_to("big")
    options = "metacopy=on,redirect_dir=on"
    mounted = Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options=options))
    target = mounted.__enter__()
    os.chown(f"{target}/big", 7, 8)
    os.chmod(f"{target}/big", 0o640)
    os.rename(f"{target}/d", f"{target}/moved")
    return target


@pytest.mark.namespace
@pytest.mark.parametrize("command", ["merged", "changes"])
def test_a_file_with_metadata_alone_and_a_moved_directory(command: str, lab: Path) -> None:
    target = _moved(lab)
    found = columns(command, target, ALL)
    assert found["big"] == {
        "path": "big",
        "size": 100_000,
        "allocated": os.lstat(lab / "u/big").st_blocks * 512,
        "mode": "0640",
        "owner": {"uid": 7, "gid": 8},
        "mtime": "2001-09-09T01:46:40.000000000Z",
        "links": 1,
        "data": {"layer": 1, "path": "big"},
    }
    assert found["moved"]["redirect"] == "d"
    if command == "merged":
        assert found["link"]["target"] == "big"


@pytest.mark.namespace
def test_a_second_name_of_one_lower_file_has_the_details_of_the_first(lab: Path) -> None:
    """Both were copied up, and the kernel has one inode for the two."""
    for name in ("l", "u", "w", "m"):
        (lab / name).mkdir()
    (lab / "l/a").write_text("lower\n")
    os.link(lab / "l/a", lab / "l/b")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u", options="index=on")):
        (lab / "m/a").write_text("longer than before\n")
        sizes = {name: row["size"] for name, row in columns("merged", "m", "path,size").items()}
        assert sizes == {name: os.lstat(f"m/{name}").st_size for name in "ab"}


@pytest.fixture
def three() -> list[tuple[str, int]]:
    return [("b", 10), ("a", 2000), ("c", 300)]


@pytest.mark.namespace
def test_rows_are_sorted_by_any_column(lab: Path, three: list[tuple[str, int]]) -> None:
    (lab / "l").mkdir()
    (lab / "u").mkdir()
    for name, size in three:
        (lab / "l" / name).write_bytes(b"x" * size)
    command = ("inspect", "merged", "-u", "u", "-l", "l", "--raw", "--noheadings")

    def lines(*words: str) -> str:
        return layerctl(*command, "--output", "PATH", *words).stdout.replace("\n", "")

    assert lines() == "abc"
    assert lines("--sort", "size") == "bca"
    assert lines("--sort", "size", "--reverse") == "acb"
    assert lines("--reverse") == "cba"
    refused = layerctl(*command, "--sort", "sise")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "use --sort SIZE" in refused.stderr
    human = layerctl("inspect", "merged", "-u", "u", "-l", "l", "--output", "SIZE,PATH")
    assert [line.split() for line in human.stdout.splitlines()[2:]] == [
        ["2K", "a"], ["10B", "b"], ["300B", "c"],
    ]  # fmt: skip
    exact = layerctl("inspect", "merged", "-u", "u", "-l", "l", "--output", "SIZE,PATH", "--bytes")
    assert "2000   a" in exact.stdout


def test_dates_and_modes_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    assert moment(-1) == "1969-12-31T23:59:59.999999999Z"
    assert local(moment(10**18)) == "2001-09-09 01:46"
    assert moment(2**80 * 10**9) == f"@{2**80}.000000000" == local(moment(2**80 * 10**9))
    assert long_mode("d", "1777") == "drwxrwxrwt"
    assert long_mode("-", "4755") == "-rwsr-xr-x"

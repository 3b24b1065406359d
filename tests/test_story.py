"""The story of files that are in several layers, and the listing of one directory."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from layerctl.errors import EXIT_CODES
from layerctl.kernel import syscalls
from layerctl.rules.words import size_of
from tests.support import layerctl, layerctl_json

FOLLOW = "redirect_dir=on,metacopy=on"


def _mount(lower: str, upper: str, place: str, options: str = FOLLOW) -> None:
    os.mkdir(f"{upper}.work")
    layers = f"lowerdir={lower},upperdir={upper},workdir={upper}.work"
    syscalls.mount("o", place, "overlay", 0, f"{layers},{options},index=off,xino=off")


def _rows(story: Any, lab: Path) -> list[tuple[str, str | None, str | None]]:
    return [
        (row["state"], row["file"] and os.path.relpath(row["file"], lab), row["type"])
        for row in story["layers"]
    ]


@pytest.mark.namespace
def test_every_layer_shows_its_own_file_where_contents_lie_under_another_name(lab: Path) -> None:
    for name in ("low/d", "first", "second", "m"):
        (lab / name).mkdir(parents=True)
    (lab / "low/old").write_text("contents")
    (lab / "low/d/x").write_text("contents")
    _mount("low", "first", "m")
    for before, between in (("old", "between"), ("d/x", "d/y")):
        os.chmod(f"m/{before}", 0o600)
        os.rename(f"m/{before}", f"m/{between}")
    syscalls.umount2("m", 0)
    _mount("first:low", "second", "m")
    os.chmod("m/between", 0o640)
    os.rename("m/between", "m/new")
    assert Path("m/new").read_text() == "contents"
    story = layerctl_json("inspect", "merged", "m", "new")
    assert story["data"] == {"layer": 2, "path": "old"}
    assert _rows(story, lab) == [
        ("provides", "second/new", "file"),
        ("hidden", "first/between", "file"),
        ("merged", "low/old", "file"),
    ]
    assert f"{lab}/low/old\n" in layerctl("inspect", "merged", "m", "new").stdout
    story = layerctl_json("inspect", "merged", "m", "d/y")
    assert _rows(story, lab)[1:] == [
        ("provides", "first/d/y", "file"),
        ("merged", "low/d/x", "file"),
    ]


@pytest.mark.namespace
def test_a_data_only_layer_shows_the_file_with_the_contents(lab: Path) -> None:
    for name in ("data/deep", "meta", "m"):
        (lab / name).mkdir(parents=True)
    (lab / "data/deep/contents").write_text("contents")
    (lab / "meta/name").write_text("")
    os.truncate(lab / "meta/name", 8)
    os.setxattr(lab / "meta/name", "trusted.overlay.metacopy", b"")
    os.setxattr(lab / "meta/name", "trusted.overlay.redirect", b"/deep/contents")
    syscalls.mount("o", "m", "overlay", 0, "lowerdir=meta::data,metacopy=on,redirect_dir=follow")
    assert Path("m/name").read_text() == "contents"
    story = layerctl_json("inspect", "merged", "m", "name")
    assert _rows(story, lab) == [
        ("provides", "meta/name", "file"),
        ("merged", "data/deep/contents", "file"),
    ]


def _tree(lab: Path) -> tuple[str, ...]:
    for name in ("low/etc/ssh/keys", "low/usr", "up/etc/ssh", "middle/etc"):
        (lab / name).mkdir(parents=True)
    for name in ("low/etc/passwd", "low/etc/ssh/keys/one", "up/etc/ssh/config", "middle/etc/hosts"):
        (lab / name).write_text("x" * 10)
    os.mknod(lab / "up" / "usr", 0o020000, 0)
    return ("inspect", "merged", "-u", "up", "-l", "middle", "-l", "low")


@pytest.mark.namespace
def test_with_what_narrows_a_listing_path_is_the_directory_to_list(lab: Path) -> None:
    stack = _tree(lab)
    whole = layerctl_json(*stack)["entries"]

    def below(path: str, *options: str) -> list[Any]:
        entries: list[Any] = layerctl_json(*stack, path, *options)["entries"]
        return entries

    for path in ("etc", "etc/ssh", "etc/ssh/keys"):
        expected = [one for one in whole if one["path"].startswith(f"{path}/")]
        assert below(path, "--max-depth", "9") == expected
        level = [one for one in expected if one["path"].count("/") == path.count("/") + 1]
        assert below(path, "--max-depth", "1") == level
        assert below(path, "--layer", "0") == [
            one for one in expected if f"{lab}/up" in one.get("merged_from", [one["provider"]])
        ]
    assert [one["path"] for one in below("etc", "--file-type", "file", "--glob", "p*")] == [
        "etc/passwd"
    ]
    assert below("/", "--max-depth", "9") == whole
    old = layerctl(*stack, "etc", "--type", "file", "--type", "fifo", "--glob", "p*", "-0")
    assert (old.returncode, old.stdout) == (0, "etc/passwd\0")
    assert old.stderr.splitlines() == [
        f"layerctl: --type {one} is deprecated; use --file-type {one}" for one in ("file", "fifo")
    ]
    tree = layerctl(*stack, "etc/ssh", "--tree").stdout.splitlines()
    assert tree[3:] == ["├── config  [0]", "└── keys/  [2]", "    └── one  [2]"]
    rows = layerctl_json(*stack, "etc/ssh", "--summary")["summary"]
    assert [row["entries"] for row in rows] == [1, 0, 2]


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("path", "message"),
    {
        "usr": "'usr' is not visible",
        "usr/bin": "'usr' is not visible",
        "etc/passwd": "'etc/passwd' is not a directory",
    }.items(),
)
def test_a_path_that_is_no_directory_cannot_be_listed(lab: Path, path: str, message: str) -> None:
    stack = _tree(lab)
    done = layerctl(*stack, path, "--max-depth", "2")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"layerctl: {message}  [no-such-directory]\n")


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("options", "columns"),
    {
        ("--output", "STATE"): "PATH, TYPE, LAYER, PROVIDER",
        ("--sort", "BYTES"): "PATH, TYPE, LAYER, PROVIDER",
        ("--output", "TYPE", "--summary"): "INDEX, PATH, ENTRIES",
        ("etc", "--output", "PROVIDER"): "INDEX, PATH, STATE",
        ("etc", "--tree", "--output", "STATE"): "PATH, TYPE, LAYER, PROVIDER",
    }.items(),
)
def test_a_column_of_another_listing_is_refused_with_the_columns_of_this_one(
    lab: Path, options: tuple[str, ...], columns: str
) -> None:
    stack = _tree(lab)
    done = layerctl(*stack, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"why:  the columns are {columns}" in done.stderr
    done = layerctl("doctor", "--list-checks", "--output", "SEVERITY")
    assert done.returncode == 2
    assert "the columns are OF, CHECK, WHAT" in done.stderr


@pytest.mark.namespace
def test_the_summary_tells_shares_of_entries_and_of_bytes(lab: Path) -> None:
    for name in ("up", "low"):
        (lab / name).mkdir()
    for number in range(9):
        (lab / "up" / str(number)).write_text("x" * 100)
    (lab / "low" / "big").write_bytes(b"")
    os.truncate(lab / "low" / "big", 80 << 20)
    stack = ("inspect", "merged", "-u", "up", "-l", "low", "--summary")
    up, low = layerctl_json(*stack)["summary"]
    assert (up["entries"], up["share"], up["bytes"], up["bytes_share"]) == (9, 0.9, 900, 0.0)
    assert (low["share"], low["bytes"], low["bytes_share"]) == (0.1, 80 << 20, 1.0)
    head, _, first, second = layerctl(*stack).stdout.splitlines()
    assert head.split() == ["INDEX", "ENTRIES", "SHARE", "BYTES", "BYTES_SHARE", "HIDDEN", "PATH"]
    assert first.split()[:6] == ["0", "9", "90.0%", "900B", "0.0%", "0B"]
    assert second.split()[:6] == ["1", "1", "10.0%", "80M", "100.0%", "0B"]
    assert layerctl(*stack, "--raw").stdout.splitlines()[2].split()[3] == str(80 << 20)


@pytest.mark.namespace
def test_layers_in_a_row_that_lack_the_path_are_one_line(lab: Path) -> None:
    for number in range(12):
        (lab / str(number)).mkdir()
    for number in (0, 7):
        (lab / str(number) / "a").write_text("x" * 2000)
    stack = [word for number in range(12) for word in ("-l", str(number))]

    def heads(*words: str) -> list[tuple[str, str]]:
        shown = layerctl("inspect", "merged", *stack, "a", *words).stdout
        return re.findall(r"^ +([0-9-]+)  (provides|hidden|absent)", shown, re.MULTILINE)

    assert heads() == [
        ("0", "provides"), ("1-6", "absent"), ("7", "hidden"), ("8-11", "absent"),
    ]  # fmt: skip
    assert [number for number, _ in heads("--all")] == [str(number) for number in range(12)]
    assert f"{lab}/3\n" in layerctl("inspect", "merged", *stack, "a", "--all").stdout
    assert "-rw-r--r--  2K  " in layerctl("inspect", "merged", *stack, "a").stdout
    assert "-rw-r--r--  2000  " in layerctl("inspect", "merged", *stack, "a", "--bytes").stdout


@pytest.mark.namespace
def test_every_version_shows_what_it_is_like(lab: Path) -> None:
    for name in ("low", "up"):
        (lab / name).mkdir()
    (lab / "low/a").write_text("lower")
    (lab / "up/a").symlink_to("elsewhere")
    os.utime(lab / "up/a", (10**9, 10**9), follow_symlinks=False)
    up, low = layerctl_json("inspect", "merged", "-u", "up", "-l", "low", "a")["layers"]
    assert (up["target"], up["mtime"]) == ("elsewhere", "2001-09-09T01:46:40.000000000Z")
    assert (low["size"], low["mode"], low["links"]) == (5, "0644", 1)
    shown = layerctl("inspect", "merged", "-u", "up", "-l", "low", "a", env={"TZ": "UTC"}).stdout
    assert "lrwxrwxrwx  to elsewhere  2001-09-09 01:46\n" in shown


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0B"), (1023, "1023B"), (1024, "1K"), ((1 << 20) - 1, "1M"),
        (1536, "1.5K"), (5 << 40, "5T"), (1 << 63, "8E"),
    ],
)  # fmt: skip
def test_sizes_for_people(number: int, text: str) -> None:
    assert size_of(number) == text


def test_the_exit_code_of_a_path_that_shows_nothing_is_in_the_table() -> None:
    assert any(row.code == 3 and "PATH" in row.meaning for row in EXIT_CODES)

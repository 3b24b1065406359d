"""Changes and whiteouts of one layer, below one path, of some names, or summed up."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import layerctl, layerctl_json
from tests.support.stacks import Mounted, make_case

STACK = ("-u", "u", "-l", "m", "-l", "l", "-o", "redirect_dir=on")


def _layers(lab: Path) -> None:
    """Make three layers: what is in the upper two was done through mounts."""
    for name in ("l/etc/deep", "l/var", "l/gone", "m", "u", "w"):
        (lab / name).mkdir(parents=True)
    for name in ("etc/one", "etc/two", "etc/deep/three", "var/four", "gone/five"):
        (lab / "l" / name).write_text("lowest\n")
        os.utime(lab / "l" / name, (10**9, 10**9))
    (lab / "x").mkdir()
    with _mounted(lab, ["l"], "m") as view:
        (view / "etc/one").write_text("middle, which is longer\n")
        (view / "etc/two").unlink()
        (view / "var").rename(view / "moved")
    with _mounted(lab, ["m", "l"], "u") as view:
        (view / "etc/one").unlink()
        (view / "etc/new").write_text("new\n")
        shutil.rmtree(view / "gone")


class _mounted:  # noqa: N801 - used like a function
    def __init__(self, lab: Path, lowers: list[str], upper: str) -> None:
        shutil.rmtree(lab / "w", ignore_errors=True)
        (lab / "w").mkdir()
        (lab / "x").rename(lab / "view")
        case = make_case(
            str(lab), [f"{lab}/{one}" for one in lowers], upper=f"{lab}/{upper}",
            options="redirect_dir=on",
        )  # fmt: skip
        case.target = f"{lab}/view"
        self._lab = lab
        self._mounted = Mounted(case)

    def __enter__(self) -> Path:
        return Path(self._mounted.__enter__())

    def __exit__(self, *_: object) -> None:
        self._mounted.__exit__()
        (self._lab / "view").rename(self._lab / "x")


def changes(*words: str) -> list[tuple[str, str]]:
    found = layerctl_json("inspect", "changes", *words)["changes"]
    return sorted((row["path"], row["change"]) for row in found)


def whiteouts(*words: str) -> list[tuple[str, int]]:
    found = layerctl_json("inspect", "whiteouts", *words)["whiteouts"]
    return sorted((row["path"], row["layer"]) for row in found)


UPPER = [("etc/new", "added"), ("etc/one", "deleted"), ("gone", "deleted")]
MIDDLE = [("etc/one", "modified"), ("etc/two", "deleted"), ("moved", "renamed")]


@pytest.mark.namespace
def test_what_one_layer_changes(lab: Path) -> None:
    _layers(lab)
    assert changes(*STACK) == changes(*STACK, "--layer", "0") == UPPER
    assert changes(*STACK, "--layer", "1") == MIDDLE
    assert changes(*STACK, "--layer", "1") == changes("-l", "m", "-l", "l")
    lowest = changes(*STACK, "--layer", "2")
    assert {change for _, change in lowest} == {"added"}
    assert [path for path, _ in lowest] == sorted(
        os.path.relpath(f"{above}/{name}", "l")
        for above, directories, files in os.walk("l")
        for name in (*directories, *files)
    )
    rows = layerctl_json("inspect", "changes", *STACK, "--layer", "1")["changes"]
    assert {row["layer"] for row in rows} == {1}
    sizes = layerctl("inspect", "changes", *STACK, "--layer", "1", "--raw", "--output", "path,size")
    assert "etc/one 24" in sizes.stdout.splitlines()


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("etc",), UPPER[:2]),
        (("etc/one",), [("etc/one", "deleted")]),
        (("gone/five",), [("gone", "deleted")]),
        (("et",), []),
        (("--glob", "n*"), [("etc/new", "added")]),
        (("--glob", "etc/*"), UPPER[:2]),
        (("etc", "--glob", "on*"), [("etc/one", "deleted")]),
        (("--since", "2", "var"), [("moved", "renamed")]),
        (("--since", "2", "moved/four"), [("moved", "renamed")]),
    ],
)
def test_changes_of_a_path_or_of_some_names(
    words: tuple[str, ...], expected: list[tuple[str, str]], lab: Path
) -> None:
    _layers(lab)
    assert changes(*STACK, *words) == expected
    lines = layerctl("inspect", "changes", *STACK, *words, "--jsonl").stdout.splitlines()
    assert len(lines) == len(expected)


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), [("etc/one", 0), ("etc/two", 1), ("gone", 0), ("var", 1)]),
        (("etc",), [("etc/one", 0), ("etc/two", 1)]),
        (("gone/five",), [("gone", 0)]),
        (("--glob", "*o*"), [("etc/one", 0), ("etc/two", 1), ("gone", 0)]),
        (("--glob", "etc/*o"), [("etc/two", 1)]),
    ],
)
def test_whiteouts_of_a_path_or_of_some_names(
    words: tuple[str, ...], expected: list[tuple[str, int]], lab: Path
) -> None:
    _layers(lab)
    assert whiteouts(*STACK, *words) == expected


@pytest.mark.namespace
def test_sums(lab: Path) -> None:
    _layers(lab)
    found: Any = layerctl_json("inspect", "changes", *STACK, "--since", "2", "--summary")
    assert found["summary"] == [
        {"change": "added", "count": 1, "size": 4},
        {"change": "deleted", "count": 3, "size": 0},
        {"change": "renamed", "count": 1, "size": 0},
    ]
    found = layerctl_json("inspect", "whiteouts", *STACK, "--summary")
    assert found["summary"] == [
        {"layer": 0, "kind": "chardev", "effective": "yes", "count": 2},
        {"layer": 1, "kind": "chardev", "effective": "yes", "count": 2},
    ]


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--layer", "3"), "there is no layer 3"),
        (("--layer", "1", "--since", "1"), "--since and --layer cannot be combined"),
        (("--summary", "--format", "docker"), "--format and --summary cannot be combined"),
        (("--summary", "--output", "PATH"), "'PATH' is not a column"),
        (("one", "two"), "too many arguments: two"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str, lab: Path) -> None:
    for name in "uml":
        (lab / name).mkdir()
    done = layerctl("inspect", "changes", *STACK, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr

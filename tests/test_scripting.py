"""The recipes of docs/scripting.md, in directories and on files with odd names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT, layerctl, layerctl_json
from tests.support.examples import run, steps

ODD = [
    "two words",
    "new\nline",
    "com,ma",
    "co:lon",
    "back\\slash",
    "--star*",
    os.fsdecode(b"\xff'\""),
]
RECIPES = (ROOT / "docs" / "scripting.md").read_text().split("\n## ")


def _commands(*numbers: int) -> list[str]:
    """Return the commands that come first on the page, and those of some recipes."""
    return [
        step.command
        for part in (0, *numbers)
        for block in RECIPES[part].split("```console\n")[1:]
        for step in steps(block.partition("```")[0])
    ]


@pytest.mark.namespace
@pytest.mark.parametrize("name", ODD)
def test_every_recipe_where_all_directories_have_odd_names(name: str, lab: Path) -> None:
    (lab / name).mkdir()
    commands = _commands(*range(1, 14))
    done = run(commands, lab / name)
    assert [(line, code) for line, (_, code) in zip(commands, done, strict=True) if code] == []
    printed = {line: output for line, (output, _) in zip(commands, done, strict=True)}
    assert printed["ls view/etc"] == "new\none\n"
    assert printed["find taken -type f | sort"] == "taken/etc/new\ntaken/etc/one\n"
    left = [output for line, output in printed.items() if line.endswith("comm -13 before -")]
    assert left == [""]  # the same line before it was unmounted has another answer
    targets = [one["target"] for one in layerctl_json("list")["mounts"]]
    assert not [target for target in targets if target.startswith(str(lab))]


@pytest.mark.namespace
def test_odd_names_of_files_are_taken_along(lab: Path) -> None:
    first = _commands()
    assert not any(code for _, code in run(first, lab))
    for name in ODD:
        (lab / "merged" / "etc" / name).write_bytes(b"x")
    done = run([line for line in _commands(6) if line not in first], lab)
    assert not any(code for _, code in done)
    assert {*ODD, "one", "new"} == set(os.listdir(lab / "taken" / "etc"))
    names = layerctl("inspect", "merged", "merged", "-0", "--layer", "0", "--file-type", "file")
    assert {f"etc/{name}" for name in ODD} < set(names.stdout.split("\0"))


@pytest.mark.namespace
def test_a_view_of_layers_with_odd_names(lab: Path) -> None:
    for name in (*ODD, "up", "m", "view"):
        (lab / name).mkdir()
        if name in ODD:
            (lab / name / f"in {name}").touch()
    flags = [word for name in ODD for word in ("-l", f"./{name}")]
    assert layerctl("mount", "-u", "up", *flags, "m").returncode == 0
    layers = [f"{lab}/{name}" for name in ("up", *ODD)]
    for arguments in (("-0",), ("-0", "--output", "path"), ("-0", "--output", "LAYERS")):
        assert layerctl("inspect", "mount", "m", *arguments).stdout.split("\0") == [*layers, ""]
    rows = layerctl("inspect", "mount", "m", "--raw", "--noheadings").stdout.splitlines()
    decoded = subprocess.run(
        ["bash", "-c", 'while read -r _ _ _ path; do printf "%b\\0" "$path"; done'],
        input=os.fsencode("\n".join(rows) + "\n"),
        stdout=subprocess.PIPE,
    ).stdout
    assert decoded.split(b"\0") == [*map(os.fsencode, layers), b""]
    view = next(line for line in _commands(9) if "view' sh" in line)
    ((_, code),) = run([view.replace("inspect mount merged", "inspect mount m")], lab)
    assert code == 0
    assert set(os.listdir(lab / "view")) == {f"in {name}" for name in ODD}


@pytest.mark.namespace
def test_several_paths_go_alone_where_nothing_else_keeps_them_apart(lab: Path) -> None:
    for name in ("up,one", "low"):
        (lab / name / "both").mkdir(parents=True)
    stack = ("-u", "up,one", "-l", "low")
    for line in (
        ("inspect", "mount", *stack, "--output", "TARGET,LAYERS"),
        ("inspect", "merged", *stack, "--output", "+MERGED_FROM"),
        ("list", "--output", "TARGET,LAYERS"),
        ("inspect", "aufs", "--output", "ID,BRANCHES"),
    ):
        done = layerctl(*line, "-0")
        assert (done.returncode, done.stdout) == (2, "")
        assert "-0 cannot combine" in done.stderr
    alone = layerctl("inspect", "merged", *stack, "-0", "--output", "MERGED_FROM")
    assert alone.stdout.split("\0") == [f"{lab}/up,one", f"{lab}/low", ""]


@pytest.mark.namespace
def test_the_mount_stays_one_row_where_no_column_of_a_layer_is_named(lab: Path) -> None:
    for name in ("up", "low"):
        (lab / name).mkdir()
    command = ("inspect", "mount", "-u", "up", "-l", "low")
    assert layerctl(*command, "--raw", "--output", "DEPTH,UPPER").stdout.splitlines() == [
        "DEPTH UPPER", f"2 {lab}/up",
    ]  # fmt: skip
    assert layerctl(*command, "--raw", "--output", "+TYPE").stdout.splitlines() == [
        "INDEX ROLE PERMISSION PATH TYPE",
        f"0 upper - {lab}/up overlay",
        f"1 lower - {lab}/low overlay",
    ]
    assert [row["role"] for row in layerctl_json(*command)["mounts"][0]["layers"]] == [
        "upper", "lower",
    ]  # fmt: skip

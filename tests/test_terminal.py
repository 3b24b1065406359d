"""What a person sees on a terminal: colours, what a locale can draw, and the pager."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from layerctl.render.human import layer_code
from tests.support import ROOT, layerctl
from tests.support.terminal import on_terminal

RECORDED = (
    "--mountinfo", f"{ROOT}/tests/golden/input/mountinfo",
    "--sysfs", f"{ROOT}/tests/golden/input/sysfs",
)  # fmt: skip


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_colours_of_forty_layers_differ_and_none_is_blue() -> None:
    codes = [layer_code(layer) for layer in range(40)]
    assert len(set(codes)) == 40
    assert not [code for code in codes if {"34", "94"} & set(code.split(";"))]


@pytest.mark.parametrize("line", [("list",), ("inspect", "merged", "file"), ("doctor",)])
def test_lists_and_stories_have_colour(tmp_path: Path, line: tuple[str, ...]) -> None:
    for name in ("up", "low"):
        (tmp_path / name).mkdir()
    (tmp_path / "low" / "file").touch()
    stack = ("-u", f"{tmp_path}/up", "-l", f"{tmp_path}/low")
    words = [*line, *(RECORDED if line == ("list",) else stack)]
    plain, colour, never = (
        layerctl(*words, *more).stdout for more in ((), ("--color", "always"), ("--color", "never"))
    )
    assert "\033[" not in plain + never
    assert len(set(re.findall(r"\033\[[0-9;]+m", colour))) > 2 or line == ("doctor",)
    lines = re.sub(r"\033\[[0-9;]*m", "", colour).splitlines()
    assert [line.rstrip() for line in lines] == plain.splitlines()


def test_help_has_colour_on_a_terminal() -> None:
    assert "\033[" not in layerctl("list", "--help").stdout
    code, shown = on_terminal("list", "--help")
    assert code == 0
    assert "\033[1mOptions:\033[0m" in shown
    assert re.search(r"\033\[\d+m--jsonl\033\[0m", shown)
    assert "\033[" not in on_terminal("list", "--help", NO_COLOR="1")[1]


@pytest.mark.parametrize("variable", ["LC_ALL", "LANG"])
@pytest.mark.parametrize("value", ["C", "POSIX", "C.UTF-8"])
def test_nothing_but_ascii_is_drawn_in_the_c_locale(
    variable: str, value: str, tmp_path: Path
) -> None:
    for name in ("up/d/e", "low/d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "low" / "d" / "f").touch()
    stack = ("-u", f"{tmp_path}/up", "-l", f"{tmp_path}/low")
    locale = {"LC_ALL": "", "LC_CTYPE": "", "LANG": "", variable: value}
    for line in (
        ("inspect", "merged", *stack),
        ("list", *RECORDED, "--output", "TYPE"),
        ("doctor", "--no-probe", "-v", "-l", f"{tmp_path}/low", "-l", "/no/such", "/"),
        ("doctor", "--no-probe"),
    ):
        shown = layerctl(*line, env=locale).stdout
        assert shown
        assert shown.isascii() == (value != "C.UTF-8")
    assert "|-- " in layerctl("inspect", "merged", *stack, env={"LC_ALL": "C"}).stdout.replace(
        "`-- ", "|-- "
    )


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--no-pager", "list"), {}),
        (("list", "--json"), {}),
        (("list", "--raw"), {}),
        (("list",), {"LAYERCTL_PAGER": "cat"}),
        (("list",), {"LAYERCTL_PAGER": ""}),
        (("list",), {"TERM": "dumb"}),
    ],
)
def test_what_gets_no_pager(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    variables = {"PAGER": script(tmp_path / "pager", "echo paged; cat"), **environment}
    code, shown = on_terminal(*arguments, *RECORDED, **variables)  # type: ignore[arg-type]  # env
    assert (code, "paged" in shown) == (0, False)


@pytest.mark.parametrize("missing", ["/no/such/pager", "'unbalanced"])
def test_a_pager_that_cannot_be_run_is_done_without(missing: str) -> None:
    assert "overlay" in on_terminal("list", *RECORDED, PAGER=missing)[1]


def test_a_terminal_gets_a_pager_and_nothing_else_does(tmp_path: Path) -> None:
    pager = script(tmp_path / "pager", 'echo "paged $LESS"; cat')
    code, shown = on_terminal("list", *RECORDED, PAGER=pager)
    assert code == 0
    assert shown.startswith("paged FRX\n")
    assert "\033[1m" in shown
    assert "paged" not in layerctl("list", *RECORDED, env={"PAGER": pager}).stdout
    other = script(tmp_path / "other", "echo other; cat")
    shown = on_terminal("list", *RECORDED, PAGER=pager, LAYERCTL_PAGER=f"{other} -x")[1]
    assert shown.startswith("other\n")


def test_the_exit_code_is_the_same_through_a_pager(tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    for index in range(3000):
        (tmp_path / "low" / f"a-file-with-a-long-name-{index}").touch()
    early = script(tmp_path / "early", "head -1; exit 3")
    stack = ("-l", f"{tmp_path}/low", "-l", "/no/such")
    for pager in (early, "cat -n"):
        code, _ = on_terminal("doctor", "--no-probe", *stack, PAGER=pager)
        assert code == 1
        code, _ = on_terminal("inspect", "merged", "-l", f"{tmp_path}/low", "gone", PAGER=pager)
        assert code == 3
        code, shown = on_terminal("inspect", "merged", "-l", f"{tmp_path}/low", PAGER=pager)
        assert code == 0
        assert "Traceback" not in shown
        assert (shown.count("\n") == 1) == (pager == early)


def test_the_program_ends_after_its_pager(tmp_path: Path) -> None:
    slow = script(tmp_path / "slow", "cat; read answer </dev/tty; echo the end")
    arguments = ("list", *RECORDED)
    code, shown = on_terminal(*arguments, PAGER=slow, wait_for=b"overlay", keys=b"\n")
    assert (code, shown.endswith("the end\n")) == (0, True)
    code, shown = on_terminal(
        *arguments, PAGER=slow, wait_for=b"overlay", stop=signal.SIGINT, keys=b"\n"
    )
    assert (code, shown.endswith("the end\n")) == (0, True)


def test_root_that_was_lent_pages_with_a_less_that_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "less", 'echo "secure=$LESSSECURE"; cat')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pager = script(tmp_path / "pager", "echo mine; cat")
    shown = on_terminal("list", *RECORDED, PAGER=pager, SUDO_UID="1000")[1]
    assert shown.startswith("secure=1\n" if os.geteuid() == 0 else "mine\n")

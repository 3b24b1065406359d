"""Unmounted upper layers that are based on a lower layer which is changed are warned of."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support import layerctl
from tests.support.stacks import Mounted, make_case

COMMANDS = {
    "commit": ("commit",),
    "commit -n": ("commit", "-n"),
    "check --repair": ("check", "--repair"),
}


def build(lab: Path, other: str, option: str = "") -> tuple[str, ...]:
    """Make a stack, a fault in its lower layer, and another upper layer over that; return flags."""
    for name in ("l/d", "u", "w", "m", other):
        (lab / name).mkdir(parents=True)
    (lab / "l/d/file").touch()
    os.mknod(lab / "l/d/gone", stat.S_IFCHR, 0)
    case = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/{other}", options=option)
    with Mounted(case):
        (lab / "m/d/file").chmod(0o600)
    return "-u", f"{lab}/u", "-l", f"{lab}/l"


@pytest.mark.namespace
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("other", ["other", "store/other/l"])
def test_another_upper_layer_is_warned_of(lab: Path, command: str, other: str) -> None:
    if "/" in other:  # as engines keep layers: STORE/ID/diff
        (lab / "store").mkdir()
        (lab / "store/own").mkdir()
        stack = build(lab, other)
        (lab / "l").rename(lab / "store/own/l")
        stack = (*stack[:3], f"{lab}/store/own/l")
    else:
        stack = build(lab, other)
    done = layerctl(*COMMANDS[command], *stack)
    assert done.returncode == 0, done.stderr
    assert f"layerctl: {lab}/{other} is based on {stack[-1]}: " in done.stderr


@pytest.mark.namespace
def test_an_index_tells_it_even_of_an_empty_upper_layer(lab: Path) -> None:
    stack = build(lab, "other", "index=on")
    for name in os.listdir(lab / "other"):
        os.rename(lab / "other" / name, lab / f"w/{name}")
    assert f"{lab}/other is based on" in layerctl("commit", *stack).stderr


@pytest.mark.namespace
@pytest.mark.parametrize("reason", ["trim", "another lower layer"])
def test_no_warning_without_need(lab: Path, reason: str) -> None:
    stack = build(lab, "other")
    if reason == "trim":
        assert "is based on" not in layerctl("trim", *stack).stderr
        return
    (lab / "l/d/file").unlink()
    (lab / "l/d").rename(lab / "elsewhere")
    (lab / "l/d").mkdir()
    assert "is based on" not in layerctl("commit", *stack).stderr

"""Scripts pay for every import: rich and psutil are for people and for `umount` that is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_RUN = """
import sys
from layerctl.cli.main import main
code = main(sys.argv[1:])
heavy = {"rich", "psutil"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else code)
"""


def _light(*arguments: str, code: int = 0) -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("--help",), ("list", "--json"), ("inspect", "aufs", "--json")],
    ids=" ".join,
)
def test_commands_that_look_at_no_mount(arguments: tuple[str, ...]) -> None:
    _light(*arguments)


@pytest.mark.namespace
def test_commands_that_look_at_layers(lab: Path) -> None:
    for name in ("up", "low", "merged"):
        (lab / name).mkdir()
    layers = ("-u", "up", "-l", "low")
    for code, line in (
        (0, ("mount", "-n", *layers, "merged", "--json")),
        (0, ("mount", *layers, "merged", "--json")),
        (0, ("list", "--jsonl")),
        (0, ("list", "--raw")),
        (0, ("inspect", "mount", "merged", "--json")),
        (0, ("inspect", "merged", "merged", "--json")),
        (3, ("inspect", "merged", "merged", "nothing", "--json")),
        (0, ("inspect", "merged", *layers, "--jsonl")),
        (0, ("inspect", "whiteouts", "merged", "--json")),
        (0, ("doctor", "merged", "--json", "--no-probe")),
        (0, ("umount", "merged", "--json")),
        (32, ("mount", "-l", "low", "-l", "missing", "merged", "--json")),
        (0, ("schema", "mount")),
    ):
        _light(*line, code=code)

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
heavy = {"rich", "psutil", "subprocess", "asyncio"} & set(sys.modules)
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

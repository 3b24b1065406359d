"""Scripts pay for every import: rich and psutil are for people and for `umount` that is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

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


def _modules(*arguments: str, cwd: Path) -> set[str]:
    """Return the project's own modules that a command has imported when it ends."""
    code = (
        "import sys\n"
        "from layerctl.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "print(*(name for name in sys.modules if name.startswith('layerctl')), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.removeprefix("layerctl.") for name in done.stderr.splitlines()[-1].split()}


def test_the_version_costs_nothing_but_the_command_line(tmp_path: Path) -> None:
    """A module more is a price that every script pays: add it here if it must be."""
    assert _modules("--version", cwd=tmp_path) == {
        "layerctl", "cli", "cli.help", "cli.main", "errors", "model",
    }  # fmt: skip


@pytest.mark.namespace
def test_a_mount_imports_what_it_needs_and_no_more(lab: Path) -> None:
    for name in ("up", "low", "merged"):
        (lab / name).mkdir()
    loaded = _modules("mount", "-u", "up", "-l", "low", "merged", "--json", cwd=lab)
    assert not {one for one in loaded if one.startswith(("inspecting", "diagnosing.reading"))}
    assert not {one for one in loaded if one.startswith("diagnosing.catalogue")}

"""Scripts pay for every import: rich and psutil are for people and for `umount` that is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.kernel import context
from tests.support import ROOT

_RUN = """
import sys
before = set(sys.modules)
from layerctl.cli.main import main
code = main(sys.argv[1:])
print(*(set(sys.modules) - before), file=sys.stderr)
sys.exit(code)
"""


def _imported(*arguments: str, code: int = 0) -> tuple[set[str], set[str]]:
    """Return the project's own modules that a command has imported when it ends, and libraries."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    names = done.stderr.splitlines()[-1].split()
    tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    ours = {name.removeprefix("layerctl.") for name in names if name.startswith("layerctl.")}
    return ours, tops - {"layerctl"}


@pytest.mark.parametrize(
    "arguments",
    [("--version",), ("--help",), ("list", "--json"), ("inspect", "aufs", "--json")],
    ids=" ".join,
)
def test_commands_that_look_at_no_mount(arguments: tuple[str, ...]) -> None:
    assert _imported(*arguments)[1] == {"click"}


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
        assert _imported(*line, code=code)[1] == {"click"}, line


#: What every run imports. A module more is a price that every script pays: add it if it must be.
MAIN = {"cli", "cli.help", "cli.main", "errors", "model"}
HELP = MAIN | {"cli.examples", "render", "render.human"}
#: What a mount that succeeds imports of each room, on a kernel that takes layers as descriptors.
ROOMS = {
    "cli": "common complete mount",
    "codecs": "escape mountinfo overlay request words",
    "diagnosing": "checks clue commands preflight",
    "diagnosing.checks": "branches check layers options overlap plan stacking storage support work",
    "kernel": "beneath context facts kmsg layers making mounts paths process standing syscalls",
    "kernel.facts": "common gather modules overlay",
    "mounting": "apply build choose plan prepare readback run",
    "render": "errors",
    "rules": "aufs filesystems flags limits options overlay releases validity words",
    "usecases": "mount stacks",
}
MOUNT = (
    MAIN
    | set(ROOMS)
    | {f"{room}.{name}" for room, names in ROOMS.items() for name in names.split()}
)
#: What builds a mount apart, where the kernel takes no descriptors.
APART = {"kernel.child", "kernel.private_names", "kernel.uncover"}


@pytest.mark.parametrize(("argument", "modules"), [("--version", MAIN), ("--help", HELP)])
def test_the_command_line_costs_nothing_else(argument: str, modules: set[str]) -> None:
    assert _imported(argument) == (modules, {"click"})


@pytest.mark.namespace
def test_a_mount_imports_what_it_needs_and_no_more(lab: Path) -> None:
    for name in ("up", "low", "merged"):
        (lab / name).mkdir()
    ours, libraries = _imported("mount", "-u", "up", "-l", "low", "merged")
    older = set() if context.overlay_features().by_descriptor else APART
    assert (ours - older, libraries) == (MOUNT, {"click"})


@pytest.mark.namespace
def test_a_run_that_changes_nothing_reads_no_layers() -> None:
    ours, libraries = _imported("run", "--", "true")
    assert libraries == {"click"}
    assert not [name for name in ours if name.startswith(("inspecting.", "render.t", "mounting."))]

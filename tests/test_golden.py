"""Every command in every format, with odd names, against the files of tests/golden.

`make golden` writes the files anew: read the difference before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerctl.render.columns import Listing
from layerctl.render.tables import DOCUMENTS
from tests.support import command_of, layerctl, valid

GOLDEN = Path(__file__).parent / "golden"
INPUT = GOLDEN / "input"
UPDATE = bool(os.environ.get("LAYERCTL_UPDATE_GOLDEN"))

FORMATS: dict[str, tuple[str, ...]] = {
    "txt": (),
    "json": ("--json",),
    "jsonl": ("--jsonl",),
    "raw": ("--raw",),
    "null": ("-0",),
}
_RECORDED = ("--mountinfo", "mountinfo", "--sysfs", "sysfs")
_TARGET = "/srv/two lines\nand\\a backslash"

#: What reads a recorded mountinfo and sysfs: the output is the same on every machine.
RECORDED: dict[str, tuple[str, ...]] = {
    "list": ("list", *_RECORDED),
    "list-columns": ("list", *_RECORDED, "--output", "+upper,work,Options,read_only"),
    "list-noheadings": ("list", *_RECORDED, "--output", "TYPE,TARGET", "--noheadings"),
    "inspect-mount": ("inspect", "mount", *_RECORDED, _TARGET),
    "inspect-aufs": ("inspect", "aufs", *_RECORDED, "si_a1b2"),
}


def check(name: str, form: str, arguments: tuple[str, ...], cwd: Path) -> None:
    """Run a command in one format; compare with its golden file, and JSON with its schema."""
    done = layerctl(*arguments, *FORMATS[form], cwd=cwd)
    assert done.returncode in (0, 1), done.stderr
    output = done.stdout.encode("utf-8", "surrogateescape")
    file = GOLDEN / f"{name}.{form}"
    if UPDATE:
        file.write_bytes(output)
    assert output == file.read_bytes()
    command = command_of(arguments)
    if form.startswith("json") and "--output" not in arguments:
        rows = next(one.key for one in DOCUMENTS[command] if isinstance(one, Listing))
        for text in [done.stdout] if form == "json" else done.stdout.splitlines():
            valid(command, text, rows if form == "jsonl" else "")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", RECORDED)
def test_what_was_recorded(name: str, form: str) -> None:
    check(name, form, RECORDED[name], INPUT)


def test_no_golden_file_is_left_over() -> None:
    names = {f"{name}.{form}" for name in RECORDED for form in FORMATS}
    assert {file.name for file in GOLDEN.iterdir() if file.is_file()} == names

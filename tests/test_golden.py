"""Every command in every format, with odd names, against the files of tests/golden.

`make golden` writes the files again: read the difference before it is committed.
"""

from __future__ import annotations

import os
import re
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


_LAYERS = ("-u", "up", "-l", "middle", "-l", "low")

#: What looks at layers, in the directory that `_layers` fills.
LAYERED: dict[str, tuple[str, ...]] = {
    "merged": ("inspect", "merged", *_LAYERS),
    "merged-columns": ("inspect", "merged", *_LAYERS, "--output", "+merged_from,reachable"),
    "merged-details": (
        "inspect", "merged", *_LAYERS, "--sort", "size", "--output", "path,size,mode,owner,target",
    ),
    "merged-summary": ("inspect", "merged", *_LAYERS, "--summary"),
    "story": ("inspect", "merged", *_LAYERS, "new\nline"),
    "story-deleted": ("inspect", "merged", *_LAYERS, "deleted/é"),
    "whiteouts": ("inspect", "whiteouts", *_LAYERS),
    "changes": ("inspect", "changes", *_LAYERS),
    "doctor": ("doctor", "--no-probe", "-u", "up", "-l", "no\nsuch", "-l", "low", "dir"),
    "explain": ("explain", "overlapping-layers"),
}  # fmt: skip

#: Commands that write no rows: for people, and as JSON.
PLAIN: dict[str, tuple[str, ...]] = {
    "dry-run": ("mount", "-n", "--api", "mount", "-u", "up", "-w", "wo,rk", "-l", "low", "m"),
    "print-command": ("mount", "--print", "command", "-u", "up", "-w", "wo,rk", "-l", "low", "m"),
    "error": ("mount", "-u", "up", "-l", os.fsdecode(b"\xff"), "m"),
    "umount-error": ("umount", "no\nsuch"),
    "schema": ("schema", "list"),
}


def _layers(lab: Path) -> None:
    """Make three layers with odd names: a whiteout, an opaque directory, a merged one."""
    for name in ("low/deleted", "low/dir", "low/opaque", "middle/dir", "up/dir", "up/opaque"):
        (lab / name).mkdir(parents=True)
    for name in ("low/deleted/é", "low/dir/a b", "low/opaque/gone", "low/new\nline"):
        (lab / name).write_text("low\n")
    (lab / "middle" / "new\nline").write_text("middle\n")
    (lab / "middle" / os.fsdecode(b"\xff\\,")).write_text("")
    (lab / "middle" / "link").symlink_to("dir")
    os.mknod(lab / "up" / "deleted", 0o020000, 0)
    os.setxattr(lab / "up" / "opaque", "trusted.overlay.opaque", b"y")
    for above, directories, files in os.walk(lab):
        for entry in (*directories, *files):
            os.utime(f"{above}/{entry}", (10**9, 10**9), follow_symlinks=False)


def check(name: str, form: str, arguments: tuple[str, ...], cwd: Path) -> None:
    """Run a command in one format; compare with its golden file, and JSON with its schema."""
    done = layerctl(*arguments, *FORMATS[form], cwd=cwd, env={"TZ": "UTC"})
    output = (done.stdout or done.stderr).encode("utf-8", "surrogateescape")
    output = re.sub(rb', "checks": \[.*\]', b"", output)  # what doctor looked at, a long list
    file = GOLDEN / f"{name}.{form}"
    if UPDATE:
        file.write_bytes(output)
    assert output == file.read_bytes()
    command = command_of(arguments)
    if form.startswith("json") and "--output" not in arguments:
        keys = [one.key for one in DOCUMENTS[command] if isinstance(one, Listing)]
        rows = {"story": "layers", "story-deleted": "layers", "merged-summary": "summary"}
        if not done.stdout:
            command = "error"
        for text in [done.stdout or done.stderr] if form == "json" else done.stdout.splitlines():
            valid(command, text, rows.get(name, keys[0]) if form == "jsonl" else "")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", RECORDED)
def test_what_was_recorded(name: str, form: str) -> None:
    check(name, form, RECORDED[name], INPUT)


@pytest.mark.namespace(place=Path("/mnt"))
@pytest.mark.parametrize("name", LAYERED)
def test_what_lies_in_layers(name: str, lab: Path) -> None:
    _layers(lab)
    for form in FORMATS:
        check(name, form, LAYERED[name], lab)


@pytest.mark.namespace(place=Path("/mnt"))
@pytest.mark.parametrize("name", PLAIN)
def test_what_has_no_rows(name: str, lab: Path) -> None:
    _layers(lab)
    (lab / "wo,rk").mkdir()
    (lab / "m").mkdir()
    for form in _forms(name):
        check(name, form, PLAIN[name], lab)


def _forms(name: str) -> tuple[str, ...]:
    return ("txt",) if name in ("schema", "print-command") else ("txt", "json")


def test_no_golden_file_is_left_over() -> None:
    names = {f"{name}.{form}" for name in (*RECORDED, *LAYERED) for form in FORMATS}
    names |= {f"{name}.{form}" for name in PLAIN for form in _forms(name)}
    assert {file.name for file in GOLDEN.iterdir() if file.is_file()} == names

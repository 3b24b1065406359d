"""The progress line: on a terminal alone, gone at the end, and never among the data."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.render import progress

PROGRAM = """
import sys
from layerctl.render import progress
progress._FIRST = progress._NEXT = 0.0
for item in progress.watched(["a", "bb"], len, shown_as_found=sys.argv[1] == "yes"):
    print(item)
"""


def run(shown_as_found: str, *, out: bool) -> tuple[bytes, bytes]:
    """Run with standard error, and perhaps standard output, on a terminal; return both."""
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, shown_as_found],
        stdout=slave if out else subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        check=True,
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # EIO: nobody has the other end any more
            break
        if not part:
            break
        seen += part
    os.close(master)
    return done.stdout or b"", seen


def test_a_walk_is_counted_and_the_line_taken_away() -> None:
    stdout, seen = run("yes", out=False)
    assert stdout == b"a\nbb\n"
    assert b"1 so far" in seen
    assert b"3 so far" in seen
    assert seen.endswith(b"\r\x1b[K")


def test_what_shows_itself_is_not_counted() -> None:
    assert b"so far" not in run("yes", out=True)[1]
    assert b"so far" in run("no", out=True)[1]


def test_no_terminal_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.watched(["a"], len, shown_as_found=False)) == ["a"]
    assert capsys.readouterr().err == ""

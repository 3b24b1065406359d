"""Standard streams that are full, closed, broken or cut short: the end is a good program's."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from layerctl.errors import EXIT_INTERRUPTED, EXIT_NOT_FOUND, EXIT_OUTPUT
from tests.support import ROOT, layerctl

RECORDED = Path(__file__).parent / "golden" / "input" / "mountinfo"
LIST = ("list", "--mountinfo", str(RECORDED))
FORMATS = [(), ("--json",), ("--jsonl",), ("--raw",), ("-0",), ("--list-columns",)]


def _shell(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `script` in a shell where "$@" is the program with `arguments`."""
    return subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "layerctl", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("arguments", [*((*LIST, *form) for form in FORMATS), ("--version",)])
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_output_that_cannot_be_written(
    redirection: str, reason: str, arguments: tuple[str, ...]
) -> None:
    done = _shell(f'"$@" {redirection}', *arguments)
    assert done.returncode == EXIT_OUTPUT
    said = f"the output could not be written: {reason}"
    if {"--json", "--jsonl"} & set(arguments):
        error = json.loads(done.stderr)["error"]
        assert (error["message"], error["exit_code"]) == (said, EXIT_OUTPUT)
    else:
        assert done.stderr == f"layerctl: {said}  [output-not-written]\n"


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>&- >&- <&-"])
def test_an_error_that_nobody_hears_keeps_its_code(redirection: str) -> None:
    done = _shell(f'"$@" {redirection}', "list", "--mountinfo", "/nonexistent")
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_NOT_FOUND, "", "")


@pytest.mark.parametrize("form", FORMATS)
def test_a_closed_pipe_ends_it_as_sigpipe_does(form: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "layerctl", *LIST, *form],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def _interrupted(number: signal.Signals, pipe: Path) -> tuple[int, str, str]:
    """Run a list of a mountinfo that never ends, and send a signal when it is being read."""
    os.mkfifo(pipe)
    child = subprocess.Popen(
        [sys.executable, "-m", "layerctl", "list", "--json", "--mountinfo", str(pipe)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pipe.open("w"):  # opening it waits for the program to read
        child.send_signal(number)
        out, err = child.communicate()
    return child.returncode, out, err


def test_control_c(tmp_path: Path) -> None:
    code, out, err = _interrupted(signal.SIGINT, tmp_path / "pipe")
    assert (code, out) == (EXIT_INTERRUPTED, "")
    assert json.loads(err)["error"]["id"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_terminated(number: signal.Signals, tmp_path: Path) -> None:
    code, out, _ = _interrupted(number, tmp_path / "pipe")
    assert (code, out) == (128 + number, "")


def test_nohup_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").touch()
    done = _shell('trap "" HUP; "$@" && echo fine', "list", "--json", "--mountinfo", str(RECORDED))
    assert done.stdout.endswith("fine\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_on_standard_output_before_there_is_data(as_json: bool) -> None:
    arguments = ("inspect", "mount", "/nonexistent", *(["--json"] if as_json else []))
    done = layerctl(*arguments)
    assert (done.returncode, done.stdout) == (EXIT_NOT_FOUND, "")
    if as_json:
        assert json.loads(done.stderr)["error"]["id"] == "target-missing"


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "no_SUCH.locale"])
def test_any_locale(locale: str) -> None:
    done = layerctl(*LIST, "--raw", "--output", "TOP", env={"LC_ALL": locale})
    assert done.stdout.splitlines()[1] == r"/u/\xffcafé"


@pytest.mark.parametrize(
    "arguments",
    [LIST, (*LIST, "--raw")],
)
def test_an_encoding_that_lacks_what_is_shown(arguments: tuple[str, ...]) -> None:
    done = layerctl(*arguments, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environment", "arguments", "coloured"),
    [
        ({}, (), False),
        ({}, ("--color", "always"), True),
        ({"NO_COLOR": "1"}, ("--color", "always"), True),
        ({}, ("--color", "never"), False),
        ({"FORCE_COLOR": "1"}, ("--color", "never"), False),
    ],
)
def test_colour_where_it_was_asked_for(
    environment: dict[str, str], arguments: tuple[str, ...], coloured: bool
) -> None:
    done = layerctl(*LIST, *arguments, env=environment)
    assert ("\x1b[" in done.stdout) is coloured
    done = layerctl("doctor", "-l", "/nonexistent", *arguments, env=environment)
    assert ("\x1b[" in done.stdout) is coloured


def test_a_terminal_is_filled_and_not_passed() -> None:
    """On a terminal of 40 columns each value has a line of its own, and none is longer."""
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 40))
    child = subprocess.Popen(
        [sys.executable, "-m", "layerctl", "--no-pager", *LIST, "--color", "never"],
        env={"PYTHONPATH": str(ROOT), "TERM": "xterm", "LC_ALL": "C.UTF-8"},
        stdin=terminal,
        stdout=terminal,
    )
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the program has ended
        while more := os.read(master, 4096):
            seen += more
    os.close(master)
    assert child.wait() == 0
    lines = seen.decode().replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 40
    assert len(lines) > 6

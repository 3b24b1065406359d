"""Examples in Markdown: run as they stand, and compared with the output that stands there.

A block that begins with ```console holds commands behind `$ ` and what they print. All blocks of a
page run in one shell, as root of a namespace, in an empty /mnt. A line `...` matches any lines, a
date any date. A command may set the exit code it ends with in a comment behind it: `# exit 32`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT, program

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: The separator of results in the output of the shell; no command prints it.
_MARK = "\x1e"


class Step(NamedTuple):
    """A command with the lines that it prints."""

    command: str
    expected: list[str]

    @property
    def code(self) -> int:
        """The exit code that the command ends with."""
        said = re.search(r"# exit (\d+)$", self.command)
        return int(said[1]) if said else 0


def steps(block: str) -> list[Step]:
    """Return the commands of one block; `> ` continues a command."""
    found: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:], []))
        elif line.startswith("> ") and not found[-1].expected:
            found[-1] = Step(f"{found[-1].command}\n{line[2:]}", [])
        else:
            found[-1].expected.append(line)
    return found


def run(commands: list[str], lab: Path) -> list[tuple[str, int]]:
    """Run commands in one shell and return what each printed, and its exit code."""
    script = "".join(
        f"eval {shlex.quote(command)}\nprintf '{_MARK}%d{_MARK}' $?\n" for command in commands
    )
    with tempfile.TemporaryDirectory() as programs:
        path = program(Path(programs))
        done = subprocess.run(
            ["sh", "-c", f"exec 2>&1\n{script}"],
            cwd=lab,
            env={**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", "TMPDIR": str(lab)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
        )
    parts = done.stdout.split(_MARK)
    return [(output, int(code)) for output, code in zip(parts[::2], parts[1::2], strict=False)]


def agrees(expected: list[str], printed: str) -> bool:
    """Tell whether lines are what was printed, `...` standing for any, one date for another."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(_undated(line)) + r"\n" for line in expected
    )
    ended = printed if printed.endswith("\n") or not printed else f"{printed}\n"
    return re.fullmatch(pattern, _undated(ended)) is not None


def _undated(text: str) -> str:
    return re.sub(r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b", "DATE", text)


def rewritten(text: str, lab: Path) -> tuple[str, list[str]]:
    """Run a page; return it with what its commands print now, and what is not as it stands."""
    blocks = [steps(match[1]) for match in _BLOCK.finditer(text)]
    flat = [step for block in blocks for step in block]
    answers = iter(run([step.command for step in flat], lab))
    wrong: list[str] = []

    def block(match: re.Match[str]) -> str:
        lines = []
        for step in steps(match[1]):
            printed, code = next(answers, ("(the shell ended)", -1))
            if code != step.code:
                wrong.append(f"$ {step.command}\nexit code {code}, not {step.code}\n{printed}")
            lines.append("$ " + step.command.replace("\n", "\n> "))
            if agrees(step.expected, printed):
                lines += step.expected
            else:
                wrong.append(f"$ {step.command}\n{printed}")
                lines += printed.splitlines()
        return "```console\n" + "".join(f"{line}\n" for line in lines) + "```"

    return _BLOCK.sub(block, text), wrong

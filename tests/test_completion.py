"""bash, zsh and fish themselves, on a terminal of their own, complete what a user types."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from layerctl.render.columns import Listing
from layerctl.render.tables import DOCUMENTS, WHICH
from layerctl.rules.options import AUFS, FLAGS, OVERLAY
from tests.support import ROOT, program

#: How each shell starts without the user's files, and loads the completions.
SHELLS: dict[str, tuple[list[str], str]] = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"source '{ROOT}/completions/layerctl.bash'"),
    "zsh": (
        ["zsh", "-f", "-i"],
        f"fpath=('{ROOT}/completions' $fpath); autoload -U compinit; compinit -u -D",
    ),
    "fish": (["fish", "--no-config", "-i"], f"source '{ROOT}/completions/layerctl.fish'"),
}


def _environment(lab: Path) -> dict[str, str]:
    """Return an environment where `layerctl` is the program of this checkout."""
    programs = lab / "bin"
    programs.mkdir(exist_ok=True)
    return {
        "PATH": program(programs),
        "PYTHONPATH": str(ROOT),
        "HOME": str(lab),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "PS1": "$ ",
    }


def typed(shell: str, line: str, lab: Path) -> list[str]:
    """Return the words that a line has become when TAB was pressed behind it."""
    command, load = SHELLS[shell]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(lab)
        os.execvpe(command[0], command, _environment(lab))
    try:
        ready = _answer(terminal, f"{load}; printf 'rea%s' dy\n", "ready")
        assert ready
        # Home, then a command that shows the words as the shell takes them.
        keys = f"{line}\t\x01printf '<%s>' begin \x05 end\n"
        found = _answer(terminal, keys, r"<begin>(.*?)<end>")
        return re.findall(r"<([^>]*)>", found)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def _answer(terminal: int, keys: str, pattern: str) -> str:
    os.write(terminal, keys.encode())
    seen = ""
    deadline = time.monotonic() + 30
    while not (match := re.search(pattern, seen, re.DOTALL)):
        left = deadline - time.monotonic()
        assert left > 0, seen
        if select.select([terminal], [], [], left)[0]:
            seen += os.read(terminal, 4096).decode("utf-8", "replace")
    return match[1] if match.lastindex else match[0]


def _mounted(lab: Path) -> None:
    for name in ("low", "up", "work", "merged dir"):
        (lab / name).mkdir()
    (lab / "low" / "inner").touch()
    (lab / "some text").touch()
    options = "lowerdir=low,upperdir=up,workdir=work"
    syscalls.mount("o", str(lab / "merged dir"), "overlay", 0, options)


@pytest.mark.namespace
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "words"),
    {
        "layerctl umo": ["layerctl", "umount"],
        "layerctl inspect au": ["layerctl", "inspect", "aufs"],
        "layerctl list --nohead": ["layerctl", "list", "--noheadings"],
        "layerctl list --color alw": ["layerctl", "list", "--color", "always"],
        "layerctl inspect mount LAB/m": ["layerctl", "inspect", "mount", "LAB/merged dir"],
        "layerctl inspect merged LAB/m": ["layerctl", "inspect", "merged", "LAB/merged dir"],
        r"layerctl inspect merged merged\ dir in": [
            "layerctl", "inspect", "merged", "merged dir", "inner",
        ],
        "layerctl explain overlapping-": ["layerctl", "explain", "overlapping-layers"],
        "layerctl umount m": ["layerctl", "umount", "merged dir"],
        "layerctl mount -t overlay -o redir": [
            "layerctl", "mount", "-t", "overlay", "-o", "redirect_dir=",
        ],
        "layerctl mount -o ro,redirect_dir=fo": [
            "layerctl", "mount", "-o", "ro,redirect_dir=follow",
        ],
        "layerctl mount -t aufs -o udba=no": ["layerctl", "mount", "-t", "aufs", "-o", "udba=no"],
        "layerctl mount -t aufs -o udba=not": [
            "layerctl", "mount", "-t", "aufs", "-o", "udba=notify",
        ],
        "layerctl mount -o lowerdir=lo": ["layerctl", "mount", "-o", "lowerdir=low"],
        r"layerctl mount -o lowerdir=merged\ dir:lo": [
            "layerctl", "mount", "-o", "lowerdir=merged dir:low",
        ],
        "layerctl mount -l lo": ["layerctl", "mount", "-l", "low"],
        "layerctl list --output DEP": ["layerctl", "list", "--output", "DEPTH"],
        "layerctl list --output TARGET,op": ["layerctl", "list", "--output", "TARGET,options"],
        "layerctl list --output +engi": ["layerctl", "list", "--output", "+engine"],
        "layerctl inspect merged --output MERGED": [
            "layerctl", "inspect", "merged", "--output", "MERGED_FROM",
        ],
        "layerctl doctor --from some": ["layerctl", "doctor", "--from", "some text"],
    }.items(),
)  # fmt: skip
def test_a_shell_completes(shell: str, lab: Path, line: str, words: list[str]) -> None:
    _mounted(lab)
    found = typed(shell, line.replace("LAB", str(lab)), lab)
    found[-1] = found[-1].removesuffix("/")  # zsh takes it away before a blank
    assert found == [word.replace("LAB", str(lab)) for word in words]


def _offered(line: str, lab: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "layerctl"],
        cwd=lab,
        env={**_environment(lab), "COMP_LINE": line, "_LAYERCTL_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return [word.split("\t")[0] for word in done.stdout.splitlines() if word]


@pytest.mark.namespace
@pytest.mark.parametrize(
    "command",
    ["umount", "inspect mount", "inspect merged", "inspect whiteouts", "doctor"],
)
def test_every_live_mount_is_offered(lab: Path, command: str) -> None:
    _mounted(lab)
    offered = _offered(f"layerctl {command} ", lab)
    assert {f"{lab}/merged dir", "merged dir"} <= set(offered)


@pytest.mark.parametrize(("fstype", "table"), [("overlay", OVERLAY), ("aufs", AUFS)])
def test_every_mount_option_of_the_type_at_hand_is_offered(
    fstype: str, table: tuple[object, ...], tmp_path: Path
) -> None:
    names = {option.name for option in (*table, *FLAGS)}  # type: ignore[attr-defined]  # Options
    offered = _offered(f"layerctl mount -t {fstype} -o ", tmp_path)
    assert {word.removesuffix("=") for word in offered} == names


def test_every_column_is_offered_that_the_list_does_not_name(tmp_path: Path) -> None:
    names = [column.name for column in WHICH.columns]
    assert _offered("layerctl which --output ", tmp_path) == names
    assert _offered("layerctl which --output +", tmp_path) == [f"+{name}" for name in names]
    named = f"{names[0].lower()},{names[2]}"
    assert _offered(f"layerctl which --output {named},", tmp_path) == [
        f"{named},{name}" for name in names if name not in (names[0], names[2])
    ]
    for name, documents in DOCUMENTS.items():
        listings = [one for one in documents if isinstance(one, Listing) and one.shown]
        if listings and name.partition(" ")[2] not in ("add", "append", "prepend", "del", "mod"):
            offered = _offered(f"layerctl {name} --output ", tmp_path)
            assert set(offered) == {one.name for listing in listings for one in listing.columns}


def test_the_type_at_hand_follows_from_what_was_typed(tmp_path: Path) -> None:
    assert _offered("layerctl mount -b a=rw -o udb", tmp_path) == ["udba="]
    assert _offered("layerctl mount -o br=a,udb", tmp_path) == ["br=a,udba="]
    assert _offered("layerctl mount -l a -o udb", tmp_path) == []


def test_the_scripts_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate.py", "--check"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")

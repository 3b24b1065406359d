"""Ratios of what two commands cost."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

Command = Sequence[str]

_SCRIPT = Path(sys.executable).with_name("layerctl")
LAYERCTL: Command = (str(_SCRIPT),) if _SCRIPT.exists() else (sys.executable, "-m", "layerctl")
#: The unit of comparison: what any program with click needs before it does anything.
IMPORT_CLICK: Command = (sys.executable, "-c", "import click")


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Ratio:
    """How much longer `command` may take than `against`; untimed undos follow each run."""

    name: str
    command: Command
    against: Command
    limit: float
    undo: Callable[[], object] = _nothing
    undo_against: Callable[[], object] = _nothing
    runs: int = 15


class Spent(NamedTuple):
    """Wall-clock and CPU seconds of the process and its children."""

    wall: float
    cpu: float


def _processors() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(command: Command, undo: Callable[[], object]) -> Spent:
    worked, start = _processors(), time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    spent = Spent(time.perf_counter() - start, _processors() - worked)
    assert done.returncode == 0, (command, done.stderr)
    undo()
    return spent


def measure(ratio: Ratio) -> list[tuple[Spent, Spent]]:
    """Return the times of each pair of runs, after one pair that does not count."""
    return [
        (_run(ratio.command, ratio.undo), _run(ratio.against, ratio.undo_against))
        for _ in range(ratio.runs + 1)
    ][1:]

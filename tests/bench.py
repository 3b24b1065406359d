"""What the program costs, as ratios of whole processes: the two sides run in turn, medians count.

The ratio of each pair of runs is taken, so that it holds where a machine is busy by turns; that of
the time that passed is limited, that of the processors' time (of all processes) stands beside it.

Every module tests/bench_*.py has a function `ratios()` that makes what it needs in the working
directory, an empty tmpfs, and yields `Ratio`s. Exit code 1 says that one is over its limit.
"""

from __future__ import annotations

import compileall
import importlib
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import layerctl
from tests.support import in_namespace

Command = Sequence[str]

_SCRIPT = Path(sys.executable).with_name("layerctl")
LAYERCTL: Command = (str(_SCRIPT),) if _SCRIPT.exists() else (sys.executable, "-m", "layerctl")
#: The yardstick: what any program with click pays before it does anything.
IMPORT_CLICK: Command = (sys.executable, "-c", "import click")


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Ratio:
    """How much longer `command` may take than `against`; the undos follow each run, untimed."""

    name: str
    command: Command
    against: Command
    limit: float
    undo: Callable[[], object] = _nothing
    undo_against: Callable[[], object] = _nothing
    runs: int = 15


class Spent(NamedTuple):
    """Seconds that passed, and those that processors worked, in the process and its children."""

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
    """Return what both sides spent in each pair of runs, after one pair that does not count."""
    return [
        (_run(ratio.command, ratio.undo), _run(ratio.against, ratio.undo_against))
        for _ in range(ratio.runs + 1)
    ][1:]


def _bench(lab: Path) -> bool:
    good = True
    # As an installation does; in a checkout every run would compile anew where bytecode is not kept
    compileall.compile_dir(Path(layerctl.__file__).parent, quiet=1)
    for file in sorted(Path(__file__).parent.glob("bench_*.py")):
        (lab / file.stem).mkdir()
        os.chdir(lab / file.stem)
        for ratio in importlib.import_module(f"tests.{file.stem}").ratios():
            pairs = measure(ratio)
            wall = statistics.median(one.wall / other.wall for one, other in pairs)
            cpu = statistics.median(one.cpu / other.cpu for one, other in pairs)
            one, other = (statistics.median(pair[side].wall for pair in pairs) for side in (0, 1))
            within = wall <= ratio.limit
            good &= within
            print(
                f"{ratio.name:<66} {wall:6.2f}  cpu {cpu:6.2f}  at most {ratio.limit:g}"
                f"  ({one * 1000:.0f} / {other * 1000:.0f} ms){'' if within else '  OVER'}",
                flush=True,
            )
    return good


if __name__ == "__main__":
    sys.exit(0 if in_namespace(_bench, user=os.geteuid() != 0) else 1)

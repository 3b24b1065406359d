"""What the program costs, as ratios of whole processes: the two sides run in turn, medians count.

Every module tests/bench_*.py has a function `ratios()` that makes what it needs in the working
directory, an empty tmpfs, and yields `Ratio`s. Exit code 1 says that one is over its limit.
"""

from __future__ import annotations

import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

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


def _seconds(command: Command, undo: Callable[[], object]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    spent = time.perf_counter() - start
    assert done.returncode == 0, (command, done.stderr)
    undo()
    return spent


def measure(ratio: Ratio) -> tuple[float, float]:
    """Return the median seconds of both sides, after one run of each that does not count."""
    pairs = [
        (_seconds(ratio.command, ratio.undo), _seconds(ratio.against, ratio.undo_against))
        for _ in range(ratio.runs + 1)
    ][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _bench(lab: Path) -> bool:
    good = True
    for file in sorted(Path(__file__).parent.glob("bench_*.py")):
        (lab / file.stem).mkdir()
        os.chdir(lab / file.stem)
        for ratio in importlib.import_module(f"tests.{file.stem}").ratios():
            one, other = measure(ratio)
            within = one <= ratio.limit * other
            good &= within
            print(
                f"{ratio.name:<62} {one / other:6.2f}  at most {ratio.limit:g}"
                f"  ({one * 1000:.0f} / {other * 1000:.0f} ms){'' if within else '  OVER'}",
                flush=True,
            )
    return good


if __name__ == "__main__":
    sys.exit(0 if in_namespace(_bench, user=os.geteuid() != 0) else 1)

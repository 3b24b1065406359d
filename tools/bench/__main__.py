"""What the program costs, as ratios of whole processes: the two sides run in turn, medians count.

The ratio of each pair of runs is taken, so that it holds where a machine is busy by turns; that of
the time that passed is limited, that of the processors' time (of all processes) stands beside it.

Every module here but `ratio` has a function `ratios()` that makes what it needs in the working
directory, an empty tmpfs, and yields `Ratio`s. Exit code 1 says that one is over its limit.
"""

from __future__ import annotations

import compileall
import os
import statistics
import sys
from pathlib import Path

import layerctl
from tests.support import in_namespace
from tools.bench import doctor, inspect, start
from tools.bench.ratio import measure


def _bench(lab: Path) -> bool:
    good = True
    # As an installation does; in a checkout every run would compile anew where bytecode is not kept
    compileall.compile_dir(Path(layerctl.__file__).parent, quiet=1)
    for module in (doctor, inspect, start):
        directory = lab / module.__name__
        directory.mkdir()
        os.chdir(directory)
        for ratio in module.ratios():
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

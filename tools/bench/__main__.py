"""Run time of the program, as ratios of whole processes that run in turn; print the medians.

The median is taken over the ratios of the pairs, so that a load that comes and goes matters less.
Wall-clock time has the limit; CPU time, of all processes, is printed next to it.

Every module here but `ratio` has a function `ratios()` that makes what it needs in the working
directory, an empty tmpfs, and yields `Ratio`s. The exit code is 1 if one is over its limit.
"""

from __future__ import annotations

import compileall
import os
import statistics
import sys
from pathlib import Path

import layerctl
from tests.support import in_namespace
from tools.bench import archives, doctor, inspect, running, start, stores, working
from tools.bench.ratio import measure


def _bench(lab: Path) -> bool:
    good = True
    # As an installation does; otherwise every run compiles again if bytecode is not written
    compileall.compile_dir(Path(layerctl.__file__).parent, quiet=1)
    for module in (archives, doctor, inspect, running, start, stores, working):
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

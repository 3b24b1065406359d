"""Run time of a throwaway run that does nothing, on a machine with ten mount points more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from layerctl.kernel import syscalls
from tools.bench.ratio import LAYERCTL, Ratio


def ratios() -> Iterator[Ratio]:
    """Yield the comparisons; with bubblewrap only if it is installed."""
    for name in ("upper", "lower", "merged", *(f"point{number}" for number in range(10))):
        os.mkdir(name)
        if name.startswith("point"):
            syscalls.mount("bench", name, "tmpfs", 0, "")
    program = " ".join(LAYERCTL)
    both = f"{program} mount -u upper -l lower merged && {program} umount merged"
    run = (*LAYERCTL, "run", "--", "true")
    yield Ratio("run of true / mount and umount of one overlay", run, ("sh", "-c", both), 2.5)
    if shutil.which("bwrap"):
        wrapped = ("bwrap", "--ro-bind", "/", "/", "true")
        yield Ratio("run of true / bwrap --ro-bind / / true", run, wrapped, 100)

"""Run time of start-up and of `mount`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from layerctl.kernel import syscalls
from tools.bench.ratio import IMPORT_CLICK, LAYERCTL, Ratio


def _umount() -> None:
    syscalls.umount2("merged", 0)


def ratios() -> Iterator[Ratio]:
    """Yield the comparisons."""
    for name in ("upper", "lower", "merged"):
        os.mkdir(name)
    Path("lower", "file").touch()
    for number in range(500):
        os.mkdir(f"l{number}")
    two = (*LAYERCTL, "mount", "-u", "upper", "-l", "lower", "merged")
    many = (*LAYERCTL, "mount", *(f"-ll{number}" for number in range(500)), "merged")
    yield Ratio("layerctl --version / import click", (*LAYERCTL, "--version"), IMPORT_CLICK, 1.3)
    yield Ratio("mount of two layers / import click", two, IMPORT_CLICK, 1.6, _umount)
    yield Ratio("mount of 500 layers / mount of two", many, two, 3, _umount, _umount)

"""Run time of the work on layers, compared with mv(1), cp(1), diff(1) and find(1)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

from layerctl.kernel import syscalls
from tools.bench.ratio import LAYERCTL, Ratio

RUNS = 3
_DIRECTORIES, _FILES = 200, 100
_BLOCK = b"x" * 4096


def _fill(path: str, directories: int = _DIRECTORIES, *, files: bool = True) -> None:
    """Fill a layer with directories, and with 100 files of 4 KiB each; all times are the same."""
    for number in range(directories):
        below = f"{path}/dir{number}"
        os.makedirs(below, exist_ok=True)
        for index in range(_FILES if files else 0):
            with open(f"{below}/file{index}", "wb") as file:
                file.write(_BLOCK)
            os.utime(f"{below}/file{index}", (10**9, 10**9))
        os.utime(below, (10**9, 10**9))


def _anew(*, upper: str, lower: str, shared: bool, held: bool = False) -> Callable[[], None]:
    """Return what fills the layers again; `shared` directories are in both.

    With `held`, the lower ones have a file, so that none is replaced as a whole.
    """

    def make() -> None:
        for path in (upper, lower):
            for name in os.listdir(path):
                shutil.rmtree(f"{path}/{name}")
        _fill(upper)
        if shared:
            _fill(lower, files=False)
        for name in os.listdir(lower) if held else ():
            with open(f"{lower}/{name}/held", "wb"):
                pass

    return make


def ratios() -> Iterator[Ratio]:
    """Yield every ratio; the limits are the usual values plus a margin.

    On a tmpfs mv(1) renames 200 directories in ten milliseconds; starting Python takes longer, and
    so does reading the attributes of 20,000 files, any of which may be a marker.
    """
    for name in ("new", "below", "target"):
        os.mkdir(name)
    commit = (*LAYERCTL, "commit", "-u", "new", "-l", "below")
    move = ("sh", "-c", "mv new/* target/")
    for what, shared, held, against, limit in (
        ("new directories / mv", False, False, move, 60),
        ("shared directories / cp -a", True, False, _copy("target"), 1.0),
        ("shared directories with files / cp -a", True, True, _copy("target"), 2.0),
    ):
        one = _anew(upper="new", lower="below", shared=shared, held=held)
        other = _anew(upper="new", lower="target", shared=False)
        one()
        yield Ratio(f"commit, 20,000 files in {what}", commit, against, limit, one, other, RUNS)
    syscalls.mount("other", "below", "tmpfs", 0, "")
    one = _anew(upper="new", lower="below", shared=False)
    one()
    yield Ratio(
        "commit to another filesystem, 20,000 files / cp -a", commit, _copy("below"), 3.5,
        one, one, RUNS,
    )  # fmt: skip
    yield from _reading()


def _copy(target: str) -> tuple[str, ...]:
    return ("sh", "-c", f"cp -a new/. {target}/")


def _reading() -> Iterator[Ratio]:
    """80,000 files in both layers."""
    for name in ("copies", "originals"):
        os.mkdir(name)
        _fill(name, 800)
        os.utime(name, (10**9, 10**9))
    stack = ("-u", "copies", "-l", "originals")
    find = ("find", "copies", "originals", "-printf", "%p %y %m %s\n")
    yield Ratio("check, 160,000 files / find -printf", (*LAYERCTL, "check", *stack), find, 3.0,
                runs=RUNS)  # fmt: skip
    yield Ratio(
        "trim -n, 80,000 copied-up files / diff -rq", (*LAYERCTL, "trim", "-n", *stack),
        ("diff", "-rq", "copies", "originals"), 3.5, runs=RUNS,
    )  # fmt: skip

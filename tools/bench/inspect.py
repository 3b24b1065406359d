"""Run time of `inspect` on trees of 200,000 entries or more, compared with find(1) and diff(1)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from layerctl.kernel import syscalls
from tools.bench.ratio import IMPORT_CLICK, LAYERCTL, Ratio

RUNS = 7


def tree(path: str, directories: int, files: int, *, whiteout_each: int = 0) -> None:
    """Make a tree of `directories` with `files` each, two levels deep, some of them whiteouts."""
    os.mkdir(path)
    for number in range(directories):
        below = f"{path}/top{number % 40}/dir{number}"
        os.makedirs(below)
        for index in range(files):
            if whiteout_each and index % whiteout_each == 0:
                os.mknod(f"{below}/file{index}", 0o20000, 0)
            else:
                os.close(os.open(f"{below}/file{index}", os.O_CREAT | os.O_WRONLY))


def ratios() -> Iterator[Ratio]:
    """Yield every ratio; the limits are goals, or the usual value plus a margin."""
    yield from whiteouts()
    yield from sparse()
    yield from merged()
    yield from changes()


def _changes(name: str, upper: str, lower: str, against_diff: float) -> Iterator[Ratio]:
    """Compare with diff(1), and with `overlay diff` of overlayfs-tools if it is installed."""
    inspect = (*LAYERCTL, "inspect", "changes", "-u", upper, "-l", lower, "--jsonl")
    yield Ratio(
        f"inspect changes, {name} / diff -rq", inspect,
        ("sh", "-c", f"diff -rq {upper} {lower} || [ $? -eq 1 ]"), against_diff, runs=RUNS,
    )  # fmt: skip
    if shutil.which("overlay"):
        peer = ("overlay", "diff", "-i", "-l", lower, "-u", upper)
        yield Ratio(f"inspect changes, {name} / overlay diff", inspect, peer, 0.6, runs=RUNS)


def whiteouts() -> Iterator[Ratio]:
    """An upper layer of 200,000 entries, one in twenty a whiteout."""
    tree("upper", 4000, 50, whiteout_each=20)
    tree("lower", 400, 20)
    find = ("find", "upper", "-type", "c")
    inspect = (*LAYERCTL, "inspect", "whiteouts", "-u", "upper", "-l", "lower", "--json")
    yield Ratio("inspect whiteouts / find UPPER -type c", inspect, find, 2.0, runs=RUNS)
    yield Ratio(
        "inspect whiteouts --thorough / find UPPER -type c",
        (*inspect, "--thorough"), find, 10.0, runs=RUNS,
    )  # fmt: skip
    yield Ratio(
        "du / du(1)",
        (*LAYERCTL, "du", "-u", "upper", "-l", "lower"), ("du", "-s", "upper", "lower"), 2.0,
        runs=RUNS,
    )  # fmt: skip
    for name in ("one", "two"):
        os.makedirs(f"{name}/top7/dir7")
        os.close(os.open(f"{name}/top7/dir7/file{name}", os.O_CREAT | os.O_WRONLY))
        os.mkdir(f"{name}.merged")
        options = f"lowerdir={os.getcwd()}/{name}:{os.getcwd()}/upper"
        syscalls.mount("overlay", f"{name}.merged", "overlay", 0, options)
    yield Ratio(
        "diff of stacks that share 200,000 entries / python -c 'import click'",
        (*LAYERCTL, "diff", "one.merged", "two.merged"), IMPORT_CLICK, 3.0,
    )  # fmt: skip


def sparse() -> Iterator[Ratio]:
    """12,000 whiteouts in 4,000 directories, all merged with those of a lower of 160,000 files."""
    tree("sparse", 4000, 3, whiteout_each=1)
    tree("wide", 4000, 40)
    os.mkdir("sparse.work")
    os.mkdir("sparse.merged")
    here = os.getcwd()
    options = f"lowerdir={here}/wide,upperdir={here}/sparse,workdir={here}/sparse.work"
    syscalls.mount("overlay", "sparse.merged", "overlay", 0, options)
    yield Ratio(
        "inspect whiteouts, few over many files / find UPPER -type c",
        (*LAYERCTL, "inspect", "whiteouts", "-u", "sparse", "-l", "wide", "--json"),
        ("find", "sparse", "-type", "c"), 2.0, runs=RUNS,
    )  # fmt: skip
    yield Ratio(
        "inspect merged --jsonl, few over many files / find MERGED",
        (*LAYERCTL, "inspect", "merged", "sparse.merged", "--jsonl"),
        ("find", "sparse.merged"), 1.4, runs=RUNS,
    )  # fmt: skip
    yield from _changes("few over many files", "sparse", "wide", 0.6)


def merged() -> Iterator[Ratio]:
    """A stack of four layers with 200,000 entries, some directories merged, mounted."""
    lowers = []
    for number in range(4):
        layer = f"{os.getcwd()}/m{number}"
        lowers.append(layer)
        tree(layer, 1000, 50)
        for index in range(400):
            os.makedirs(f"{layer}/etc/conf{index}")
            os.close(os.open(f"{layer}/etc/conf{index}/{number}", os.O_CREAT | os.O_WRONLY))
        for index in range(40):
            os.rename(f"{layer}/top{index}", f"{layer}/top{index}-{number}")
    os.mkdir("merged")
    syscalls.mount("overlay", "merged", "overlay", 0, "lowerdir=" + ":".join(lowers))
    inspect = (*LAYERCTL, "inspect", "merged", "merged")
    for form, limit in (("--jsonl", 1.4), ("--json", 2.5), ("-0", 2.5)):
        yield Ratio(
            f"inspect merged {form} / find MERGED", (*inspect, form), ("find", "merged"), limit,
            runs=RUNS,
        )  # fmt: skip
    yield Ratio(
        "inspect merged PATH / python -c 'import click'",
        (*inspect, "etc/conf7/2", "--json"), IMPORT_CLICK, 1.6,
    )  # fmt: skip


def changes() -> Iterator[Ratio]:
    """80,000 files that were copied up, with the same sizes and different times."""
    for side, moment in (("now", 10**9), ("was", 10**9 + 1)):
        for number in range(800):
            os.makedirs(f"{side}/dir{number}")
            for index in range(100):
                name = f"{side}/dir{number}/file{index}"
                with open(name, "x") as file:
                    file.write(f"what stands in file {index}\n")
                os.utime(name, (moment, moment))
    yield from _changes("80,000 files of other times", "now", "was", 1.3)

"""Run time of pack and unpack, compared with tar(1)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

from tools.bench.ratio import LAYERCTL, Ratio

RUNS = 5
_DIRECTORIES, _FILES = 200, 100
_BLOCK = b"x" * 4096


def _without(path: str) -> Callable[[], None]:
    def remove() -> None:
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)

    return remove


def ratios() -> Iterator[Ratio]:
    """Yield both ratios, for 20,000 files of 4 KiB; the limits are the usual values and a margin.

    The aims are 1.6 for packing and 1.8 for unpacking.
    """
    os.mkdir("below")
    for number in range(_DIRECTORIES):
        os.makedirs(f"layer/dir{number}")
        for index in range(_FILES):
            with open(f"layer/dir{number}/file{index}", "wb") as file:
                file.write(_BLOCK)
    pack = (*LAYERCTL, "pack", "-u", "layer", "-l", "below", "-o", "a.tar")
    tar = ("tar", "--xattrs", "-cf", "b.tar", "-C", "layer", ".")
    yield Ratio("pack, 20,000 files / tar -c --xattrs", pack, tar, 4, _without("a.tar"),
                _without("b.tar"), RUNS)  # fmt: skip
    os.system("tar --xattrs -cf c.tar -C layer .")
    unpack = (*LAYERCTL, "unpack", "c.tar", "one")
    extract = ("sh", "-c", "mkdir other && tar --xattrs -xf c.tar -C other")
    yield Ratio("unpack, 20,000 files / tar -x --xattrs", unpack, extract, 10, _without("one"),
                _without("other"), RUNS)  # fmt: skip

"""Random aufs stacks, for kernels that have aufs."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

from layerctl.model import Layer, Role, Stack
from tests.support.stacks import NAMES, Case, stamp


def build_aufs(rng: random.Random, where: str) -> Case:
    """Build branches with whiteouts, opaque directories and all kinds of files."""
    os.mkdir(where)
    os.mkdir(f"{where}/m")
    layers = []
    for index in range(rng.randint(1, 5)):
        path = f"{where}/b{index}"
        os.mkdir(path)
        _fill(rng, path, rng.choice([1, 2, 3]))
        permission = rng.choice(["rw", "ro", "ro+wh", "rr", "rr+wh"]) if index else "rw"
        layers.append(Layer(path, Role.BRANCH, permission))
    words = ":".join(f"{layer.path}={layer.permission}" for layer in layers)
    stack = Stack("aufs", tuple(layers), None, {"noxino": None}, ("rw",))
    return Case(stack, f"{where}/m", f"br={words},noxino")


def _fill(rng: random.Random, path: str, depth: int) -> None:
    for name in NAMES:
        place = f"{path}/{name}"
        kind = rng.choices(
            ["none", "dir", "file", "link", "fifo", "whiteout"],
            [35, 25 if depth else 0, 20, 4, 3, 13],
        )[0]
        if kind == "dir":
            os.mkdir(place)
            _fill(rng, place, depth - 1)
            if rng.random() < 0.2:
                Path(f"{place}/.wh..wh..opq").touch()
        elif kind == "file":
            Path(place).write_text(f"{place}\n")
        elif kind == "link":
            os.symlink(place, place)
        elif kind == "fifo":
            os.mknod(place, stat.S_IFIFO | 0o600)
        elif kind == "whiteout":
            Path(f"{path}/.wh.{name}").touch()
        if kind in ("dir", "file", "link", "fifo"):
            stamp(place)

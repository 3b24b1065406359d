"""Run time of names: a hash in a store of 500 layers, a path of a container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.support.stored import Docker
from tools.bench.ratio import IMPORT_CLICK, LAYERCTL, Ratio

_IMAGES, _LAYERS = 25, 20


def ratios() -> Iterator[Ratio]:
    """Yield the comparisons."""
    docker = Docker(Path("store"))
    for number in range(_IMAGES):
        layers = [f"{number} {layer}" for layer in range(_LAYERS)]
        image = docker.image(f"app{number}:1", layers, [f"RUN {one}" for one in layers])
        docker.container(f"web{number}", image)
    hash_ = list(docker.cached.values())[_LAYERS * 12]
    (docker.directory(hash_) / "file").touch()
    root = ("--root", "store")
    which = (*LAYERCTL, "which", *root, hash_)
    story = (*LAYERCTL, "inspect", "merged", *root, "web12", "file")
    yield Ratio("which of a hash, of 500 layers / import click", which, IMPORT_CLICK, 1.8)
    yield Ratio("one path of a container by name / import click", story, IMPORT_CLICK, 1.8)

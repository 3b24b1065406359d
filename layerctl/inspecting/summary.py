"""How much of a merged tree each layer provides."""

from __future__ import annotations

import stat
from collections.abc import Iterable

from layerctl.inspecting.listing import Chunk
from layerctl.inspecting.opening import Opened
from layerctl.kernel import layers


class Share:
    """What one layer provides: entries, and the bytes of its files (hard links once)."""

    __slots__ = ("entries", "size")

    def __init__(self) -> None:
        self.entries = self.size = 0


def summarise(opened: Opened, chunks: Iterable[Chunk]) -> list[Share]:
    """Count the entries that each layer provides, and the sizes of its files."""
    shares = [Share() for _ in opened.layers]
    seen: set[tuple[int, int]] = set()
    for chunk in chunks:
        fds = {part.layer: part.fd for part in chunk.directory.parts}
        for name, kind in chunk.entries:
            share = shares[kind.layer]
            share.entries += 1
            if kind.letter != "f" or fds.get(kind.layer, -1) < 0:
                continue
            status = layers.status(name, fds[kind.layer])
            if status is None or not stat.S_ISREG(status.st_mode):
                continue
            if status.st_nlink > 1:
                identity = (status.st_dev, status.st_ino)
                if identity in seen:
                    continue
                seen.add(identity)
            share.size += status.st_size
    return shares

"""Disk usage: the sums by layer, files with several names, the largest paths."""

from __future__ import annotations

import heapq
import os
from typing import NamedTuple

#: What st_blocks counts (stat(2)).
BLOCK = 512


class Count(NamedTuple):
    """The entries and blocks of a directory of the merged tree in one layer.

    `hidden` are the blocks of what a higher layer replaces or deletes, `copied` those of files
    that hold the same as the version below them.
    """

    layer: int
    entries: int
    blocks: int
    hidden: int = 0
    copied: int = 0


class Item(NamedTuple):
    """One path and what it takes up: a file, or a directory that is not shown, with all below it.

    `state` is shown, replaced, deleted, unreachable or unused (in a data-only layer); `by` is the
    layer that hides it, None if none does or it is not known.
    """

    blocks: int
    path: str
    layer: int
    state: str
    by: int | None = None


class Inode(NamedTuple):
    """A file that has several names, or that may have the data of another one."""

    shown: bool
    item: Item
    copied: bool = False


Key = tuple[int, int, int]


class Sums(NamedTuple):
    """What one layer, or a whole stack, takes up in bytes; see `Count`."""

    entries: int = 0
    size: int = 0
    hidden: int = 0
    copied: int = 0

    @property
    def efficiency(self) -> float:
        """The part of the bytes that the merged tree shows, from 0 to 1."""
        return 1 - self.hidden / self.size if self.size else 1.0


class LayerUsage(NamedTuple):
    """What one layer of a stack takes up.

    `identity` are device and inode of its directory, `users` the other mounts that have it.
    """

    position: int
    path: str
    role: str
    sums: Sums
    identity: tuple[int, int]
    users: tuple[str, ...]


class StackUsage(NamedTuple):
    """What one stack takes up; `target` is None if it is not mounted."""

    target: str | None
    fstype: str
    layers: tuple[LayerUsage, ...]
    total: Sums
    largest: tuple[Item, ...]

    @property
    def shared(self) -> int:
        """The bytes of layers that other mounts use too."""
        return sum(one.sums.size for one in self.layers if one.users)

    @property
    def own(self) -> int:
        """The bytes of layers that no other mount uses."""
        return sum(one.sums.size for one in self.layers if not one.users)


class Tally:
    """Sums up what the layers of a stack take up, and keeps the `most` largest paths."""

    def __init__(self, layers: int, most: int) -> None:
        self._counts = [Count(layer, 0, 0) for layer in range(layers)]
        self._inodes: dict[Key, Inode] = {}
        self._used: set[Key] = set()
        self._most = most
        self._largest: list[Item] = []
        #: The minimum size for the largest paths.
        self.floor = 0 if most else 1 << 62

    def add(self, counts: list[Count]) -> None:
        """Take the counts of one directory."""
        for one in counts:
            sums = map(sum, zip(self._counts[one.layer][1:], one[1:], strict=True))
            self._counts[one.layer] = Count(one.layer, *sums)

    def keep(self, item: Item) -> None:
        """Keep an item if it is among the largest."""
        if item.blocks <= self.floor:
            return
        heapq.heappush(self._largest, item)
        if len(self._largest) > self._most:
            heapq.heappop(self._largest)
            self.floor = self._largest[0].blocks

    def use(self, key: Key) -> None:
        """Note that a file has the data of one that the merged tree shows."""
        self._used.add(key)

    def meet(self, key: Key, inode: Inode) -> None:
        """Take one name of a file that may have several, or that may have another one's data."""
        known = self._inodes.get(key)
        if known is not None:
            item = known.item if known.shown or not inode.shown else inode.item
            inode = Inode(known.shown or inode.shown, item, known.copied or inode.copied)
        self._inodes[key] = inode

    def merge(self, other: Tally) -> None:
        """Take the inodes of the other process; its counts arrive separately."""
        self._used |= other._used
        for key, inode in other._inodes.items():
            self.meet(key, inode)
        for item in set(other._largest) - set(self._largest):
            self.keep(item)

    def of_inodes(self) -> list[Count]:
        """Return the counts of the files that were met, once all of their names are known."""
        counts = []
        for key, inode in self._inodes.items():
            shown = self._shows(key)
            self.keep(inode.item._replace(state="shown", by=None) if shown else inode.item)
            blocks = inode.item.blocks
            counts.append(
                Count(key[0], 0, blocks, 0 if shown else blocks, blocks if inode.copied else 0)
            )
        return counts

    def _shows(self, key: Key) -> bool:
        return self._inodes[key].shown or key in self._used

    def by_layer(self) -> list[Sums]:
        """Return what each layer takes up."""
        return [
            Sums(one.entries, one.blocks * BLOCK, one.hidden * BLOCK, one.copied * BLOCK)
            for one in self._counts
        ]

    def total(self) -> Sums:
        """Return what all layers take up, a file that several of them have only once."""
        entries, size, hidden, copied = map(sum, zip(*self.by_layer(), strict=True))
        layers_of: dict[tuple[int, int], list[Key]] = {}
        for key in self._inodes:
            layers_of.setdefault(key[1:], []).append(key)
        for keys in layers_of.values():
            size_of_one = self._inodes[keys[0]].item.blocks * BLOCK
            unseen = sum(not self._shows(key) for key in keys)
            size -= size_of_one * (len(keys) - 1)
            hidden -= size_of_one * (unseen if unseen < len(keys) else unseen - 1)
        return Sums(entries, size, hidden, copied)

    def largest(self) -> list[Item]:
        """Return the largest paths, the largest first."""
        return sorted(self._largest, key=lambda item: (-item.blocks, item.layer, item.path))


def key_of(layer: int, status: os.stat_result) -> Key:
    """Return the key of a file of a layer, whatever its name."""
    return layer, status.st_dev, status.st_ino

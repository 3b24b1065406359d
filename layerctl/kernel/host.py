"""The layers on this host: mounts, disk usage, other mount namespaces. Only reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from layerctl.kernel import mounts, processes
from layerctl.kernel.facts.modules import parameters
from layerctl.kernel.mounts import Mounted
from layerctl.kernel.processes import mount_namespace, pids
from layerctl.model import MountEntry

_MERGED = re.compile(r"/overlay2?/[0-9a-f]{64}(?:-init)?/merged$")
#: The limit for counting a tree; larger ones are reported as 'at least'.
MOST_ENTRIES = 200_000


class Space(NamedTuple):
    """The space that the upper layer of a mount takes; `whole` is False if the count stopped."""

    mounted: Mounted
    upper: str
    size: int
    whole: bool


class Leak(NamedTuple):
    """A merged tree that is mounted only in another mount namespace."""

    target: str
    pid: int
    name: str


class Host(NamedTuple):
    """Everything found; `unseen` is the number of processes that could not be examined."""

    mounted: tuple[Mounted, ...]
    spaces: tuple[Space, ...]
    leaks: tuple[Leak, ...]
    parameters: dict[str, str]
    unseen: int


def gather() -> Host:
    """Examine the host."""
    entries = mounts.entries()
    found = tuple(mounts.layered())
    leaks, unseen = _leaks(entries)
    return Host(
        found,
        tuple(_spaces(found)),
        leaks,
        parameters("overlay"),
        unseen,
    )


def tree_size(
    path: str, *, dir_fd: int | None = None, most: int = MOST_ENTRIES
) -> tuple[int, bool]:
    """Return the disk usage of a tree, each file once, and whether the count is complete.

    It stops after the directory with which it has seen `most` entries.
    """
    size, entries = 0, 0
    seen: set[tuple[int, int]] = set()
    for _, _, files, fd in os.fwalk(path, onerror=None, follow_symlinks=False, dir_fd=dir_fd):
        here = os.fstat(fd)
        size += here.st_blocks * 512
        for name in files:
            try:
                one = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                continue
            if one.st_nlink == 1 or (one.st_dev, one.st_ino) not in seen:
                size += one.st_blocks * 512
                if one.st_nlink > 1:
                    seen.add((one.st_dev, one.st_ino))
        entries += 1 + len(files)
        if entries > most:
            return size, False
    return size, True


def _spaces(found: Iterable[Mounted]) -> Iterator[Space]:
    for mounted in found:
        upper = mounted.stack.upper
        if upper is None or not os.path.isdir(upper):
            continue
        yield Space(mounted, upper, *tree_size(upper))


def _leaks(entries: list[MountEntry]) -> tuple[tuple[Leak, ...], int]:
    """Return merged trees of engines that are mounted only in another mount namespace."""
    here = {entry.device for entry in entries}
    own = mount_namespace("self")
    found: dict[str, Leak] = {}
    seen, unseen = {own}, 0
    for pid in pids():
        try:
            namespace = mount_namespace(pid)
            if namespace in seen:
                continue
            seen.add(namespace)
            others = mounts.entries(f"/proc/{pid}/mountinfo")
        except PermissionError:
            unseen += 1
            continue
        except OSError:
            continue
        for entry in others:
            lost = entry.fstype == "overlay" and entry.device not in here
            if lost and _MERGED.search(entry.target) and entry.device not in found:
                found[entry.device] = Leak(entry.target, pid, processes.name(pid))
    return tuple(found.values()), unseen


def _line(path: str) -> str:
    return mounts.read_text(path).strip()

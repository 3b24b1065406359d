"""Which mounts, in any mount namespace, use a directory as a layer or as a work directory.

A name in mountinfo means something only where the mount was made, and another mount may cover it by
now. So every name counts wherever it may lead, in each namespace and beneath each mount over it: by
device and inode, and by device and path within the filesystem. A directory that is in a layer, or
that a layer is in, is used as well.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from layerctl.codecs import overlay
from layerctl.kernel import layers, mounts
from layerctl.model import MountEntry, Stack

#: A place on a filesystem: its device as mountinfo has it, and the path from its root.
Place = tuple[str, str]


class Use(NamedTuple):
    """A directory in use: its position among those asked for, the mount, the process behind it.

    `name` is the layer's name in the mount. `pid` is a process in the mount's namespace, None if
    that is the caller's own.
    """

    position: int
    target: str
    name: str
    pid: int | None


class Report(NamedTuple):
    """All uses found, and how many processes could not be looked at for lack of privilege."""

    uses: tuple[Use, ...]
    unseen: int


class _Table(NamedTuple):
    """The mounts of one namespace: those on each target, and a directory that is its root."""

    pid: int | None
    entries: list[MountEntry]
    on: dict[str, list[MountEntry]]

    @property
    def root(self) -> str:
        return "" if self.pid is None else f"/proc/{self.pid}/root"


class _Name(NamedTuple):
    """A layer's path as a mount on `target` was given it, in the namespace of `table`."""

    path: str
    target: str
    table: _Table


def of(fds: Sequence[int]) -> Report:
    """Return what uses some open directories. Raises OSError where /proc cannot be read."""
    tables, unseen = _tables()
    ours = [_Directory(fd, tables[0]) for fd in fds]
    uses: list[Use] = []
    for name in _named(tables):
        for position, one in enumerate(ours):
            if one.is_meant(name, tables):
                uses.append(Use(position, name.target, name.path, name.table.pid))
    return Report(tuple(sorted(uses, key=lambda use: (use.position, use.target))), unseen)


class _Directory:
    """One of the directories asked for."""

    def __init__(self, fd: int, table: _Table) -> None:
        status = os.fstat(fd)
        self._identity = status.st_dev, status.st_ino
        self._path = layers.real_path(fd)
        self._place = _place(fd, self._path, table)
        #: What is known of a path: many mounts share layers, and namespaces have the same mounts.
        self._known: dict[str, bool] = {}

    def is_meant(self, name: _Name, tables: Sequence[_Table]) -> bool:
        """Tell whether a layer's name may lead to this directory, or to one around or in it."""
        if not name.path.startswith("/"):  # its start is unknown
            clean = os.path.normpath(name.path).lstrip("./")
            ends = f"{self._path}/".endswith(f"/{clean}/") or not clean
            return ends and self._is_within(name.table)
        if name.path.startswith("/proc/self/"):  # a descriptor of the process that mounted it
            return self._is_within(name.table)
        path = os.path.normpath(name.path)
        if path not in self._known:
            self._known[path] = self._may_be(path, tables)
        return self._known[path]

    def _may_be(self, path: str, tables: Sequence[_Table]) -> bool:
        """Tell whether a path leads here, or around or into this, in any namespace."""
        for table in tables:
            with contextlib.suppress(OSError):
                status = os.stat(table.root + path)
                if (status.st_dev, status.st_ino) == self._identity:
                    return True
            if self._place and any(_overlap(self._place, one) for one in _places(path, table)):
                return True
        return False

    def _is_within(self, table: _Table) -> bool:
        """Tell whether any mount of a namespace may show this directory."""
        if self._place is None:
            return True
        roots = ((one.device, one.root.rstrip("/")) for one in table.entries)
        return any(_overlap(self._place, root) for root in roots)


def _place(fd: int, path: str, table: _Table) -> Place | None:
    identity = mounts.mount_id_of(fd)
    for entry in table.entries:
        if entry.mount_id == identity:
            return _inside(entry, path)
    return None


def _inside(entry: MountEntry, path: str) -> Place:
    """Return the place on its filesystem of a path on a mount."""
    below = path[len(entry.target.rstrip("/")) :]
    return entry.device, f"{entry.root.rstrip('/')}{below}".rstrip("/")


def _places(path: str, table: _Table) -> Iterator[Place]:
    """Yield each place that a path may lead to: on every mount at it or above it."""
    above = path
    while True:
        for entry in table.on.get(above, ()):
            yield _inside(entry, path)
        if above == "/":
            return
        above = os.path.dirname(above)


def _overlap(one: Place, other: Place) -> bool:
    if one[0] != other[0]:
        return False
    return f"{one[1]}/".startswith(f"{other[1]}/") or f"{other[1]}/".startswith(f"{one[1]}/")


def _named(tables: Sequence[_Table]) -> Iterator[_Name]:
    """Yield each layer's name of each mount of overlay, aufs or fuse-overlayfs."""
    for table in tables:
        for entry in table.entries:
            if entry.fstype in mounts.LAYERED:
                for path in _paths(mounts.describe(entry).stack):
                    yield _Name(path, entry.target, table)
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mounts.read_text(f"/proc/{pid}/comm") == "fuse-overlayfs\n":
                yield from _of_fuse(pid, tables[0])


def _of_fuse(pid: str, table: _Table) -> Iterator[_Name]:
    """Yield the layers of fuse-overlayfs: those of its command line, and all that it has open."""
    words = mounts.read_text(f"/proc/{pid}/cmdline").rstrip("\0").split("\0")
    start = os.readlink(f"/proc/{pid}/cwd")
    for option, value in pairwise(words):
        if option == "-o":
            for path in _paths(overlay.from_super_options(value)):
                if not path.startswith("/proc/self/"):
                    yield _Name(os.path.join(start, path), words[-1], table)
    for number in os.listdir(f"/proc/{pid}/fd"):
        yield _Name(f"/proc/{pid}/fd/{number}", words[-1], table)


def _paths(stack: Stack) -> set[str]:
    return {layer.path for layer in stack.layers} | ({stack.work} if stack.work else set())


def _tables() -> tuple[list[_Table], int]:
    """Return the mounts of the caller's namespace, and of every other that a process is in."""
    found = [_table(None)]
    seen = {os.readlink("/proc/self/ns/mnt")}
    unseen = 0
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            namespace = os.readlink(f"/proc/{pid}/ns/mnt")
            if namespace not in seen:
                found.append(_table(int(pid)))
                seen.add(namespace)
        except PermissionError:
            unseen += 1
        except OSError:
            continue  # it ended
    return found, unseen


def _table(pid: int | None) -> _Table:
    entries = mounts.entries(f"/proc/{'self' if pid is None else pid}/mountinfo")
    on: dict[str, list[MountEntry]] = {}
    for entry in entries:
        on.setdefault(entry.target, []).append(entry)
    return _Table(pid, entries, on)

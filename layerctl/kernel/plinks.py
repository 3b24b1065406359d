"""Repair the pseudo-links of aufs before an unmount, like auplink(8), without the aufs tools.

Sources: fs/aufs/plink.c and procfs.c; auplink.c of aufs-util. While one branch holds a
hard-linked file's copy, its other names are kept under `.wh..wh.plnk`: copying each name up once
joins them on the branch.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from layerctl.codecs import aufs
from layerctl.errors import LayerctlError
from layerctl.kernel import layers, standing, syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.model import MountEntry
from layerctl.rules.aufs import is_writable

MAINTENANCE = "/proc/fs/aufs/plink_maint"
#: The directory for them in a branch (AUFS_WH_PLINKDIR).
DIRECTORY = ".wh..wh.plnk"


class Copy(NamedTuple):
    """The copy of a hard-linked file, which one branch holds: `name` is that in `DIRECTORY`."""

    layer: int
    name: str
    status: os.stat_result


class Copies:
    """The copies that a live aufs shows for every name of a hard-linked file.

    `branches` are the writable ones, each with its place in the stack and its open directory;
    `mount` is the mount's open root. What is shown at a name is asked of the
    mount itself: its inode number names the copy (plink_name in plink.c), and its times are the
    copy's. Obsolete files stay in `DIRECTORY`.
    """

    def __init__(self, branches: Iterable[tuple[int, int]], mount: int) -> None:
        self._mount = mount
        self._found: dict[int, list[Copy]] = {}
        self.topmost = 0
        for layer, fd in branches:
            for inode, name, status in _pseudo_links(fd):
                self._found.setdefault(inode, []).append(Copy(layer, name, status))
                self.topmost = layer if len(self._found) == 1 else min(self.topmost, layer)

    def __bool__(self) -> bool:
        return bool(self._found) and self._mount >= 0

    def shown(self, path: str, layer: int) -> Copy | None:
        """Return the copy that the mount shows at a path of a lower branch, if any.

        Raises OSError if the mount does not say.
        """
        status = os.stat(path, dir_fd=self._mount, follow_symlinks=False)
        return self.of(status, layer)

    def of(self, status: os.stat_result, layer: int) -> Copy | None:
        """Return the copy above branch `layer` that `status`, as the mount shows it, is of."""
        for copy in self._found.get(status.st_ino, ()):
            if copy.layer < layer and _same(copy.status, status):
                return copy
        return None


def _same(copy: os.stat_result, shown: os.stat_result) -> bool:
    names = ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns")
    return all(getattr(copy, name) == getattr(shown, name) for name in names)


def _pseudo_links(branch: int) -> Iterator[tuple[int, str, os.stat_result]]:
    """Yield each pseudo-link of a branch, named INODE.BRANCH-INODE: the first, name and status."""
    with contextlib.suppress(OSError):
        fd = layers.open_dir(DIRECTORY, branch)
        try:
            for name in os.listdir(fd):
                merged, _, own = name.partition(".")
                status = layers.status(name, fd)
                if status is not None and merged.isdecimal() and own == str(status.st_ino):
                    yield int(merged), name, status
        finally:
            os.close(fd)


def _inodes(branch: str) -> Iterator[int]:
    """Yield the inode number in the mount of each pseudo-link of a branch."""
    with contextlib.suppress(OSError):
        fd = layers.open_root(branch)
        try:
            yield from (inode for inode, _, _ in _pseudo_links(fd))
        finally:
            os.close(fd)


def flush(mounted: Mounted) -> None:
    """Make every pseudo-link of a live aufs a real hard link on its branch.

    Does nothing without pseudo-links or privilege. Raises nothing, so that unmounting can continue.
    """
    stack = mounted.stack
    if "noplink" in stack.options or stack.read_only:
        return
    inodes = {
        inode
        for layer in stack.layers
        if is_writable(layer.permission or "")
        for inode in _inodes(layer.path)
    }
    _, identity = aufs.from_super_options(mounted.entry.super_options)
    if not inodes or identity is None:
        return
    with contextlib.suppress(OSError, LayerctlError):
        fd = os.open(MAINTENANCE, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"si={identity}".encode())
            _copy_up(mounted.entry, inodes)
            os.write(fd, b"clean")
        finally:
            os.close(fd)


def lost(mounted: Mounted) -> list[str]:
    """Return the names that will show other files once a live aufs is unmounted.

    Those are names of a hard-linked file that show its copy but are not on the copy's branch: a
    read-only mount cannot make them whole. Raises OSError.
    """
    if "noplink" in mounted.stack.options:
        return []
    fds: dict[int, int] = {}
    top = -1
    try:
        for index, layer in enumerate(mounted.stack.layers):
            if is_writable(layer.permission or ""):
                fds[index] = layers.open_root(layer.path)
        top = standing.open_root(mounted.entry)
        copies = Copies(fds.items(), top)
        return sorted(_lost(copies, fds, top)) if copies else []
    finally:
        for fd in (*fds.values(), top):
            if fd >= 0:
                os.close(fd)


def _lost(copies: Copies, branches: dict[int, int], top: int) -> Iterator[str]:
    device = os.fstat(top).st_dev
    for directory, below, names, fd in os.fwalk(".", dir_fd=top):
        below[:] = [name for name in below if os.stat(name, dir_fd=fd).st_dev == device]
        for name in names:
            status = layers.status(name, fd)
            copy = None if status is None else copies.of(status, sys.maxsize)
            if copy is not None and not _has(branches[copy.layer], directory, name, copy):
                yield os.path.normpath(f"{directory}/{name}")


def _has(branch: int, directory: str, name: str, copy: Copy) -> bool:
    """Tell whether a branch has a copy under its own name too."""
    try:
        fd = layers.open_path(directory.removeprefix("."), branch)
    except OSError:
        return False
    try:
        status = layers.status(name, fd)
    finally:
        os.close(fd)
    return status is not None and os.path.samestat(status, copy.status)


def _copy_up(entry: MountEntry, inodes: set[int]) -> None:
    """Set the owner of every name of these inodes: aufs then copies the name up as a link.

    Anyone who can write to the mount can swap any name in it, so each file is opened first.
    """
    top = standing.open_root(entry)
    try:
        device = os.fstat(top).st_dev
        for _, _, names, directory in os.fwalk(".", dir_fd=top):
            for name in names:
                with contextlib.suppress(OSError):
                    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                    try:
                        status = os.fstat(fd)
                        known = status.st_dev == device and status.st_ino in inodes
                        if known and status.st_nlink > 1:
                            syscalls.fchownat(fd, -1, status.st_gid)
                    finally:
                        os.close(fd)
    finally:
        os.close(top)

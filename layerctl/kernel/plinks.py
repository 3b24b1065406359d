"""aufs's pseudo-links, made whole before an unmount as auplink(8) does, without the aufs tools.

Sources: fs/aufs/plink.c and procfs.c; auplink.c of aufs-util. While one branch holds a
hard-linked file's copy, its other names are kept under `.wh..wh.plnk`: copying each name up once
joins them on the branch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from layerctl.codecs import aufs
from layerctl.errors import LayerctlError
from layerctl.kernel import standing, syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.model import MountEntry

MAINTENANCE = "/proc/fs/aufs/plink_maint"
_PLINK_DIRECTORY = ".wh..wh.plnk"


def flush(mounted: Mounted) -> None:
    """Make every pseudo-link of a live aufs a real hard link on its branch, then forget them.

    Does nothing without pseudo-links or without the privilege; raises nothing: an unmount goes
    on without.
    """
    stack = mounted.stack
    if "noplink" in stack.options or stack.read_only:
        return
    inodes = {
        inode
        for layer in stack.layers
        if (layer.permission or "").startswith("rw")
        for inode in _pseudo_linked(f"{layer.path}/{_PLINK_DIRECTORY}")
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


def _pseudo_linked(directory: str) -> Iterator[int]:
    """Yield the merged inode number of each pseudo-link; its file is named INODE.BRANCH-INODE."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            number = name.partition(".")[0]
            if number.isdecimal():
                yield int(number)


def _copy_up(entry: MountEntry, inodes: set[int]) -> None:
    """Touch the owner of every name of these inodes: aufs then copies the name up as a link.

    Who may write to the mount can swap any name in it, so that each file is opened first.
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

"""What a text shows of the machine beside the failure: what is loaded, how full its disks are.

A fact excludes causes: a loaded module is not missing, and a disk with room is not full.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.reading.context import Context
from layerctl.diagnosing.reading.lazy import Lazy

_NO_TYPE = frozenset(
    {"overlay-module-missing", "overlay-not-in-kernel", "running-kernel-modules-removed"}
)
#: lsmod, /proc/filesystems, and a configuration with the type built in.
_LOADED = Lazy(
    r"^(?:overlay\s+\d+\s+\d+\b|nodev\s+overlay\s*$|[\s-]*CONFIG_OVERLAY_FS(?:=y|: enabled\s*$))",
    re.MULTILINE,
)
_AUFS_LOADED = Lazy(
    r"^(?:aufs\s+\d+\s+\d+\b|nodev\s+aufs\s*$|[\s-]*CONFIG_AUFS_FS(?:=y|: enabled\s*$))",
    re.MULTILINE,
)
#: A row of df or df -i: what is used, and where it is mounted.
_USED = Lazy(r"^(\S+)\s+[\d.]+\w?\s.*?\s(\d{1,3})%\s+(/\S*)\s*$", re.MULTILINE)
#: A filesystem of which so much is used is as good as full.
_FULL = 98


def excluded(context: Context) -> frozenset[str]:
    """Return the causes that the facts of a text exclude."""
    out: set[str] = set()
    if _LOADED.search(context.plain):
        out |= _NO_TYPE
    if _AUFS_LOADED.search(context.plain):
        out.add("aufs-module-missing")
    used = _rows(context)
    if used and max(used) < _FULL:
        out.add("upper-enospc")
    return frozenset(out)


def clues(context: Context) -> Iterator[Clue]:
    """Yield clues of facts if the disk is full and the text says so."""
    if "ENOSPC" in context.errnos:
        for row in _USED.finditer(context.plain):
            if int(row[2]) >= _FULL:
                yield Clue("upper-enospc", (row[0].strip(),), {"upper": row[3]}, weight=86)


def _rows(context: Context) -> list[int]:
    return [
        int(row[2])
        for row in _USED.finditer(context.plain)
        if not row[1].startswith(("overlay", "shm", "devtmpfs", "udev", "none"))
    ]

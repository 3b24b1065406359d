"""Other processes: their names, users, and mount namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.kernel.mounts import read_text


def pids() -> Iterator[int]:
    """Yield the ids of all processes that /proc shows, in order."""
    yield from sorted(map(int, filter(str.isdecimal, os.listdir("/proc"))))


def mount_namespace(pid: int | str) -> str:
    """Return the mount namespace of a process. Raises OSError."""
    return os.readlink(f"/proc/{pid}/ns/mnt")


def name(pid: int) -> str:
    """Return the name of a process, `?` if it has ended."""
    try:
        return read_text(f"/proc/{pid}/comm").rstrip("\n")
    except OSError:
        return "?"


def who(pid: int) -> tuple[str, str]:
    """Return the full name and the user of a process, `?` if unknown."""
    import psutil  # only a refusal names processes

    full_name = user = "?"
    try:
        process = psutil.Process(pid)
        full_name, user = process.name(), process.username()
    except psutil.Error:
        pass
    return full_name, user

"""Who holds a mount: processes with what they hold, mounts below it, other mount namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.kernel import mounts
from layerctl.model import MountEntry


class Process(NamedTuple):
    """One process and what it holds: (`cwd`, path), (`file descriptor 3`, path) ..."""

    pid: int
    holds: tuple[tuple[str, str], ...]


class Holders(NamedTuple):
    """Everything found: processes, mounts below, pids that see the filesystem from elsewhere.

    `unseen` counts processes that could not be looked at for lack of privilege.
    """

    processes: tuple[Process, ...]
    below: tuple[str, ...]
    elsewhere: tuple[tuple[int, str, str], ...]
    unseen: int

    def lines(self) -> Iterator[str]:
        """Yield a line for people for each holder."""
        for process in self.processes:
            name, user = _who(process.pid)
            for kind, path in process.holds:
                yield f"held by: {name} (pid {process.pid}, {user}): {kind} {path}"
        for target in self.below:
            yield f"held by: the mount {target} below it"
        for pid, name, target in self.elsewhere:
            yield f"also mounted: on {target} in the mount namespace of {name} (pid {pid})"


def of(entry: MountEntry) -> Holders:
    """Look for everything that keeps a mount busy. Raises nothing."""
    processes = []
    elsewhere: list[tuple[int, str, str]] = []
    unseen = 0
    here = _namespace(os.getpid())
    seen = {here}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        try:
            holds = tuple(_holds(pid, entry))
            namespace = _namespace(pid)
        except PermissionError:
            unseen += 1
            continue
        except OSError:
            continue
        if holds:
            processes.append(Process(pid, holds))
        if namespace not in seen:
            seen.add(namespace)
            elsewhere.extend(_same_filesystem(pid, entry))
    below = tuple(one.target for one in mounts.entries() if one.parent_id == entry.mount_id)
    return Holders(tuple(processes), below, tuple(elsewhere), unseen)


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


def _name(pid: int) -> str:
    try:
        return mounts.read_text(f"/proc/{pid}/comm").rstrip("\n")
    except OSError:
        return "?"


def _who(pid: int) -> tuple[str, str]:
    """Return a process's name and user, `?` for what cannot be told any more."""
    import psutil

    name = user = "?"
    try:
        process = psutil.Process(pid)
        name, user = process.name(), process.username()
    except psutil.Error:
        pass
    return name, user


def _holds(pid: int, entry: MountEntry) -> Iterator[tuple[str, str]]:
    device = _device(entry)
    for link, kind in (("cwd", "working directory"), ("root", "root"), ("exe", "program")):
        path = f"/proc/{pid}/{link}"
        if _on(path, device):
            yield kind, os.readlink(path)
    directory = f"/proc/{pid}/fd"
    for number in os.listdir(directory):
        path = f"{directory}/{number}"
        if _on(path, device):
            yield f"file descriptor {number}", os.readlink(path)
    yield from _mapped(pid, entry)


def _device(entry: MountEntry) -> int:
    major, _, minor = entry.device.partition(":")
    return os.makedev(int(major), int(minor))


def _on(path: str, device: int) -> bool:
    try:
        return os.stat(path).st_dev == device
    except OSError:
        return False


def _mapped(pid: int, entry: MountEntry) -> Iterator[tuple[str, str]]:
    major, _, minor = entry.device.partition(":")
    wanted = f"{int(major):02x}:{int(minor):02x}"
    found = set()
    for line in mounts.read_text(f"/proc/{pid}/maps").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[3] == wanted:
            found.add(fields[5])
    for path in sorted(found):
        yield "mapped file", path


def _same_filesystem(pid: int, entry: MountEntry) -> Iterator[tuple[int, str, str]]:
    try:
        found = mounts.entries(f"/proc/{pid}/mountinfo")
    except (OSError, ValueError):
        return
    for one in found:
        if one.device == entry.device:
            yield pid, _name(pid), one.target

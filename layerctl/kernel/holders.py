"""What uses a mount: processes with what they hold, mounts below it, other mount namespaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.kernel import mounts
from layerctl.kernel.processes import mount_namespace, name, pids
from layerctl.model import MountEntry


class Process(NamedTuple):
    """One process and what it holds: (`cwd`, path), (`file descriptor 3`, path) ..."""

    pid: int
    holds: tuple[tuple[str, str], ...]


class Holders(NamedTuple):
    """Everything found: processes, mounts below, and pids in namespaces that have the mount too.

    `unseen` is the number of processes that the caller has no privilege to examine.
    """

    processes: tuple[Process, ...]
    below: tuple[str, ...]
    elsewhere: tuple[tuple[int, str, str], ...]
    unseen: int


def of(entry: MountEntry) -> Holders:
    """Find everything that keeps a mount busy. Raises nothing."""
    processes = []
    elsewhere: list[tuple[int, str, str]] = []
    unseen = 0
    seen = {mount_namespace("self")}
    for pid in pids():
        if pid == os.getpid():
            continue  # what this program has open does not outlive it
        try:
            holds = tuple(_holds(pid, entry))
            namespace = mount_namespace(pid)
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


def also_mounted(entry: MountEntry, *, but_peers: bool = False) -> list[str]:
    """Return where the filesystem of a mount is mounted besides, in words; the mount may be gone.

    The number of its device is free then, and may be that of another filesystem by now. `but_peers`
    leaves out those that are unmounted with it (mount_namespaces(7)).
    """
    found = []
    seen = set()
    group = _groups(os.getpid(), entry.mount_id) if but_peers else frozenset()
    for pid in (os.getpid(), *pids()):
        try:
            namespace = mount_namespace(pid)
            if namespace in seen:
                continue
            seen.add(namespace)
            others = mounts.entries(f"/proc/{pid}/mountinfo")
        except OSError:  # it has ended, or cannot be examined
            continue
        own = pid == os.getpid()
        where = "" if own else f" in the mount namespace of {name(pid)} (pid {pid})"
        for one in others:
            if _what(one) != _what(entry) or (own and one.mount_id == entry.mount_id):
                continue
            if own or not group & _groups(pid, one.mount_id):
                found.append(f"on {one.target}{where}")
    return found


def _groups(pid: int, mount_id: int) -> frozenset[str]:
    """Return the numbers of the peer groups that a mount is in, or follows; empty if unknown."""
    try:
        lines = mounts.read_text(f"/proc/{pid}/mountinfo").splitlines()
    except OSError:
        return frozenset()
    fields = next((one for one in map(str.split, lines) if one[0] == str(mount_id)), [])
    tags = fields[6 : fields.index("-")] if "-" in fields else []
    return frozenset(tag.partition(":")[2] for tag in tags if ":" in tag)


def _what(entry: MountEntry) -> tuple[str, str, frozenset[str]]:
    words = frozenset(entry.super_options.split(",")) - {"ro", "rw"}
    return entry.device, entry.fstype, words


def _holds(pid: int, entry: MountEntry) -> Iterator[tuple[str, str]]:
    """Yield what a process holds of exactly this mount, by the mount id.

    The device does not identify it: files of an overlay can have the devices of their layers.
    """
    for link, kind in (("cwd", "working directory"), ("root", "root"), ("exe", "program")):
        path = f"/proc/{pid}/{link}"
        if _mount_behind(path) == entry.mount_id:
            yield kind, os.readlink(path)
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            same = mounts.mount_id_in(f"/proc/{pid}/fdinfo/{number}") == entry.mount_id
        except OSError:  # it was it was closed meanwhile
            continue
        if same:
            yield f"file descriptor {number}", os.readlink(f"/proc/{pid}/fd/{number}")
    yield from _mapped(pid, entry)


def _mount_behind(link: str) -> int | None:
    try:
        return mounts.mount_id(link)
    except PermissionError:
        raise
    except OSError:
        return None


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
            yield pid, name(pid), one.target

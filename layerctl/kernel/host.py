"""What this machine holds of layers: engines' stores, space, other mount namespaces. Reads.

Sources: moby layer/filestore.go (image/DRIVER/layerdb: `cache-id` of an image's layer, `mount-id`
and `init-id` of a container's), containers/storage layers.go (overlay-layers/layers.json).
containerd and BuildKit keep theirs in databases that are not read: of those nothing is known.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from layerctl.kernel import containers, mounts, processes
from layerctl.kernel.facts.modules import parameters
from layerctl.kernel.mounts import Mounted
from layerctl.kernel.processes import mount_namespace, pids
from layerctl.model import MountEntry

_DOCKER_ROOT, _STORAGE_ROOT = "/var/lib/docker", "/var/lib/containers/storage"
_LAYER = re.compile(r"[0-9a-f]{64}(?:-init)?")
_STORE = re.compile(r"(?P<root>/.*?)/(?P<driver>overlay2|overlay)/[0-9a-f]{64}(?:-init)?/")
_MERGED = re.compile(r"/overlay2?/[0-9a-f]{64}(?:-init)?/merged$")
#: No tree is counted further: what is larger is reported as 'at least'.
MOST_ENTRIES = 200_000


class Store(NamedTuple):
    """An engine's store: the layers that nothing of it names; None where that is not known."""

    engine: str
    root: str
    layers: int
    orphans: tuple[str, ...] | None


class Space(NamedTuple):
    """What the upper layer of a mount takes; `whole` False where more was not counted."""

    target: str
    owner: str
    upper: str
    size: int
    whole: bool


class Leak(NamedTuple):
    """A merged tree that is mounted in another mount namespace alone."""

    target: str
    pid: int
    name: str


class Host(NamedTuple):
    """Everything found; `unseen` counts processes that could not be looked at."""

    mounted: tuple[Mounted, ...]
    stores: tuple[Store, ...]
    spaces: tuple[Space, ...]
    leaks: tuple[Leak, ...]
    parameters: dict[str, str]
    unseen: int


def gather() -> Host:
    """Look at the whole machine."""
    entries = mounts.entries()
    found = tuple(mounts.layered())
    leaks, unseen = _leaks(entries)
    return Host(
        found,
        tuple(_stores(found)),
        tuple(_spaces(found)),
        leaks,
        parameters("overlay"),
        unseen,
    )


def tree_size(path: str) -> tuple[int, bool]:
    """Return the bytes that a tree takes on disk, each file once, and whether all was counted."""
    size, entries = 0, 0
    seen: set[tuple[int, int]] = set()
    for _, _, files, fd in os.fwalk(path, onerror=None, follow_symlinks=False):
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
        if entries > MOST_ENTRIES:
            return size, False
    return size, True


def _stores(found: Iterable[Mounted]) -> Iterator[Store]:
    roots = {(_DOCKER_ROOT, "overlay2"), (_STORAGE_ROOT, "overlay")}
    for mounted in found:
        for layer in mounted.stack.layers[:1]:
            match = _STORE.match(layer.path)
            if match is not None:
                roots.add((match["root"], match["driver"]))
    for root, driver in sorted(roots):
        try:
            present = [name for name in os.listdir(f"{root}/{driver}") if _LAYER.fullmatch(name)]
        except OSError:
            continue
        docker = driver == "overlay2"
        known = _docker_layers(root) if docker else _storage_layers(root)
        orphans = None if known is None else tuple(sorted(set(present) - known))
        yield Store("docker" if docker else "podman", root, len(present), orphans)


def _docker_layers(root: str) -> set[str] | None:
    """Return the directories that Docker's layer database names, None where it has none."""
    base = f"{root}/image/overlay2/layerdb"
    try:
        images, made = os.listdir(f"{base}/sha256"), os.listdir(f"{base}/mounts")
        known = {_line(f"{base}/sha256/{one}/cache-id") for one in images}
        for one in made:
            known |= {_line(f"{base}/mounts/{one}/{file}") for file in ("mount-id", "init-id")}
    except OSError:
        return None
    return known


def _storage_layers(root: str) -> set[str] | None:
    known: set[str] = set()
    for file in ("layers.json", "volatile-layers.json"):
        path = f"{root}/overlay-layers/{file}"
        try:
            listed = json.loads(mounts.read_text(path) or "[]")
        except FileNotFoundError:
            if file == "layers.json":
                return None
            continue
        except (OSError, ValueError):
            return None
        known |= {str(one["id"]) for one in listed if isinstance(one, dict) and "id" in one}
    return known


def _spaces(found: Iterable[Mounted]) -> Iterator[Space]:
    for mounted in found:
        upper = mounted.stack.upper
        if upper is None or not os.path.isdir(upper):
            continue
        owner = containers.of(mounted)
        name = "" if owner is None else f"{owner.engine}: {owner.name or owner.id[:12]}"
        yield Space(mounted.entry.target, name, upper, *tree_size(upper))


def _leaks(entries: list[MountEntry]) -> tuple[tuple[Leak, ...], int]:
    """Return merged trees of engines that only a process of another mount namespace has still."""
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

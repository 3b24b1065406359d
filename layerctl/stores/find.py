"""Find the stores of a machine, or of a disk that came from one, and read them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from layerctl.kernel.rooted import Rooted
from layerctl.stores.store import Store

#: What tells a store of each kind.
DOCKER = ("image/overlay2/layerdb", "image/aufs/layerdb")
STORAGE = ("overlay-layers", "overlay-containers")
CONTAINERD = "io.containerd.snapshotter.v1.overlayfs"
_DOCKER, _STORAGE = "/var/lib/docker", "/var/lib/containers/storage"
#: Where below Docker's data root a containerd that Docker itself started keeps its store.
_OWN = "/containerd/daemon"
#: containerd's own, and k3s's.
_CONTAINERD = ("/var/lib/containerd", "/var/lib/rancher/k3s/agent/containerd")
_STORAGE_CONF = ("/usr/share/containers/storage.conf", "/etc/containers/storage.conf")
_HOMES = ".local/share/containers/storage"

#: What was read already, by root: one command looks up several names and many layers.
_READ: dict[str, list[Store]] = {}


def stores(directory: str = "/") -> list[Store]:
    """Return what every store below a root holds; `directory` may also be a store.

    Raises OSError if the directory cannot be opened.
    """
    root = Rooted(directory)
    try:
        if root.path:
            if root.path not in _READ:
                places = [""] if _is_store(root, "") else list(_usual(root))
                shared = _additional(root)
                _READ[root.path] = [one for path in places for one in _read(root, path, shared)]
            return _READ[root.path]
        places = list(_usual(root))
    finally:
        root.close()
    return [store for path in places for store in at(path)]


@functools.cache
def at(directory: str) -> tuple[Store, ...]:
    """Return what the store in a directory of this machine holds, nothing if there is none.

    Of a usual place, that includes what is kept elsewhere: Docker's names for the containers in
    containerd's store, what runs, podman's additional image stores.
    """
    root = Rooted("/")
    try:
        if any(_real(root, path) == directory for path in _with_more(root)):
            return tuple(_read(root, directory, _additional(root)))
    finally:
        root.close()
    try:
        return tuple(stores(directory))
    except OSError:
        return ()


def _is(kind: Sequence[str], root: Rooted, path: str) -> bool:
    """Tell whether a directory is a store of a kind, by a directory that those have."""
    return any(root.has(f"{path}/{one}") for one in kind)


def _is_store(root: Rooted, path: str) -> bool:
    return _is((*DOCKER, *STORAGE), root, path) or any(
        _is_containerd(root, place) for place in (path, path + _OWN)
    )


def _is_containerd(root: Rooted, path: str) -> bool:
    """Tell whether a directory is containerd's, and has ever held a layer.

    The one that Docker starts makes its directories even if Docker keeps its layers itself.
    """
    base = f"{path}/{CONTAINERD}"
    try:
        return "metadata.db" in root.names(base) or bool(root.names(f"{base}/snapshots"))
    except PermissionError:
        return True
    except OSError:
        return False


def _usual(root: Rooted) -> list[str]:
    """Return the directories where stores are that are where they usually are, or are set to be."""
    places = (_data_root(root), *_with_more(root))
    # a store that is reached in two ways is one
    return list(dict.fromkeys(_real(root, path) for path in places if _is_store(root, path)))


def _with_more(root: Rooted) -> Iterator[str]:
    """Yield the usual places of stores of which something is kept elsewhere."""
    yield from _CONTAINERD
    yield from _roots_of_storage(root)


def _real(root: Rooted, path: str) -> str:
    """Return a directory below a root without symbolic links."""
    try:
        return root.real(path).removeprefix(root.path)
    except OSError:
        return path


def _data_root(root: Rooted) -> str:
    """Return where Docker keeps what it has."""
    return _configured(root, "/etc/docker/daemon.json", "data-root") or _DOCKER


def _configured(root: Rooted, file: str, key: str) -> str:
    try:
        found = root.json(file)
    except (OSError, ValueError):
        return ""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) and value.startswith("/") else ""


def _roots_of_storage(root: Rooted) -> Iterator[str]:
    yield str(_storage_conf(root).get("graphroot") or _STORAGE)
    try:
        users = root.text("/etc/passwd").splitlines()
    except OSError:
        users = []
    for line in users:
        fields = line.split(":")
        if len(fields) > 5 and fields[5].startswith("/") and fields[5] != "/":
            yield f"{fields[5].rstrip('/')}/{_HOMES}"


def _storage_conf(root: Rooted) -> dict[str, Any]:
    """Return the [storage] table of storage.conf(5)."""
    found: dict[str, Any] = {}
    for file in _STORAGE_CONF:
        try:
            text = root.read(file).decode("utf-8", "replace")
        except OSError:
            continue
        import tomllib  # slow to import, and most machines have no such file

        try:
            table = tomllib.loads(text).get("storage")
        except ValueError:
            continue
        found |= table if isinstance(table, dict) else {}
    return found


def _additional(root: Rooted) -> tuple[str, ...]:
    options = _storage_conf(root).get("options")
    named = options.get("additionalimagestores") if isinstance(options, dict) else None
    return tuple(one for one in named or () if isinstance(one, str) and one.startswith("/"))


def _read(root: Rooted, path: str, additional: tuple[str, ...]) -> Iterator[Store]:
    # Each reader is imported if there is a store for it: most machines have one engine.
    if _is(DOCKER, root, path):
        from layerctl.stores import docker

        yield from docker.read(root, path)
    if _is(STORAGE, root, path):
        from layerctl.stores import containers_storage

        shared = tuple(one for one in additional if path and _is(STORAGE, root, one))
        yield containers_storage.read(root, path, shared)
    for place, own in ((path, _data_root(root)), (path + _OWN, path)):
        if _is_containerd(root, place):
            from layerctl.stores import containerd

            yield containerd.read(root, place, own)

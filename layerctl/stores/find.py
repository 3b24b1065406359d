"""Find the stores of a machine, or of a disk that came from one, and read them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from layerctl.kernel.rooted import Rooted
from layerctl.stores import containerd, containers_storage, docker
from layerctl.stores.store import Container, Store

_DOCKER, _STORAGE = "/var/lib/docker", "/var/lib/containers/storage"
#: containerd's own, Docker's where it runs one of its own, and k3s's.
_CONTAINERD = ("/var/lib/containerd", "/var/lib/rancher/k3s/agent/containerd")
_STORAGE_CONF = ("/usr/share/containers/storage.conf", "/etc/containers/storage.conf")
_HOMES = ".local/share/containers/storage"


def stores(directory: str = "/") -> list[Store]:
    """Return what every store below a root holds; `directory` may also be a store by itself.

    Raises OSError if the directory cannot be opened.
    """
    root = Rooted(directory)
    try:
        named = [""] if _is_store(root, "") else list(_usual(root))
        found: list[Store] = []
        for path in named:
            found += _read(root, path, _additional(root))
        return _joined(root, found)
    finally:
        root.close()


def _is_store(root: Rooted, path: str) -> bool:
    return any(one.is_one(root, path) for one in (docker, containers_storage, containerd))


def _usual(root: Rooted) -> Iterator[str]:
    """Yield the directories where stores usually are, or are set to be."""
    seen = dict.fromkeys(
        (
            _configured(root, "/etc/docker/daemon.json", "data-root") or _DOCKER,
            *_roots_of_storage(root),
            *_CONTAINERD,
        )
    )
    docker_root = next(iter(seen))
    seen[f"{docker_root}/containerd/daemon"] = None
    return (path for path in seen if _is_store(root, path))


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
            table = tomllib.loads(root.read(file).decode("utf-8", "replace")).get("storage")
        except (OSError, ValueError):
            continue
        found |= table if isinstance(table, dict) else {}
    return found


def _additional(root: Rooted) -> tuple[str, ...]:
    options = _storage_conf(root).get("options")
    named = options.get("additionalimagestores") if isinstance(options, dict) else None
    return tuple(one for one in named or () if isinstance(one, str) and one.startswith("/"))


def _read(root: Rooted, path: str, additional: tuple[str, ...]) -> Iterator[Store]:
    if docker.is_one(root, path):
        yield from docker.read(root, path)
    if containers_storage.is_one(root, path):
        yield containers_storage.read(root, path, additional if path else ())
    if containerd.is_one(root, path):
        yield containerd.read(root, path)


def _joined(root: Rooted, found: list[Store]) -> list[Store]:
    """Return stores with Docker's names for its containers that containerd keeps."""
    place = _configured(root, "/etc/docker/daemon.json", "data-root") or _DOCKER

    def named(container: Container) -> Container:
        if container.engine != "docker" or container.name is not None:
            return container
        name = _configured_name(root, f"{place}/containers/{container.id}/config.v2.json")
        return container._replace(name=name)

    return [
        one._replace(containers=tuple(map(named, one.containers)))
        if one.engine == "containerd"
        else one
        for one in found
    ]


def _configured_name(root: Rooted, file: str) -> str | None:
    try:
        found = root.json(file)
    except (OSError, ValueError):
        return None
    name = found.get("Name") if isinstance(found, dict) else None
    return name.lstrip("/") if isinstance(name, str) else None

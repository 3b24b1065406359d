"""Which container a mount belongs to, by how engines lay their directories out; nothing is asked.

Sources: moby daemon/graphdriver and layer/filestore.go (image/DRIVER/layerdb/mounts/ID/mount-id),
containers/storage containers.go (overlay-containers/containers.json), containerd's runtime v2
bundles. What cannot be read, for lack of privilege or since the container is gone, is unknown.
"""

from __future__ import annotations

import functools
import json
import os
import re
from typing import Any, NamedTuple

from layerctl.kernel.mounts import Mounted, read_text

#: Docker's own drivers: ROOT/overlay2/ID/{merged,diff} and ROOT/aufs/{mnt,diff}/ID.
_DOCKER = re.compile(
    r"(?P<root>/.*)/(?:(?P<driver>overlay2)/(?P<id>[^/]+)/(?:merged|diff)"
    r"|(?P<old>aufs)/(?:mnt|diff)/(?P<old_id>[^/]+))"
)
#: Docker with containerd's snapshots: ROOT/rootfs/SNAPSHOTTER/CONTAINER.
_DOCKER_ROOTFS = re.compile(r"(?P<root>/.*)/rootfs/[^/]+/(?P<id>[0-9a-f]{64})")
#: podman, buildah and CRI-O: ROOT/overlay/LAYER/{merged,diff}.
_STORAGE = re.compile(r"(?P<root>/.*)/overlay/(?P<id>[0-9a-f]{64})/(?:merged|diff\d*)")
#: A containerd bundle: STATE/io.containerd.runtime.v2.task/NAMESPACE/CONTAINER/rootfs.
_BUNDLE = re.compile(
    r"(?P<bundle>/.*/io\.containerd\.runtime\.v\d[^/]*/[^/]+/(?P<id>[^/]+))/rootfs"
)
#: Annotations that hold a name: Kubernetes' CRI, then nerdctl.
_NAMES = ("io.kubernetes.cri.container-name", "io.kubernetes.cri.sandbox-name", "nerdctl/name")


class Container(NamedTuple):
    """A container as its engine knows it; `name` is None where it has none that can be read."""

    engine: str
    id: str
    name: str | None


def of(mounted: Mounted) -> Container | None:
    """Return the container that a mount is the root of, None where none is known."""
    paths = [mounted.entry.target, *(layer.path for layer in mounted.stack.layers[:1])]
    for path in paths:
        for look in (_docker, _docker_rootfs, _storage, _bundle):
            found = look(path)
            if found is not None:
                return found
    return None


def _docker(path: str) -> Container | None:
    match = _DOCKER.fullmatch(path)
    if match is None:
        return None
    driver, identity = match["driver"] or match["old"], match["id"] or match["old_id"]
    container = _docker_mounts(match["root"], driver).get(identity)
    return None if container is None else _docker_named(match["root"], container)


@functools.cache
def _docker_mounts(root: str, driver: str) -> dict[str, str]:
    """Return the container of each mount id."""
    directory = f"{root}/image/{driver}/layerdb/mounts"
    found = {}
    for container in _names(directory):
        identity = _text(f"{directory}/{container}/mount-id")
        if identity is not None:
            found[identity.strip()] = container
    return found


def _docker_named(root: str, container: str) -> Container:
    config = _json(f"{root}/containers/{container}/config.v2.json")
    name = config.get("Name") if isinstance(config, dict) else None
    return Container("docker", container, name.lstrip("/") if isinstance(name, str) else None)


def _docker_rootfs(path: str) -> Container | None:
    match = _DOCKER_ROOTFS.fullmatch(path)
    return None if match is None else _docker_named(match["root"], match["id"])


def _storage(path: str) -> Container | None:
    match = _STORAGE.fullmatch(path)
    if match is None:
        return None
    for file in ("containers.json", "volatile-containers.json"):
        for one in _storage_containers(f"{match['root']}/overlay-containers/{file}"):
            if isinstance(one, dict) and one.get("layer") == match["id"]:
                names = one.get("names") or [None]
                return Container("podman", str(one.get("id")), names[0])
    return None


@functools.cache
def _storage_containers(path: str) -> list[Any]:
    listed = _json(path)
    return listed if isinstance(listed, list) else []


def _bundle(path: str) -> Container | None:
    match = _BUNDLE.fullmatch(path)
    if match is None:
        return None
    config = _json(f"{match['bundle']}/config.json")
    annotations = config.get("annotations") if isinstance(config, dict) else None
    known = annotations if isinstance(annotations, dict) else {}
    name = next((known[key] for key in _NAMES if known.get(key)), None)
    return Container("containerd", match["id"], name)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _text(path: str) -> str | None:
    try:
        return read_text(path)
    except OSError:
        return None


def _json(path: str) -> Any:
    try:
        return json.loads(_text(path) or "null")
    except ValueError:
        return None

"""Which container a mount is the root of, and what its layers are called.

The stores are found by the directories of the mounts themselves, so that an engine may keep its
store anywhere. What cannot be read, for lack of privilege or since it is gone, is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from layerctl.kernel import paths
from layerctl.kernel.mounts import Mounted
from layerctl.kernel.rooted import Rooted
from layerctl.model import Layer, Role
from layerctl.stores import find, names
from layerctl.stores.store import Container

#: A layer's directory, or a merged one, in a store: of Docker's two drivers, of
#: containers-storage, and of containerd's snapshotter, also where it is Docker's own.
_STORED = re.compile(
    r"(?P<root>/.*?)/(?:overlay2/(?P<docker>[0-9a-z]{12,64}(?:-init)?)"
    r"|aufs/(?:mnt|diff)/(?P<aufs>[0-9a-z]{12,64}(?:-init)?)"
    r"|overlay/(?P<storage>[0-9a-f]{64})"
    r"|(?:containerd/daemon/)?io\.containerd\.snapshotter\.v1\.overlayfs/snapshots"
    r"/(?P<snapshot>\d+))(?:/.*)?"
)
#: Docker's short name for a layer, a symbolic link, which keeps its mount options short.
_LINK = re.compile(r"/overlay2?/l/[A-Z0-9]{26}$")
#: Docker with containerd's snapshots: ROOT/rootfs/SNAPSHOTTER/CONTAINER.
_DOCKER_ROOTFS = re.compile(r"(?P<root>/.*)/rootfs/[^/]+/(?P<id>[0-9a-f]{64})")
#: A containerd bundle: STATE/io.containerd.runtime.v2.task/NAMESPACE/CONTAINER/rootfs.
_BUNDLE = re.compile(
    r"(?P<bundle>/.*/io\.containerd\.runtime\.v\d[^/]*/[^/]+/(?P<id>[^/]+))/rootfs"
)
#: Annotations that hold a name: Kubernetes' CRI, then nerdctl.
_NAMES = ("io.kubernetes.cri.container-name", "io.kubernetes.cri.sandbox-name", "nerdctl/name")


def of(mounted: Mounted) -> Container | None:
    """Return the container that a mount is the root of, None if none is known."""
    written = (layer.path for layer in mounted.stack.layers[:1] if _is_written(layer))
    for path in (mounted.entry.target, *written):
        for look in (_docker_rootfs, _bundle, _stored):
            found = look(path)
            if found is not None:
                return found
    return None


def _is_written(layer: Layer) -> bool:
    """Tell whether a topmost layer is one that the mount writes to, as a container's is."""
    return layer.role is Role.UPPER or (layer.role is Role.BRANCH and layer.permission == "rw")


def root_of(path: str) -> str | None:
    """Return the store that a directory looks to be in, None if it looks to be in none."""
    match = _STORED.fullmatch(path)
    return None if match is None else match["root"]


class Known(NamedTuple):
    """What a store knows of a layer's directory.

    `directory` is the one that an engine's short link (`l/`) leads to, `label` what people call it,
    `step` the step of an image's history that made it; each is empty if there is none.
    """

    directory: str = ""
    label: str = ""
    step: str = ""


def known_of(layers: Iterable[str]) -> dict[str, Known]:
    """Return what stores know of the directories of layers; see `names.labels`."""
    places = {path: paths.real(path) if _LINK.search(path) else path for path in layers}
    roots = dict.fromkeys(filter(None, map(root_of, places.values())))
    found = [store for root in roots for store in find.at(root)]
    labels, steps = names.labels(found), names.steps(found)
    return {
        path: Known("" if place == path else place, labels.get(place, ""), steps.get(place, ""))
        for path, place in places.items()
    }


def _stored(path: str) -> Container | None:
    match = _STORED.fullmatch(path)
    if match is None:
        return None
    identity = match["docker"] or match["aufs"] or match["storage"] or match["snapshot"]
    for store in find.at(match["root"]):
        for container in store.containers:
            if container.layers[:1] == (identity,):
                return container
    return None


def _docker_rootfs(path: str) -> Container | None:
    match = _DOCKER_ROOTFS.fullmatch(path)
    if match is None:
        return None
    name = _json(f"{match['root']}/containers/{match['id']}/config.v2.json").get("Name")
    return Container("docker", match["id"], name.lstrip("/") if isinstance(name, str) else None)


def _bundle(path: str) -> Container | None:
    match = _BUNDLE.fullmatch(path)
    if match is None:
        return None
    annotations = _json(f"{match['bundle']}/config.json").get("annotations")
    known = annotations if isinstance(annotations, dict) else {}
    name = next((known[key] for key in _NAMES if known.get(key)), None)
    return Container("containerd", match["id"], name)


def _json(path: str) -> dict[str, object]:
    root = Rooted("/")
    try:
        found = root.json(path)
    except (OSError, ValueError):
        return {}
    finally:
        root.close()
    return found if isinstance(found, dict) else {}

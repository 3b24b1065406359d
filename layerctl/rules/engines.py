"""Container engines: whose a directory is, and their own commands. Pure.

An engine makes, unmounts and removes the roots of its containers itself. What others do to these
mounts it does not notice, so that a fault of one is mended with the engine's commands.

Sources: moby daemon/graphdriver/overlay2, containers/storage drivers/overlay, containerd's
runtime v2 bundles and overlayfs snapshotter; docker(1), podman(1), ctr(8), crictl's own help.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from layerctl.rules.words import shell


class Purpose(StrEnum):
    """What a command of an engine is for."""

    STOP = "stop a container"
    REMOVE = "remove a container"
    RESTART = "start a container again"
    PULL = "get an image again"
    CLEAN = "free space"
    CHECK = "find layers that nothing names"
    STORAGE = "keep the storage elsewhere"
    VOLUME = "run a container with a volume"


class Engine(NamedTuple):
    """An engine and its commands.

    `{container}` and `{namespace}` are places for what is known of a container.
    """

    name: str
    commands: Mapping[Purpose, tuple[str, ...]]


#: By the name of the engine; containerd twice, as Kubernetes and as others use it.
ENGINES = {
    "docker": Engine(
        "docker",
        {
            Purpose.STOP: ("docker stop {container}",),
            Purpose.REMOVE: ("docker rm {container}",),
            Purpose.RESTART: ("docker restart {container}",),
            Purpose.PULL: ("docker rmi IMAGE", "docker pull IMAGE"),
            Purpose.CLEAN: ("docker system df", "docker system prune"),
            Purpose.CHECK: ("docker system df", "docker system prune"),
            Purpose.STORAGE: (
                "dockerd --data-root DIR",
                "docker run -v docker-data:/var/lib/docker IMAGE",
            ),
            Purpose.VOLUME: ("docker run -v VOLUME:/DIR IMAGE",),
        },
    ),
    "podman": Engine(
        "podman",
        {
            Purpose.STOP: ("podman stop {container}",),
            Purpose.REMOVE: ("podman rm {container}",),
            Purpose.RESTART: ("podman restart {container}",),
            Purpose.PULL: ("podman system check --repair", "podman pull IMAGE"),
            Purpose.CLEAN: ("podman system df", "podman system prune"),
            Purpose.CHECK: ("podman system check", "podman system check --repair"),
            Purpose.STORAGE: (
                "podman --root DIR info",
                "podman run -v storage:/var/lib/containers IMAGE",
            ),
            Purpose.VOLUME: ("podman run -v VOLUME:/DIR IMAGE",),
        },
    ),
    "containerd": Engine(
        "containerd",
        {
            Purpose.STOP: ("ctr -n {namespace} task kill {container}",),
            Purpose.REMOVE: (
                "ctr -n {namespace} task rm {container}",
                "ctr -n {namespace} container rm {container}",
            ),
            Purpose.RESTART: (
                "ctr -n {namespace} task kill {container}",
                "ctr -n {namespace} task rm {container}",
                "ctr -n {namespace} task start -d {container}",
            ),
            Purpose.PULL: (
                "ctr -n {namespace} images rm IMAGE",
                "ctr -n {namespace} images pull IMAGE",
            ),
            Purpose.CLEAN: ("nerdctl -n {namespace} system prune",),
            Purpose.CHECK: ("ctr -n {namespace} content prune references",),
            Purpose.STORAGE: ("containerd --root DIR",),
            Purpose.VOLUME: ("nerdctl -n {namespace} run -v VOLUME:/DIR IMAGE",),
        },
    ),
    "kubernetes": Engine(
        "containerd",
        {
            Purpose.STOP: ("crictl stop {container}",),
            Purpose.REMOVE: ("crictl rm {container}",),
            Purpose.RESTART: ("crictl stop {container}",),
            Purpose.PULL: ("crictl rmi IMAGE", "crictl pull IMAGE"),
            Purpose.CLEAN: ("crictl rmi --prune",),
            Purpose.CHECK: ("crictl ps -a",),
            Purpose.STORAGE: ("containerd --root DIR",),
        },
    ),
}

_HASH = r"[0-9a-f]{64}(?:-init)?"
#: How engines lay out the roots and the layers of containers.
_LAYOUTS = (
    ("docker", re.compile(rf"/.*/overlay2/(?:{_HASH}|[0-9a-z]{{25}})/(?:merged|diff)(/|$)")),
    ("docker", re.compile(rf"/.*/aufs/(?:mnt|diff)/{_HASH}(/|$)")),
    ("docker", re.compile(r"/.*/rootfs/[^/]+/[0-9a-f]{64}(/|$)")),
    ("podman", re.compile(r"/.*/overlay/[0-9a-f]{64}/(?:merged|diff\d*)(/|$)")),
    ("containerd", re.compile(r"/.*/io\.containerd\.runtime\.v\d[^/]*/(?P<namespace>[^/]+)/"
                              r"(?P<container>[^/]+)/rootfs(/|$)")),
    ("containerd", re.compile(r"/.*/io\.containerd\.snapshotter\.v1\.[^/]+/snapshots/\d+(/|$)")),
)  # fmt: skip
#: Engines that are told by containerd's namespace.
_NAMESPACES = {"moby": "docker", "k8s.io": "kubernetes"}


class Owner(NamedTuple):
    """The engine that a directory belongs to, and what is known of the container."""

    engine: Engine
    container: str = "CONTAINER"
    namespace: str = "NAMESPACE"

    def commands(self, *purposes: Purpose) -> tuple[str, ...]:
        """Return the engine's commands for some purposes, in order."""
        values = {"container": shell(self.container), "namespace": shell(self.namespace)}
        found = (line for purpose in purposes for line in self.engine.commands.get(purpose, ()))
        return tuple(line.format(**values) for line in found)


def owner(path: str) -> Owner | None:
    """Return whose a directory is, by how engines lay theirs out; None if no engine's."""
    for name, layout in _LAYOUTS:
        match = layout.match(path)
        if match is None:
            continue
        known = match.groupdict()
        namespace = known.get("namespace") or "NAMESPACE"
        engine = ENGINES[_NAMESPACES.get(namespace, name)]
        return Owner(engine, known.get("container") or "CONTAINER", namespace)
    return None


def of_mount(target: str, layers: tuple[str, ...]) -> Owner | None:
    """Return the owner of a mount; the layers identify the root of a container from inside."""
    found = owner(target)
    if found is None and target == "/" and layers:
        found = owner(layers[0])
    return found

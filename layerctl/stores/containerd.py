"""containerd's overlayfs snapshotter, and Docker's image store where it is kept by containerd.

Sources: containerd core/metadata/buckets.go (meta.db: images, containers, snapshots of each
namespace), core/snapshots/storage/bolt.go (metadata.db: `id`, `kind`, `parent` of each snapshot),
plugins/snapshots/overlay (snapshots/ID/{fs,work}), core/content (blobs/ALGORITHM/DIGEST).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from layerctl.kernel.rooted import Rooted
from layerctl.stores import bolt
from layerctl.stores.bolt import Bucket, DamagedError
from layerctl.stores.docker import Containers
from layerctl.stores.reading import Reading, chain_ids, short_name, steps_of, strings
from layerctl.stores.store import Container, Image, Store, StoredLayer

SNAPSHOTTER = "io.containerd.snapshotter.v1.overlayfs"
_META, _CONTENT = "io.containerd.metadata.v1.bolt/meta.db", "io.containerd.content.v1.content"
#: Where the bundles of running containers lie (runtime v2), by the version of the shim's API.
_TASKS = "/run/containerd/io.containerd.runtime.v2.task"
_DIGEST = re.compile(r"(sha256|sha384|sha512):([0-9a-f]{64,128})")
#: Names that a label may hold for people: Kubernetes' CRI, then nerdctl.
_NAMES = ("io.kubernetes.container.name", "nerdctl/name")


class _Snapshot(NamedTuple):
    id: str
    parent: str  # key in the snapshotter's database


class _Named(NamedTuple):
    """What one namespace holds; snapshot keys are those of the snapshotter's database."""

    namespace: str
    snapshots: dict[str, str]
    images: dict[str, str]
    containers: dict[str, dict[str, str]]


def read(root: Rooted, path: str, engine: str = "") -> Store:
    """Return what a store holds; `engine` is the data root of a Docker that keeps its images here.

    Raises nothing.
    """
    return _Containerd(root, path, Containers(root, engine)).store()


class _Containerd(Reading):
    def __init__(self, root: Rooted, path: str, docker: Containers) -> None:
        super().__init__(root, path)
        self.docker = docker
        self.snapshots: dict[str, _Snapshot] = {}
        self.named: list[_Named] = []
        #: The diff id of each chain id, as the images tell it.
        self.diffs: dict[str, str] = {}

    def store(self) -> Store:
        self.whole = self._database(f"{SNAPSHOTTER}/metadata.db", self._read_snapshots)
        self._database(_META, self._read_names)
        images = tuple(image for named in self.named for image in self._images(named))
        layers = dict(self._layers())
        containers = tuple(one for named in self.named for one in self._containers(named))
        return Store(
            "containerd",
            self.place,
            "overlayfs",
            layers,
            images,
            containers,
            (*self.unknown(), *self.docker.unknown()),
            self.whole,
        )

    def _database(self, path: str, read: Callable[[Bucket], None]) -> bool:
        try:
            fd = self.root.open(f"{self.path}/{path}")
        except OSError as error:
            self.lost(f"{self.place}/{path}: {error.strerror}")
            return False
        try:
            bolt.read_whole(fd, read)
            return True
        except (OSError, DamagedError) as error:
            self.lost(f"{self.place}/{path}: {error}")
            return False
        finally:
            os.close(fd)

    def _read_snapshots(self, root: Bucket) -> None:
        self.snapshots.clear()
        below = root.bucket(b"v1", b"snapshots")
        for key, one in () if below is None else below.buckets():
            try:
                number = _uvarint(one.value(b"id"))
            except DamagedError as error:
                self.lost(f"snapshot {_text(key)}: {error}")
                continue
            self.snapshots[_text(key)] = _Snapshot(str(number), _text(one.value(b"parent")))

    def _read_names(self, root: Bucket) -> None:
        self.named.clear()
        below = root.bucket(b"v1")
        for name, one in () if below is None else below.buckets():
            named = _Named(_text(name), {}, {}, {})
            self.named.append(named)
            snapshots = one.bucket(b"snapshots", b"overlayfs")
            for key, snapshot in () if snapshots is None else snapshots.buckets():
                named.snapshots[_text(key)] = _text(snapshot.value(b"name"))
            images = one.bucket(b"images")
            for key, image in () if images is None else images.buckets():
                target = image.bucket(b"target")
                named.images[_text(key)] = "" if target is None else _text(target.value(b"digest"))
            containers = one.bucket(b"containers")
            for key, container in () if containers is None else containers.buckets():
                labels = container.bucket(b"labels")
                known = {} if labels is None else dict(labels.items())
                named.containers[_text(key)] = {
                    **{_text(k): _text(v) for k, v in known.items() if isinstance(v, bytes)},
                    "image": _text(container.value(b"image")),
                    "snapshot": _text(container.value(b"snapshotKey")),
                }

    def _layers(self) -> Iterator[tuple[str, StoredLayer]]:
        present = self.directories(f"{SNAPSHOTTER}/snapshots")
        chains = {key: name for named in self.named for name, key in named.snapshots.items()}
        for key, one in self.snapshots.items():
            parent = self.snapshots.get(one.parent)
            if one.parent and parent is None:
                self.lost(f"snapshot {one.id}: its parent is missing")
            name = chains.get(key, key.rpartition("/")[2])
            chain = name if _DIGEST.fullmatch(name) else ""
            place = present.pop(one.id, "")
            below = None if parent is None else parent.id
            diff = self.diffs.get(name, "")
            yield one.id, StoredLayer(one.id, place and f"{place}/fs", below, chain, diff)
        for name, place in present.items():
            if name.isdecimal():
                yield name, StoredLayer(name, f"{place}/fs", recorded=False)

    def _below(self, key: str | None) -> tuple[str, ...]:
        found: dict[str, None] = {}
        here = self.snapshots.get(key or "")
        while here is not None and here.id not in found:
            found[here.id] = None
            here = self.snapshots.get(here.parent)
        return tuple(found)

    def _images(self, named: _Named) -> Iterator[Image]:
        names: dict[str, list[str]] = {}
        for name, digest in named.images.items():
            names.setdefault(digest, []).append(name)
        for digest, called in sorted(names.items()):
            short = tuple(sorted(map(short_name, called)))
            config_id, config = self._config(digest)
            diffs = strings(self.mapping(config.get("rootfs")).get("diff_ids"))
            chains = chain_ids(diffs)
            self.diffs |= zip(chains, diffs, strict=True)
            layers = self._below(named.snapshots.get(chains[-1])) if chains else ()
            # an image that was fetched and never unpacked has no snapshots
            if layers:
                yield Image(digest, short, layers, steps_of(config, len(layers)), config_id)

    def _config(self, digest: str) -> tuple[str, dict[str, Any]]:
        """Return an image's configuration, of several manifests the first one's that is here."""
        manifest = self.mapping(self._blob(digest))
        for one in self.objects(manifest.get("manifests")):
            found = self.mapping(self._blob(one.get("digest"), optional=True))
            if found.get("config") is not None:
                manifest = found
                break
        identity = self.mapping(manifest.get("config")).get("digest")
        return str(identity or ""), self.mapping(self._blob(identity))

    def _blob(self, digest: Any, *, optional: bool = False) -> Any:
        match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        if match is None:
            return None
        return self.json(f"{_CONTENT}/blobs/{match[1]}/{match[2]}", optional=optional)

    def _containers(self, named: _Named) -> Iterator[Container]:
        if named.namespace == "moby":
            # Docker removes containerd's record of a container that stops.
            for identity in self.docker.ids():
                if identity in named.snapshots:
                    layers = self._below(named.snapshots[identity])
                    yield self.docker.container(identity, layers)
            return
        for identity, known in named.containers.items():
            layers = self._below(named.snapshots.get(known["snapshot"]))
            name = next((known[one] for one in _NAMES if known.get(one)), None)
            running = self.root.has(f"{_TASKS}/{named.namespace}/{identity}")
            image = named.images.get(known["image"], known["image"])
            state = "running" if running else "stopped"
            yield Container("containerd", identity, name, image, layers, state)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _uvarint(raw: bytes) -> int:
    """Return a number as Go's encoding/binary writes it. Raises DamagedError."""
    value = 0
    for place, byte in enumerate(raw[:10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value
    raise DamagedError("a number is cut short")

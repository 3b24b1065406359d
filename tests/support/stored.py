"""Stores of engines as small as they can be, laid out as the engines lay them out."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerctl.stores import bolt
from layerctl.stores.reading import chain_ids

PAGE = 4096
Tree = Mapping[bytes, "bytes | Tree"]


def digest(text: str) -> str:
    """Return the digest of a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def write(path: Path, content: Any) -> None:
    """Write text, or JSON, to a file whose directories are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def _config(diffs: Sequence[str], steps: Sequence[str]) -> dict[str, Any]:
    """Return an image's configuration; a step that begins with '-' made no layer."""
    history = [
        {"created_by": step.removeprefix("-"), **({"empty_layer": True} if step[0] == "-" else {})}
        for step in steps
    ]
    return {"rootfs": {"type": "layers", "diff_ids": list(diffs)}, "history": history}


class Docker:
    """A store of Docker's own, of overlay2 or aufs."""

    def __init__(self, root: Path, driver: str = "overlay2") -> None:
        self.root, self.driver = root, driver
        self.tags: dict[str, dict[str, str]] = {}
        self.cached: dict[str, str] = {}
        (root / "image" / driver / "layerdb" / "mounts").mkdir(parents=True)
        (root / "containers").mkdir()

    def directory(self, identity: str) -> Path:
        """Return the directory of a layer's files."""
        if self.driver == "aufs":
            return self.root / "aufs/diff" / identity
        return self.root / "overlay2" / identity / "diff"

    def _make(self, identity: str, below: Sequence[str]) -> None:
        self.directory(identity).mkdir(parents=True)
        if self.driver == "aufs":
            write(self.root / "aufs/layers" / identity, "".join(f"{one}\n" for one in below))
            return
        link = hashlib.sha256(identity.encode()).hexdigest()[:26].upper()
        here = self.root / "overlay2" / identity
        write(here / "link", link)
        (here / "work").mkdir()
        (self.root / "overlay2/l").mkdir(exist_ok=True)
        (self.root / "overlay2/l" / link).symlink_to(f"../{identity}/diff")
        if below:
            links = [(self.root / "overlay2" / one / "link").read_text() for one in below]
            write(here / "lower", ":".join(f"l/{one}" for one in links))

    def image(self, name: str, layers: Sequence[str], steps: Sequence[str]) -> str:
        """Make an image of layers, lowest first, by names of their contents; return its id."""
        diffs = [digest(one) for one in layers]
        below: list[str] = []
        parent = ""
        for chain, diff in zip(chain_ids(diffs), diffs, strict=True):
            if chain not in self.cached:
                self.cached[chain] = identity = digest(f"cache {chain}").partition(":")[2]
                self._make(identity, below)
                entry = self.root / "image" / self.driver / "layerdb/sha256" / chain[7:]
                write(entry / "cache-id", identity)
                write(entry / "diff", diff)
                if parent:
                    write(entry / "parent", parent)
            below.insert(0, self.cached[chain])
            parent = chain
        config = json.dumps(_config(diffs, steps))
        identity = digest(config)
        base = self.root / "image" / self.driver
        write(base / "imagedb/content/sha256" / identity[7:], config)
        self.tags.setdefault(name.partition(":")[0], {})[name] = identity
        write(base / "repositories.json", {"Repositories": self.tags})
        return identity

    def container(self, name: str, image: str, state: str = "Running") -> str:
        """Make a container; return its id."""
        base = self.root / "image" / self.driver
        config = json.loads((base / "imagedb/content/sha256" / image[7:]).read_text())
        chains = chain_ids(config["rootfs"]["diff_ids"])
        below = [self.cached[chain] for chain in reversed(chains)]
        top = digest(f"mount {name}").partition(":")[2]
        self._make(f"{top}-init", below)
        self._make(top, [f"{top}-init", *below])
        identity = digest(f"container {name}").partition(":")[2]
        entry = base / "layerdb/mounts" / identity
        write(entry / "mount-id", top)
        write(entry / "init-id", f"{top}-init")
        write(entry / "parent", chains[-1])
        document = {"ID": identity, "Name": f"/{name}", "Image": image, "State": {state: True}}
        write(self.root / "containers" / identity / "config.v2.json", document)
        return identity


class Storage:
    """A store of podman's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers: list[dict[str, Any]] = []
        self.images: list[dict[str, Any]] = []
        self.containers: list[dict[str, Any]] = []

    def directory(self, identity: str) -> Path:
        """Return the directory of a layer's files."""
        return self.root / "overlay" / identity / "diff"

    def _layer(self, text: str, parent: str, diff: str = "") -> str:
        identity = digest(text).partition(":")[2]
        self.directory(identity).mkdir(parents=True)
        self.layers.append({"id": identity, "parent": parent, "diff-digest": diff})
        write(self.root / "overlay-layers/layers.json", self.layers)
        return identity

    def image(self, name: str, layers: Sequence[str], steps: Sequence[str]) -> str:
        """Make an image of layers, lowest first; return its id."""
        top = ""
        for one in layers:
            top = self._layer(f"{name} {one}", top, digest(one))
        config = json.dumps(_config([digest(one) for one in layers], steps))
        identity = digest(config).partition(":")[2]
        file = "=" + base64.b64encode(f"sha256:{identity}".encode()).decode()
        write(self.root / "overlay-images" / identity / file, config)
        self.images.append({"id": identity, "names": [name], "layer": top})
        write(self.root / "overlay-images/images.json", self.images)
        return identity

    def container(self, name: str, image: str) -> str:
        """Make a container; return its id."""
        top = next(one["layer"] for one in self.images if one["id"] == image)
        layer = self._layer(f"container {name}", top)
        identity = digest(f"podman {name}").partition(":")[2]
        self.containers.append({"id": identity, "names": [name], "image": image, "layer": layer})
        write(self.root / "overlay-containers/containers.json", self.containers)
        return identity


class Containerd:
    """A store of containerd's, with one namespace."""

    def __init__(self, root: Path, namespace: str = "default") -> None:
        self.root = root
        self.snapshots: dict[bytes, Tree] = {}
        self.named: dict[bytes, Tree] = {}
        self.images: dict[bytes, Tree] = {}
        self.containers: dict[bytes, Tree] = {}
        self.namespace = namespace

    def directory(self, identity: str) -> Path:
        """Return the directory of a snapshot's files."""
        return self.root / f"io.containerd.snapshotter.v1.overlayfs/snapshots/{identity}/fs"

    def _snapshot(self, name: str, parent: bytes) -> bytes:
        number = len(self.snapshots) + 1
        key = f"{self.namespace}/{number}/{name}".encode()
        self.directory(str(number)).mkdir(parents=True)
        self.snapshots[key] = {b"id": bytes([number]), b"parent": parent, b"kind": b"\x03"}
        self.named[name.encode()] = {b"name": key}
        return key

    def _blob(self, content: Any) -> str:
        text = json.dumps(content)
        identity = digest(text)
        write(self.root / f"io.containerd.content.v1.content/blobs/sha256/{identity[7:]}", text)
        return identity

    def image(self, name: str, layers: Sequence[str], steps: Sequence[str]) -> str:
        """Make an image of layers, lowest first; return its id."""
        diffs = [digest(one) for one in layers]
        parent = b""
        for chain in chain_ids(diffs):
            parent = self._snapshot(chain, parent)
        config = self._blob(_config(diffs, steps))
        manifest = self._blob({"config": {"digest": config}})
        index = self._blob({"manifests": [{"digest": digest("elsewhere")}, {"digest": manifest}]})
        self.images[name.encode()] = {b"target": {b"digest": index.encode()}}
        self.write()
        return config

    def container(self, name: str, image: str) -> str:
        """Make a container of the image of a name; return its id."""
        top = list(self.snapshots)[-1]
        self._snapshot(name, top)
        self.containers[name.encode()] = {b"image": image.encode(), b"snapshotKey": name.encode()}
        self.write()
        return name

    def write(self) -> None:
        """Write the databases."""
        base = self.root / "io.containerd.snapshotter.v1.overlayfs"
        (base / "metadata.db").write_bytes(database({b"v1": {b"snapshots": self.snapshots}}))
        here: Tree = {
            b"images": self.images,
            b"containers": self.containers,
            b"snapshots": {b"overlayfs": self.named},
        }
        meta = self.root / "io.containerd.metadata.v1.bolt"
        meta.mkdir(exist_ok=True)
        (meta / "meta.db").write_bytes(database({b"v1": {self.namespace.encode(): here}}))


def database(tree: Tree, fan: int = 1 << 30, txid: int = 0) -> bytes:
    """Return a bbolt database; no page of its root holds more than `fan` names.

    `txid` is the number of its last transaction but one.
    """
    pages: list[tuple[int, bytes]] = []  # number of the first page, bytes

    def put(make: Any) -> int:
        number = 2 + sum(len(raw) // PAGE for _, raw in pages)
        raw = make(number)
        size = -(-len(raw) // PAGE) * PAGE
        own, flags, count, _ = struct.unpack_from("<QHHI", raw)
        raw = struct.pack("<QHHI", own, flags, count, size // PAGE - 1) + raw[16:]
        pages.append((number, raw.ljust(size, b"\0")))
        return number

    items = sorted(tree.items())
    parts = [items[at : at + fan] for at in range(0, len(items), fan)] or [[]]
    leaves = [(part, put(lambda number, part=part: _leaf(dict(part), number))) for part in parts]
    root = leaves[0][1]
    if len(leaves) > 1:
        keys = [(part[0][0], number) for part, number in leaves]
        root = put(lambda number: _branch(keys, number))
    metas = b"".join(_meta(number, root, txid + number) for number in (0, 1))
    return metas + b"".join(raw for _, raw in pages)


def _leaf(tree: Tree, number: int = 0) -> bytes:
    items = sorted(tree.items())
    elements, data = b"", b""
    for index, (name, value) in enumerate(items):
        flags, raw = (0, value) if isinstance(value, bytes) else (1, _inline(value))
        position = (len(items) - index) * 16 + len(data)
        elements += struct.pack("<IIII", flags, position, len(name), len(raw))
        data += name + raw
    return struct.pack("<QHHI", number, 0x02, len(items), 0) + elements + data


def _inline(tree: Tree) -> bytes:
    return struct.pack("<QQ", 0, 0) + _leaf(tree)


def _branch(keys: Sequence[tuple[bytes, int]], number: int) -> bytes:
    elements, data = b"", b""
    for index, (name, page) in enumerate(keys):
        position = (len(keys) - index) * 16 + len(data)
        elements += struct.pack("<IIQ", position, len(name), page)
        data += name
    return struct.pack("<QHHI", number, 0x01, len(keys), 0) + elements + data


def _meta(number: int, root: int, txid: int) -> bytes:
    body = struct.pack("<IIIIQQQQQ", bolt.MAGIC, bolt.VERSION, PAGE, 0, root, 0, 2, 99, txid)
    checksum = 0xCBF29CE484222325
    for byte in body:
        checksum = (checksum ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    header = struct.pack("<QHHI", number, 0x04, 0, 0)
    return (header + body + struct.pack("<Q", checksum)).ljust(PAGE, b"\0")


def sample(disk: Path) -> None:
    """Make the disk of a machine with Docker: two images, and two containers of one of them."""
    docker = Docker(disk / "var/lib/docker")
    base = ["ADD rootfs.tar.xz / # buildkit", '-CMD ["bash"]']
    docker.image("debian:12", ["debian"], base)
    steps = [*base, "RUN /bin/sh -c apt-get install -y nginx # buildkit", "COPY sdk.bin /opt/"]
    image = docker.image("bigapp:2", ["debian", "nginx", "sdk"], steps)
    lowest, nginx, sdk = (docker.directory(one) for one in docker.cached.values())
    write(lowest / "etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    write(lowest / "etc/motd", "welcome\n")
    write(nginx / "etc/nginx/nginx.conf", "worker_processes 1;\n")
    (sdk / "opt").mkdir()
    (sdk / "opt/sdk.bin").write_bytes(bytes(3 << 20))
    for name, state in (("web", "Running"), ("db", "Dead")):
        identity = docker.container(name, image, state)
        top = docker.directory(
            (docker.root / f"image/overlay2/layerdb/mounts/{identity}/mount-id").read_text()
        )
        if name == "web":
            (top / "opt").mkdir()
            os.mknod(top / "opt/sdk.bin", 0o20600, 0)
            write(top / "etc/nginx/nginx.conf", "worker_processes 4;\n")
        else:
            write(top / "var/lib/db/data", "rows\n")

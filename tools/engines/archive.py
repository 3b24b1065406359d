"""An image of three layers in an archive that every engine loads."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IMAGE = "layerctl-app:2"
#: The steps that made its layers, topmost first.
STEPS = ("RUN rm /etc/gone", "RUN touch /etc/two", "ADD base")
#: What the image shows.
FILES = {"bin/busybox", "etc/motd", "etc/two"}

_BUSYBOX = Path("/bin/busybox")
_LAYERS: tuple[dict[str, bytes | None], ...] = (
    {"bin/busybox": None, "etc/motd": b"image\n", "etc/gone": b"x"},
    {"etc/two": b""},
    {"etc/.wh.gone": b""},
)
_OCI = "application/vnd.oci.image"


def write(path: Path) -> None:
    """Write the archive: an OCI layout that is what `docker save` writes, too."""
    blobs: dict[str, bytes] = {}

    def put(content: bytes | Mapping[str, Any], kind: str) -> dict[str, Any]:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = hashlib.sha256(raw).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = raw
        return {
            "mediaType": f"{_OCI}.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(raw),
        }

    layers = [put(_tar(files), "layer.v1.tar") for files in _LAYERS]
    config = put(_config(layers), "config.v1+json")
    manifest = put({"schemaVersion": 2, "config": config, "layers": layers}, "manifest.v1+json")
    manifest["annotations"] = {
        "io.containerd.image.name": f"docker.io/library/{IMAGE}",
        "org.opencontainers.image.ref.name": IMAGE.partition(":")[2],
    }
    names = [_file(one) for one in layers]
    old = {"Config": _file(config), "RepoTags": [IMAGE], "Layers": names}
    files: dict[str, Any] = {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": {"schemaVersion": 2, "manifests": [manifest]},
        "manifest.json": [old],
    }
    texts = {name: json.dumps(one).encode() for name, one in files.items()}
    path.write_bytes(_tar({**texts, **blobs}))


def _config(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the configuration of an image of layers that are not compressed."""
    base, *others = [{"created_by": step} for step in reversed(STEPS)]
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [one["digest"] for one in layers]},
        "history": [base, {"created_by": "ENV A=b", "empty_layer": True}, *others],
    }


def _file(descriptor: Mapping[str, Any]) -> str:
    return str(descriptor["digest"]).replace("sha256:", "blobs/sha256/")


def _tar(files: Mapping[str, bytes | None]) -> bytes:
    """Return an archive of files; None stands for a static program."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, given in files.items():
            content = _BUSYBOX.read_bytes() if given is None else given
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()

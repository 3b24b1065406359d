"""Images unpacked layer by layer: OCI layouts, archives of them and of docker save."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.archives.support import DIR, entry, tree
from tests.support import ROOT, layerctl, layerctl_json

#: From the topmost down: what each layer holds.
LAYERS = (
    (entry("d/.wh..wh..opq"), entry("d/new"), entry(".wh.gone")),
    (entry("d", DIR), entry("d/old"), entry("gone"), entry("base")),
)


def archive(entries: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for info, text in entries:
            made.addfile(info, io.BytesIO(text))
    return out.getvalue()


def digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def layout(path: Path, *, refs: tuple[str, ...] = ("app",), broken: bool = False) -> Path:
    """Write an OCI layout with images of the same layers, one of them compressed."""
    (path / "blobs/sha256").mkdir(parents=True)

    def blob(raw: bytes) -> dict[str, Any]:
        name = digest(raw)
        (path / "blobs/sha256" / name.removeprefix("sha256:")).write_bytes(raw)
        return {"digest": name, "size": len(raw)}

    plain = [archive(one) for one in reversed(LAYERS)]
    blobs = [blob(gzip.compress(plain[0], mtime=0)), blob(plain[1])]
    if broken:
        name = blobs[1]["digest"].removeprefix("sha256:")
        (path / "blobs/sha256" / name).write_bytes(archive((entry("evil"),)))
    config = blob(json.dumps({"rootfs": {"diff_ids": [digest(one) for one in plain]}}).encode())
    manifest = blob(json.dumps({"config": config, "layers": blobs}).encode())
    key = "org.opencontainers.image.ref.name"
    manifests = [manifest | {"annotations": {key: ref}} for ref in refs]
    (path / "index.json").write_text(json.dumps({"manifests": manifests}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return path


def packed(source: Path, to: Path) -> Path:
    with tarfile.open(to, "w") as made:
        for name in sorted(os.listdir(source)):
            made.add(source / name, name)
    return to


def docker_save(path: Path) -> Path:
    """Write what older releases of docker save wrote."""
    plain = [archive(one) for one in reversed(LAYERS)]
    config = json.dumps({"rootfs": {"diff_ids": [digest(one) for one in plain]}}).encode()
    name = digest(config).removeprefix("sha256:") + ".json"
    names = [f"{number:064}/layer.tar" for number in range(2)]
    manifest = [{"Config": name, "RepoTags": ["app:1"], "Layers": names}]
    with tarfile.open(path, "w") as made:
        texts = {names[0]: plain[0], names[1]: plain[1], name: config,
                 "manifest.json": json.dumps(manifest).encode()}  # fmt: skip
        for key, text in texts.items():
            info = tarfile.TarInfo(key)
            info.size = len(text)
            made.addfile(info, io.BytesIO(text))
    return path


def unpacked(lab: Path, *words: str | Path) -> None:
    document = layerctl_json("unpack", *words, "out")
    assert (document["is_image"], len(document["layers"])) == (True, 2)
    assert tree(lab / "out") == {
        "0": "d", "0/d": "o", "0/d/new": "-", "0/gone": "w",
        "1": "d", "1/base": "-", "1/d": "d", "1/d/old": "-", "1/gone": "-",
    }  # fmt: skip


@pytest.mark.namespace
@pytest.mark.parametrize("kind", ["layout", "archive", "compressed", "docker"])
def test_the_layers_of_an_image(kind: str, lab: Path) -> None:
    if kind == "docker":
        unpacked(lab, docker_save(lab / "a.tar"))
        return
    found = layout(lab / "layout")
    if kind != "layout":
        found = packed(found, lab / "a.tar")
    if kind == "compressed":
        found.write_bytes(gzip.compress(found.read_bytes()))
    unpacked(lab, found)


@pytest.mark.namespace
def test_from_standard_input(lab: Path) -> None:
    raw = packed(layout(lab / "layout"), lab / "a.tar").read_bytes()
    words = [sys.executable, "-m", "layerctl", "unpack", "-", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(words, input=raw, env=environment, check=True, capture_output=True)
    assert sorted(os.listdir(lab / "out")) == ["0", "1"]


@pytest.mark.namespace
def test_mounted_in_one_go(lab: Path) -> None:
    (lab / "m").mkdir()
    assert layerctl("unpack", "--mount", "m", layout(lab / "layout"), "out").returncode == 0
    assert sorted(os.listdir(lab / "m")) == ["base", "d"]
    assert os.listdir(lab / "m/d") == ["new"]


@pytest.mark.namespace
def test_one_layer_is_mounted_too(lab: Path) -> None:
    (lab / "m").mkdir()
    (lab / "a.tar").write_bytes(archive((entry("f"),)))
    assert layerctl("unpack", "--mount", "m", "a.tar", "out").returncode == 0
    assert os.listdir(lab / "m") == ["f"]


@pytest.mark.namespace
def test_a_plain_tree_of_all_layers(lab: Path) -> None:
    assert layerctl("unpack", "--as", "plain", layout(lab / "l"), "out").returncode == 0
    assert tree(lab / "out") == {"base": "-", "d": "d", "d/new": "-"}


@pytest.mark.namespace
def test_digests_are_verified(lab: Path) -> None:
    done = layerctl("unpack", layout(lab / "layout", broken=True), "out")
    assert (done.returncode, "[digest-mismatch]" in done.stderr) == (32, True)
    assert sorted(os.listdir(lab)) == ["layout"]


@pytest.mark.namespace
def test_one_of_several_images(lab: Path) -> None:
    found = layout(lab / "layout", refs=("one", "two"))
    done = layerctl("unpack", found, "out")
    assert (done.returncode, "one, two" in done.stderr) == (2, True)
    assert layerctl("unpack", "--ref", "three", found, "out").returncode == 2
    unpacked(lab, "--ref", "two", found)


HOSTILE = {
    "no json": ("index.json", b"{"),
    "deep json": ("index.json", b"[" * 100_000),
    "other json": ("index.json", b'{"manifests": [{"digest": 5}]}'),
    "path in a digest": ("index.json", b'{"manifests": [{"digest": "sha256:../../x"}]}'),
    "missing blob": ("index.json", b'{"manifests": [{"digest": "sha256:%s"}]}' % (b"0" * 64)),
    "itself": ("index.json", b'{"manifests": []}'),
}  # fmt: skip


@pytest.mark.namespace
@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_images(name: str, lab: Path) -> None:
    found = layout(lab / "layout")
    file, text = HOSTILE[name]
    (found / file).write_bytes(text)
    done = layerctl("unpack", found, "out")
    assert done.returncode in (2, 32), done.stderr
    assert sorted(os.listdir(lab)) == ["layout"]


@pytest.mark.namespace
def test_links_of_a_layout_are_not_followed(lab: Path) -> None:
    found = layout(lab / "layout")
    (found / "index.json").rename(lab / "elsewhere")
    (found / "index.json").symlink_to("../elsewhere")
    assert layerctl("unpack", found, "out").returncode == 32


@pytest.mark.namespace
def test_what_is_no_image(lab: Path) -> None:
    (lab / "d").mkdir()
    assert layerctl("unpack", "d", "out").returncode == 3
    (lab / "a.tar").write_bytes(archive((entry("blobs", DIR), entry("blobs/x"))))
    assert layerctl("unpack", "a.tar", "out").returncode == 0
    assert tree(lab / "out") == {"blobs": "d", "blobs/x": "-"}
    assert layerctl("unpack", "nothing-of-this-name", "other").returncode == 3

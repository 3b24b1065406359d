"""Containers are named by the directories of their engines, laid out as those lay them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import layerctl, layerctl_json, valid

LAYER = "1f" * 32
CONTAINER = "c0ffee" * 10 + "beef"


def _file(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def _listed(root: Path, target: str, upper: str, fstype: str = "overlay") -> Any:
    """Return the container of the one mount of a mountinfo."""
    layers = (
        f"lowerdir={root}/low,upperdir={root}/{upper},workdir={root}/work"
        if fstype == "overlay"
        else f"br:{root}/{upper}=rw"
    )
    line = f"36 24 0:50 / {root}/{target} rw - {fstype} none rw,{layers}\n"
    _file(root / "mountinfo", line)
    (mount,) = layerctl_json("list", "--mountinfo", root / "mountinfo")["mounts"]
    return mount.get("container")


@pytest.mark.parametrize(
    ("driver", "target", "upper", "fstype"),
    [
        ("overlay2", "overlay2/LAYER/merged", "overlay2/LAYER/diff", "overlay"),
        ("overlay2", "elsewhere", "overlay2/LAYER/diff", "overlay"),
        ("aufs", "aufs/mnt/LAYER", "aufs/diff/LAYER", "aufs"),
    ],
)
def test_docker(tmp_path: Path, driver: str, target: str, upper: str, fstype: str) -> None:
    mounts = tmp_path / "image" / driver / "layerdb" / "mounts"
    _file(mounts / CONTAINER / "mount-id", LAYER)
    _file(mounts / "another" / "mount-id", "ab" * 32)
    _file(tmp_path / "containers" / CONTAINER / "config.v2.json", {"Name": "/web"})
    arguments = [path.replace("LAYER", LAYER) for path in (target, upper)]
    assert _listed(tmp_path, arguments[0], arguments[1], fstype) == {
        "engine": "docker", "id": CONTAINER, "name": "web",
    }  # fmt: skip


def test_docker_with_the_snapshots_of_containerd(tmp_path: Path) -> None:
    _file(tmp_path / "containers" / CONTAINER / "config.v2.json", {"Name": "/web"})
    found = _listed(tmp_path, f"rootfs/overlayfs/{CONTAINER}", "snapshots/7/fs")
    assert found == {"engine": "docker", "id": CONTAINER, "name": "web"}


@pytest.mark.parametrize("file", ["containers.json", "volatile-containers.json"])
def test_podman(tmp_path: Path, file: str) -> None:
    listed = [{"id": "other", "layer": "ab" * 32}, {"id": CONTAINER, "layer": LAYER}]
    _file(tmp_path / "overlay-containers" / file, [listed[0], {**listed[1], "names": ["db"]}])
    found = _listed(tmp_path, f"overlay/{LAYER}/merged", f"overlay/{LAYER}/diff")
    assert found == {"engine": "podman", "id": CONTAINER, "name": "db"}


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({"io.kubernetes.cri.container-name": "app"}, "app"),
        ({"io.kubernetes.cri.sandbox-name": "pod"}, "pod"),
        ({"nerdctl/name": "by-hand"}, "by-hand"),
        ({}, None),
    ],
)
def test_containerd(tmp_path: Path, annotations: dict[str, str], name: str | None) -> None:
    bundle = f"io.containerd.runtime.v2.task/k8s.io/{CONTAINER}"
    _file(tmp_path / bundle / "config.json", {"annotations": annotations})
    found = _listed(tmp_path, f"{bundle}/rootfs", "snapshots/7/fs")
    assert found == {"engine": "containerd", "id": CONTAINER, "name": name}


@pytest.mark.parametrize("content", ["", "nonsense", "[]", "{}", '[{"layer": 7}]', "\udcff"])
def test_files_that_say_nothing_name_no_container(tmp_path: Path, content: str) -> None:
    for file in ("containers.json", "volatile-containers.json"):
        path = tmp_path / "overlay-containers" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert _listed(tmp_path, f"overlay/{LAYER}/merged", f"overlay/{LAYER}/diff") is None


def test_a_mount_that_is_no_container(tmp_path: Path) -> None:
    assert _listed(tmp_path, "merged", "upper") is None


def test_the_columns_say_it_too(tmp_path: Path) -> None:
    _file(tmp_path / "containers" / CONTAINER / "config.v2.json", {})
    _listed(tmp_path, f"rootfs/overlayfs/{CONTAINER}", "snapshots/7/fs")
    done = layerctl(
        "list", "--mountinfo", tmp_path / "mountinfo", "--raw", "--output", "CONTAINER,ENGINE"
    )
    assert done.stdout.splitlines()[1] == f"{CONTAINER[:12]} docker"
    done = layerctl("list", "--mountinfo", tmp_path / "mountinfo", "--jsonl")
    valid("list", done.stdout, "mounts")

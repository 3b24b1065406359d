"""`doctor` on the mounts of container engines: their own commands, and none that fights them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from layerctl.diagnosing import engines
from layerctl.diagnosing.catalogue import CAUSES, finding
from layerctl.diagnosing.clue import Clue, Raw
from layerctl.diagnosing.reading.diagnose import read
from layerctl.rules.engines import ENGINES, Owner, Purpose, of_mount, owner
from tests.support import layerctl, layerctl_json
from tests.support.plans import make

LAYER, CONTAINER = "a" * 64, "c" * 64
MERGED = f"/var/lib/docker/overlay2/{LAYER}/merged"
VALUES = {
    "target": MERGED,
    "other": MERGED,
    "command": Raw(f"layerctl mount -l a -l b {MERGED}"),
    "mountpoint": "/disk",
    "pid": "7",
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cause", CAUSES)
def test_no_command_fights_an_engine(cause: str, engine: str) -> None:
    fixed = engines.fixed(finding(Clue(cause, values=VALUES)), Owner(ENGINES[engine]), MERGED)
    assert not [line for line in fixed.fix.commands if not engines.fits(line, MERGED)]
    assert fixed.fix.text


@pytest.mark.parametrize(
    "command",
    [
        f"umount {MERGED}",
        f"umount -l {MERGED}",
        "nsenter -t 7 -m umount /x",
        f"layerctl mount -l a -l b {MERGED}",
        f"sudo layerctl umount {MERGED}",
        f"mount -o remount,rw {MERGED}",
        "mount --bind /a /b",
        "mkdir /x && mount -t overlay o /x",
        "fusermount3 -u /x",
    ],
)
def test_a_command_that_fights_is_known(command: str) -> None:
    assert not engines.fits(command, MERGED)


@pytest.mark.parametrize("command", ["docker stop web", "mount -o remount,rw /disk", "df -h /x"])
def test_a_command_that_does_not_fight_is_kept(command: str) -> None:
    assert engines.fits(command, MERGED)


@pytest.mark.parametrize(
    ("path", "name", "stop"),
    [
        (MERGED, "docker", "docker stop CONTAINER"),
        (f"/data/docker/aufs/mnt/{LAYER}-init", "docker", "docker stop CONTAINER"),
        (f"/var/lib/docker/rootfs/overlayfs/{CONTAINER}", "docker", "docker stop CONTAINER"),
        (
            f"/home/me/.local/share/containers/storage/overlay/{LAYER}/merged", "podman",
            "podman stop CONTAINER",
        ),
        (
            "/run/containerd/io.containerd.runtime.v2.task/default/web/rootfs", "containerd",
            "ctr -n default task kill web",
        ),
        (
            f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{CONTAINER}/rootfs",
            "containerd", f"crictl stop {CONTAINER}",
        ),
        (
            f"/run/containerd/io.containerd.runtime.v2.task/moby/{CONTAINER}/rootfs",
            "docker", f"docker stop {CONTAINER}",
        ),
        (
            "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs",
            "containerd", "ctr -n NAMESPACE task kill CONTAINER",
        ),
    ],
)  # fmt: skip
def test_whose_a_directory_is(path: str, name: str, stop: str) -> None:
    found = owner(path)
    assert found is not None
    assert found.engine.name == name
    assert found.commands(Purpose.STOP) == (stop,)
    assert of_mount("/", (path,)) == found, "the root of a container, from inside"
    assert of_mount("/mnt", (path,)) is None, "a mount of somebody else"


@pytest.mark.parametrize("path", ["/mnt/merged", "/var/lib/docker", "/srv/overlay/x/merged", "/"])
def test_what_is_no_engines(path: str) -> None:
    assert owner(path) is None


def docker(lab: Path) -> Path:
    """Lay out the store of a Docker that runs a container 'web', and mount its root."""
    root = lab / "docker"
    home = root / "overlay2" / LAYER
    make(home / "diff", home / "work", home / "merged", root / "overlay2" / ("b" * 64) / "diff")
    mounts = root / "image/overlay2/layerdb/mounts" / CONTAINER
    make(mounts, root / "containers" / CONTAINER)
    (mounts / "mount-id").write_text(LAYER)
    config = root / "containers" / CONTAINER / "config.v2.json"
    config.write_text(json.dumps({"Name": "/web"}))
    options = f"lowerdir={root}/overlay2/{'b' * 64}/diff,upperdir={home}/diff,workdir={home}/work"
    subprocess.run(["mount", "-t", "overlay", "o", "-o", options, home / "merged"], check=True)
    return home


@pytest.mark.namespace
def test_a_containers_root_gets_its_engines_commands(lab: Path) -> None:
    home = docker(lab)
    found = layerctl_json("doctor", f"{home}/merged")["findings"]
    commands = {one["cause"]: one["fix"]["commands"] for one in found}
    assert commands["redirect-dir-off-rename-exdev"] == ["docker run -v VOLUME:/DIR IMAGE"]
    assert not [line for lines in commands.values() for line in lines if "mount" in line]
    subprocess.run(["mount", "-t", "tmpfs", "t", f"{lab}/docker/overlay2/{'b' * 64}"], check=True)
    os.rename(home / "work", home / "gone")
    found = json.loads(layerctl("doctor", f"{home}/merged", "--json").stdout)["findings"]
    assert {one["cause"] for one in found} >= {"layer-covered", "layer-gone"}
    assert not [
        line
        for one in found
        for line in one["fix"]["commands"]
        if not engines.fits(line, f"{home}/merged")
    ]


@pytest.mark.namespace
def test_a_container_is_named_as_its_engine_names_it(lab: Path) -> None:
    home = docker(lab)
    subprocess.run(["mount", "-o", "remount,ro", f"{home}/merged"], check=True)
    subprocess.run(["mount", "-o", "remount,bind,rw", f"{home}/merged"], check=True)
    found = layerctl_json("doctor", f"{home}/merged")["findings"]
    (one,) = [one for one in found if one["cause"] == "mounted-read-only"]
    assert one["fix"]["commands"] == ["docker restart web"]


@pytest.mark.namespace
def test_a_layer_that_a_container_uses_is_freed_by_its_engine(lab: Path) -> None:
    home = docker(lab)
    make("u", "w", "m")
    plan = ("-l", f"{home}/diff", "-u", "u", "-w", "w", "-o", "index=on", "m")
    (found,) = layerctl_json("doctor", *plan, code=1)["findings"]
    assert found["cause"] == "lowerdir-in-use-as-upper"
    assert found["fix"]["commands"][0] == "docker stop CONTAINER"
    assert "umount" not in layerctl("doctor", *plan).stdout


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (
            f"Error response from daemon: remove /var/lib/docker/overlay2/{LAYER}/merged: "
            "device or resource busy",
            "docker stop CONTAINER  # replace CONTAINER",
        ),
        (
            f"mount -t overlay overlay -o lowerdir=/l,upperdir=/u,workdir=/w {MERGED}: "
            "mount: special device overlay does not exist",
            "",
        ),
    ],
)
def test_a_text_about_an_engine_gets_its_commands(text: str, command: str) -> None:
    lines = [line for one in read(text).findings for line in one.fix.commands]
    assert (command in lines) == bool(command)
    assert ("docker restart CONTAINER  # replace CONTAINER" not in lines) or command

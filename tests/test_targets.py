"""A target is anything that says which stack is meant."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from layerctl.codecs.request import Request
from layerctl.errors import NotFoundError, RefusedError
from layerctl.usecases.targets import named, open_target
from tests.support import layerctl, layerctl_json
from tests.support.stored import Docker, Storage


def _store(root: Path) -> Docker:
    """Make a store with an image of two layers and a container that changed one file of it."""
    docker = Docker(root)
    image = docker.image("app:2", ["base", "top"], ["ADD base", "RUN top"])
    docker.container("web", image)
    docker.container("db", image, "Dead")
    base, top = (docker.directory(one) for one in docker.cached.values())
    (base / "etc").mkdir()
    (base / "etc/fstab").write_text("base\n")
    (top / "etc").mkdir()
    (top / "etc/hosts").write_text("top\n")
    return docker


def _mount(lab: Path) -> None:
    for name in ("low/etc", "up", "work", "m"):
        (lab / name).mkdir(parents=True)
    (lab / "low/etc/fstab").write_text("x")
    options = f"lowerdir={lab}/low,upperdir={lab}/up,workdir={lab}/work"
    subprocess.run(["mount", "-t", "overlay", "o", "-o", options, lab / "m"], check=True)


@pytest.mark.namespace
@pytest.mark.parametrize("path", ["etc/fstab", "etc", "etc/gone", "gone/deeper"])
def test_a_path_below_a_mount_is_the_mount_and_a_path(lab: Path, path: str) -> None:
    _mount(lab)
    found = named(f"{lab}/m/{path}")
    assert found.mount is not None
    assert (found.mount.target, found.path) == (f"{lab}/m", path)
    os.chdir(lab / "m")
    assert named(f"path:./{path}").path == path


@pytest.mark.namespace
def test_the_last_name_of_a_path_is_not_followed(lab: Path) -> None:
    _mount(lab)
    (lab / "m/link").symlink_to("/etc/passwd")
    (lab / "m/here").symlink_to("etc")
    assert named(f"{lab}/m/link").path == "link"
    assert named(f"{lab}/m/here/fstab").path == "etc/fstab"


@pytest.mark.namespace
def test_a_path_on_another_mount_in_a_stack_is_no_path_of_the_stack(lab: Path) -> None:
    _mount(lab)
    (lab / "m/proc").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "t", lab / "m/proc"], check=True)
    (lab / "m/proc/x").touch()
    with pytest.raises(NotFoundError) as raised:
        named(f"{lab}/m/proc/x")
    assert raised.value.id == "not-mounted"


@pytest.mark.namespace
def test_the_story_of_a_path_as_it_is_in_hand(lab: Path) -> None:
    _mount(lab)
    story = layerctl_json("inspect", "merged", lab / "m/etc/fstab")
    assert (story["path"], story["visible"]) == ("etc/fstab", True)
    assert layerctl("inspect", "merged", lab / "m/etc", "fstab").stdout.startswith("etc/fstab")
    assert layerctl("inspect", "merged", lab / "m/etc/gone").returncode == 3
    (mount,) = layerctl_json("inspect", "mount", lab / "m/etc")["mounts"]
    assert mount["target"] == f"{lab}/m"
    assert layerctl("doctor", lab / "m/etc").returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        "web", "docker:web", "docker:@", "@", "app:2", "image:app:2", "image:@",
        "overlay2/@", "layer:@",
    ],
)  # fmt: skip
def test_every_form_of_a_name(tmp_path: Path, name: str) -> None:
    docker = _store(tmp_path)
    chain, identity = list(docker.cached.items())[-1]
    container = next((tmp_path / "containers").iterdir()).name
    image = next((tmp_path / "image/overlay2/imagedb/content/sha256").iterdir()).name
    ids = {"docker:@": container, "@": container[:12], "image:@": image}
    full = name.replace("@", ids.get(name, identity))
    target = open_target(full, Request(root=str(tmp_path)))
    assert target.mount is None
    assert target.stack.layers[-1].path.endswith("/diff")
    has_upper = target.container is not None
    assert (target.stack.upper is not None) == has_upper
    assert chain


def test_a_path_inside_a_layer_is_that_layer_and_what_lies_below(tmp_path: Path) -> None:
    docker = _store(tmp_path)
    top = docker.directory(list(docker.cached.values())[-1])
    for name in (f"{top}/etc/hosts", str(top).removeprefix(str(tmp_path)) + "/etc/hosts"):
        found = named(name, str(tmp_path))
        assert found.path == "etc/hosts"
        assert found.stack.layers[0].path == str(top)
        assert len(found.stack.layers) == 2


@pytest.mark.parametrize("name", ["nothing", "image:web", "podman:web"])
def test_what_nothing_is_called(tmp_path: Path, name: str) -> None:
    _store(tmp_path)
    with pytest.raises(NotFoundError) as raised:
        named(name, str(tmp_path))
    assert raised.value.id == "target-missing"


def test_a_name_that_was_probably_meant(tmp_path: Path) -> None:
    _store(tmp_path)
    done = layerctl("inspect", "merged", "--root", tmp_path, "wep")
    assert done.returncode == 3
    assert "did you mean 'web'?" in done.stderr
    assert done.stdout == ""


def test_a_name_that_fits_several_lists_them(tmp_path: Path) -> None:
    _store(tmp_path / "var/lib/docker")
    podman = Storage(tmp_path / "var/lib/containers/storage")
    podman.container("web", podman.image("app:3", ["base"], ["ADD base"]))
    done = layerctl("inspect", "merged", "--root", tmp_path, "web")
    assert done.returncode == 3
    assert "[ambiguous-name]" in done.stderr
    assert "docker:web, podman:web" in done.stderr
    assert named("podman:web", str(tmp_path)).container is not None


def test_a_layer_that_is_gone_is_an_error(tmp_path: Path) -> None:
    docker = _store(tmp_path)
    lowest = docker.directory(next(iter(docker.cached.values())))
    lowest.rename(lowest.with_name("lost"))
    with pytest.raises(RefusedError) as raised:
        named("web", str(tmp_path))
    assert raised.value.id == "stored-layer-missing"
    assert layerctl("inspect", "merged", "--root", tmp_path, "web").returncode == 32


def test_stopped_containers_are_inspected(tmp_path: Path) -> None:
    docker = _store(tmp_path)
    root = ("--root", tmp_path)
    upper = named("web", str(tmp_path)).stack.upper
    assert upper is not None
    Path(upper, "new").write_text("x")
    (mount,) = layerctl_json("inspect", "mount", *root, "web")["mounts"]
    assert [layer["label"] for layer in mount["layers"]] == ["web", "web-init", "app#0", "app#1"]
    story = layerctl_json("inspect", "merged", *root, "web", "etc/hosts")
    assert story["visible"]
    changes = layerctl_json("inspect", "changes", *root, "web")["changes"]
    assert [one["path"] for one in changes] == ["new"]
    assert layerctl("du", *root, "web", "app:2").returncode == 0
    assert docker.cached


@pytest.mark.namespace
def test_a_container_that_is_mounted_is_its_mount(lab: Path) -> None:
    _store(lab)
    stack = named("web", str(lab)).stack
    assert stack.upper is not None
    assert stack.work is not None
    merged = Path(stack.upper).with_name("merged")
    merged.mkdir()
    lowers = ":".join(layer.path for layer in stack.layers[1:])
    options = f"lowerdir={lowers},upperdir={stack.upper},workdir={stack.work}"
    subprocess.run(["mount", "-t", "overlay", "o", "-o", options, merged], check=True)
    found = named("web")
    assert found.mount is not None
    assert found.mount.target == str(merged)
    assert named("web", str(lab)).mount is None  # a disk says nothing of this machine


def test_the_writable_layer_of_a_container_stands_on_those_of_its_image(tmp_path: Path) -> None:
    _store(tmp_path)
    whole = named("web", str(tmp_path)).stack
    assert whole.upper is not None
    by_hash = named(f"overlay2/{Path(whole.upper).parent.name}", str(tmp_path)).stack
    assert [one.path for one in by_hash.layers] == [one.path for one in whole.layers]

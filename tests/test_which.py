"""`which`, `list --all`, and mounts of containers and images."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import layerctl, layerctl_json, valid
from tests.support.stored import Containerd, Docker, Storage


def _store(root: Path) -> tuple[Docker, Path]:
    """Make a store with two containers of one image, one of which deletes a file of its top layer.

    Return it, and that top layer's directory.
    """
    docker = Docker(root)
    image = docker.image("app:2", ["base", "top"], ["ADD base", "-ENV x", "RUN make tools"])
    docker.container("web", image)
    docker.container("db", image, "Dead")
    top = docker.directory(list(docker.cached.values())[-1])
    (top / "bin").mkdir()
    (top / "bin/tool").write_bytes(bytes(5000))
    (top / "bin/other").write_text("other")
    return docker, top


def _upper(root: Path, name: str) -> Path:
    (mount,) = layerctl_json("inspect", "mount", "--root", root, name)["mounts"]
    return Path(mount["layers"][0]["path"])


@pytest.mark.namespace
def test_a_path_in_a_layer_tells_its_step_and_what_containers_do_to_it(lab: Path) -> None:
    _, top = _store(lab)
    upper = _upper(lab, "web")
    (upper / "bin").mkdir()
    os.mknod(upper / "bin/tool", 0o20600, 0)
    upper = _upper(lab, "db")
    (upper / "bin").mkdir()
    (upper / "bin/other").write_text("changed")
    document = layerctl_json("which", "--root", lab, top / "bin/tool", top / "bin/other")
    valid("which", json.dumps(document))
    tool, other = document["answers"]
    assert (tool["of"], tool["index"], tool["step"]) == ("app:2", 0, "RUN make tools")
    assert tool["size"] >= 8192
    assert sorted(tool["used_by"]) == ["db", "web"]
    states = {one["container"]: one["state"] for one in tool["fates"]}
    assert states == {"web": "deleted", "db": "shown"}
    assert {one["container"]: one["state"] for one in other["fates"]}["db"] == "replaced"
    line = layerctl("which", "--root", lab, top / "bin/tool").stdout
    assert "layer 0 of app:2, RUN make tools, " in line
    assert "; web deletes the file" in line


def test_names_from_standard_input_each_have_an_answer(tmp_path: Path) -> None:
    docker, top = _store(tmp_path)
    hash_ = next(iter(docker.cached.values()))
    text = f"{hash_}\n{top}/bin/tool\nweb\nimage:app:2\n"
    rows = layerctl_json("which", "--root", tmp_path, "-", stdin=text)["answers"]
    assert [one["kind"] for one in rows] == ["layer", "layer", "container", "image"]
    assert rows[0]["index"] == 1
    done = layerctl("which", "--root", tmp_path, "-", "-0", stdin=f"web\0{hash_}\0")
    assert done.stdout.split("\0")[0] == "web"
    assert done.returncode == 0


def test_what_has_no_answer_is_told_and_the_rest_answered(tmp_path: Path) -> None:
    _store(tmp_path)
    done = layerctl("which", "--root", tmp_path, "nothing", "web")
    assert done.returncode == 3
    assert "nothing: no such target [target-missing]" in done.stderr
    assert done.stdout.startswith("web: ")


def test_a_name_of_several_things_has_several_answers(tmp_path: Path) -> None:
    docker, _ = _store(tmp_path / "var/lib/docker")
    podman = Storage(tmp_path / "var/lib/containers/storage")
    podman.container("web", podman.image("app:3", ["base"], ["ADD base"]))
    rows = layerctl_json("which", "--root", tmp_path, "web")["answers"]
    assert sorted(one["engine"] for one in rows) == ["docker", "podman"]
    assert docker.cached


def test_a_damaged_store_has_an_exit_code(tmp_path: Path) -> None:
    _store(tmp_path)
    (tmp_path / "image/overlay2/repositories.json").write_text("{")
    for command in (("which", "web"), ("list", "--all")):
        done = layerctl(*command, "--root", tmp_path)
        assert done.returncode == 1
        assert "repositories.json" in done.stderr
        assert "web" in done.stdout


@pytest.mark.namespace
def test_which_layer_a_file_of_a_mount_comes_from(lab: Path) -> None:
    for name in ("low", "up", "work", "m"):
        (lab / name).mkdir()
    (lab / "low/file").touch()
    options = f"lowerdir={lab}/low,upperdir={lab}/up,workdir={lab}/work"
    subprocess.run(["mount", "-t", "overlay", "o", "-o", options, lab / "m"], check=True)
    row, mount = layerctl_json("which", lab / "m/file", lab / "m")["answers"]
    assert (row["kind"], row["index"], row["directory"]) == ("layer", 1, f"{lab}/low")
    assert mount["kind"] == "mount"
    assert layerctl("which", lab / "m/gone").returncode == 3


def test_all_stacks_of_a_disk(tmp_path: Path) -> None:
    _store(tmp_path / "var/lib/docker")
    podman = Storage(tmp_path / "var/lib/containers/storage")
    podman.container("job", podman.image("tools:1", ["base"], ["ADD base"]))
    containerd = Containerd(tmp_path / "var/lib/containerd")
    containerd.image("docker.io/library/k:1", ["base", "k"], ["ADD base", "RUN k"])
    containerd.container("pod", "docker.io/library/k:1")
    document = layerctl_json("list", "--all", "--root", tmp_path)
    valid("list", json.dumps(document))
    rows = document["stacks"]
    assert {(one["kind"], one["engine"], one["name"]) for one in rows} == {
        ("container", "docker", "web"),
        ("container", "docker", "db"),
        ("image", "docker", "app:2"),
        ("container", "podman", "job"),
        ("image", "podman", "tools:1"),
        ("container", "containerd", "pod"),
        ("image", "containerd", "k:1"),
    }
    web = next(one for one in rows if one["name"] == "web")
    assert (web["image"], web["state"], web["depth"]) == ("app:2", "running", 4)


@pytest.mark.namespace
def test_a_container_is_mounted_for_a_look(lab: Path) -> None:
    _store(lab)
    upper = _upper(lab, "web")
    (upper / "new").write_text("new")
    (lab / "m").mkdir()
    assert layerctl("mount", "--container", "web", "--root", lab, lab / "m").returncode == 0
    assert (lab / "m/new").read_text() == "new"
    assert (lab / "m/bin/other").read_text() == "other"
    with pytest.raises(OSError, match="Read-only"):
        (lab / "m/x").touch()
    (mount,) = layerctl_json("list")["mounts"]
    assert "container" not in mount  # it is a look at it, not its root
    subprocess.run(["umount", lab / "m"], check=True)


@pytest.mark.namespace
def test_an_image_gets_a_writable_layer_of_its_own(lab: Path) -> None:
    _store(lab)
    (lab / "m").mkdir()
    done = layerctl(
        "mount", "--image", "app:2", "--root", lab, "-u", lab / "up", "--mkdir", lab / "m"
    )
    assert done.returncode == 0, done.stderr
    (lab / "m/bin/other").write_text("mine")
    assert (lab / "up/bin/other").read_text() == "mine"
    subprocess.run(["umount", lab / "m"], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--container", "web", "--image", "app:2", "m"),
        ("--container", "web", "-l", "low", "m"),
        ("--image", "app:2", "-o", "lowerdir=low", "m"),
    ],
)
def test_layers_are_named_in_one_way(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    _store(tmp_path)
    done = layerctl("mount", "-n", "--root", tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("arguments", [("--container", "app:2"), ("--image", "web")])
def test_a_name_of_another_kind_is_not_taken(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    _store(tmp_path)
    done = layerctl("mount", "-n", "--root", tmp_path, *arguments, tmp_path)
    assert done.returncode == 3
    assert "[target-missing]" in done.stderr

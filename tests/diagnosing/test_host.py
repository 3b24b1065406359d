"""`doctor --host` in mount namespaces, on stores laid out as engines do."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from layerctl.kernel import host
from tests.support import layerctl, layerctl_json

A, B, C = "a" * 64, "b" * 64, "c" * 64


def _overlay(lower: str, upper: str, work: str, target: str) -> None:
    for name in (lower, upper, work, target):
        os.makedirs(name, exist_ok=True)
    options = f"lowerdir={os.path.abspath(lower)},upperdir={os.path.abspath(upper)}"
    options += f",workdir={os.path.abspath(work)}"
    subprocess.run(["mount", "-t", "overlay", "o", "-o", options, target], check=True)


def _host(code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = layerctl_json("doctor", "--host", code=code)
    return document


def _causes(document: dict[str, Any]) -> dict[str, list[str]]:
    return {one["cause"]: one["evidence"] for one in document["findings"]}


@pytest.mark.namespace
def test_what_covers_a_layer_is_told_and_what_is_a_note_is_counted(lab: Path) -> None:
    _overlay("l", "u", "w", "m")
    Path("u/.wh.name").touch()
    assert "layer-covered" not in _causes(_host())
    subprocess.run(["mount", "-t", "tmpfs", "t", "l"], check=True)
    causes = _causes(_host())
    assert f"{lab}/l" in causes["layer-covered"][0]
    assert "aufs-whiteouts-in-overlay" in causes
    shown = layerctl("doctor", "--host")
    assert shown.returncode == 0
    assert "note" in shown.stdout.splitlines()[-1]
    assert layerctl("doctor", "--host", "--strict").returncode == 1


@pytest.mark.namespace
def test_a_full_upper_layer_is_a_failure() -> None:
    os.mkdir("full")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "t", "full"], check=True)
    _overlay("l", "full/u", "full/w", "m")
    with open("full/u/big", "wb", buffering=0) as file:
        for _ in range(17):
            try:
                file.write(bytes(4096))
            except OSError:
                break
    document = _host(1)
    assert document["verdict"] == "failure"
    assert document["findings"][0]["cause"] == "upper-enospc"
    space = [row for row in document["machine"] if row["group"] == "space"]
    assert re.match(r"[\d.]+K in ", space[0]["state"])


@pytest.mark.namespace
def test_layers_that_no_record_names_are_told_with_the_engines_own_command() -> None:
    for layer in (A, B, C):
        os.makedirs(f"docker/overlay2/{layer}/diff")
        Path(f"docker/overlay2/{layer}/diff/file").write_bytes(bytes(8192))
    os.makedirs("docker/overlay2/l")
    base = Path("docker/image/overlay2/layerdb")
    for place, name, value in (
        ("sha256/x", "cache-id", A),
        ("mounts/y", "mount-id", B),
        ("mounts/y", "init-id", f"{B}-init"),
    ):
        (base / place).mkdir(parents=True, exist_ok=True)
        (base / place / name).write_text(value)
    upper, work = f"docker/overlay2/{B}/diff", f"docker/overlay2/{B}/work"
    _overlay(f"docker/overlay2/{A}/diff", upper, work, f"docker/overlay2/{B}/merged")
    document = _host()
    (finding,) = [one for one in document["findings"] if one["cause"] == "orphaned-layers"]
    assert C in finding["evidence"][0]
    assert A not in finding["evidence"][0]
    assert finding["fix"]["commands"] == ["docker system df", "docker system prune"]
    (base / "sha256/x/cache-id").unlink()
    assert "orphaned-layers" not in _causes(_host())  # what is in use is not known any more


@pytest.mark.namespace
def test_a_store_of_podman_is_read_from_its_list_of_layers(lab: Path) -> None:
    for layer in (A, B):
        os.makedirs(f"s/overlay/{layer}/diff")
    os.makedirs("s/overlay-layers")
    Path("s/overlay-layers/layers.json").write_text(json.dumps([{"id": A}]))
    _overlay("l", f"s/overlay/{A}/diff", f"s/overlay/{A}/work", f"s/overlay/{A}/merged")
    (row,) = [row for row in _host()["machine"] if row["what"] == f"podman in {lab}/s"]
    assert row["state"] == "2 layers, 1 without a record"


@pytest.mark.namespace
def test_a_merged_tree_in_another_namespace_alone_is_told(lab: Path) -> None:
    target = f"overlay2/{A}/merged"
    _overlay("l", "u", "w", target)

    def leaks() -> list[str]:  # of this test: others run beside it, in namespaces of their own
        found = [one for one in _host()["findings"] if one["cause"] == "mount-leaked"]
        return [line for one in found for line in one["evidence"] if str(lab) in line]

    command = ["unshare", "-m", "sh", "-c", "echo ready; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            assert not leaks()
            subprocess.run(["umount", target], check=True)
            told = leaks()[0]
            assert f"{lab}/{target}" in told
            assert str(other.pid) in told
        finally:
            other.kill()


def test_sizes_count_a_linked_file_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(1 << 20))
    once, whole = host.tree_size(str(tmp_path))
    os.link(tmp_path / "one", tmp_path / "two")
    assert (host.tree_size(str(tmp_path))[0] - once, whole) == (0, True)


def test_host_takes_nothing_else() -> None:
    assert layerctl("doctor", "--host", "/").returncode == 2
    assert layerctl("doctor", "--host", "--from", "-", stdin="").returncode == 2

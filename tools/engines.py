"""Check that `layerctl list` names containers of real Docker and podman: `make engines`.

Both use a temporary directory, in its own mount namespace.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import in_namespace, layerctl_json


def _run(*command: str | os.PathLike[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.strip()


def _image(path: Path) -> None:
    """Write an image of one static program."""
    with tarfile.open(path, "w") as archive:
        archive.add("/bin/busybox", "bin/busybox")
        archive.addfile(tarfile.TarInfo("etc/image"), io.BytesIO())


@contextmanager
def _dockerd(lab: Path) -> Iterator[tuple[str, ...]]:
    socket = f"unix://{lab}/docker.sock"
    with (lab / "dockerd.log").open("w") as log:
        daemon = subprocess.Popen(
            ("/usr/sbin/dockerd", "--data-root", lab / "docker", "--exec-root", lab / "exec",
             "-p", lab / "pid", "-H", socket, "--iptables=false", "--bridge=none",
             "-s", "overlay2"),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    docker = ("/usr/bin/docker", "-H", socket)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run([*docker, "info"], capture_output=True).returncode:
            assert daemon.poll() is None, (lab / "dockerd.log").read_text()
            assert time.monotonic() < deadline, "dockerd does not answer"
            time.sleep(0.2)
        yield docker
    finally:
        daemon.terminate()
        daemon.wait()


def _container(name: str) -> Any:
    mounts = layerctl_json("list")["mounts"]
    return next(
        (m["container"] for m in mounts if m.get("container", {}).get("name") == name), None
    )


def _docker(lab: Path) -> None:
    with _dockerd(lab) as docker:
        _run(*docker, "import", lab / "image.tar", "tiny")
        run = ("run", "-d", "--name", "asleep", "--network", "none", "tiny")
        identity = _run(*docker, *run, "/bin/busybox", "sleep", "600")
        try:
            assert _container("asleep") == {"engine": "docker", "id": identity, "name": "asleep"}
        finally:
            _run(*docker, "rm", "-f", "asleep")
    print("docker: named")


def _podman(lab: Path) -> None:
    podman = ("podman", "--root", lab / "podman", "--runroot", lab / "run", "--storage-driver",
              "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file")  # fmt: skip
    _run(*podman, "import", lab / "image.tar", "tiny")
    identity = _run(*podman, "create", "--name", "made", "tiny", "/bin/busybox", "true")
    _run(*podman, "mount", "made")
    assert _container("made") == {"engine": "podman", "id": identity, "name": "made"}
    _run(*podman, "umount", "made")
    _run(*podman, "rm", "made")
    print("podman: named")


def _both(lab: Path) -> None:
    _image(lab / "image.tar")
    _podman(lab)
    _docker(lab)


if __name__ == "__main__":
    in_namespace(_both)
    sys.exit(0)

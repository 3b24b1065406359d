"""Compare what layerctl reads of engines' stores with what the engines say: `make engines`.

Real Docker, podman and containerd, each with a store in a temporary directory, in a mount namespace
of their own; images are made here. Every form of a name must give the stack that the engine itself
reports, of containers that run, are paused and are stopped, with the daemon and, from a copy of the
store, without.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import in_namespace, layerctl, layerctl_json

_DOCKERFILE = """\
FROM scratch
COPY bin /bin
RUN ["/bin/busybox", "sh", "-c", "mkdir /etc; echo one > /etc/one; echo two > /etc/two"]
ENV NOTHING=made
RUN ["/bin/busybox", "sh", "-c", "dd if=/dev/zero of=/sdk.bin bs=1M count=3; echo 1 > /etc/one"]
"""
#: What the containers do: it adds, modifies and deletes.
_CHANGE = "echo new > /etc/new; echo more >> /etc/one; rm /etc/two; chmod 600 /sdk.bin"


def _run(*command: str | os.PathLike[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.strip()


@contextmanager
def _daemon(log: Path, command: Sequence[str | Path], asks: Sequence[str]) -> Iterator[None]:
    with log.open("w") as file:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(asks, capture_output=True).returncode:
            assert daemon.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            time.sleep(0.2)
        yield
    finally:
        daemon.terminate()
        daemon.wait()


def _layers(name: str, *flags: str | Path) -> list[str]:
    """Return the directories of the layers that a name means, without the engine's links."""
    (mount,) = layerctl_json("inspect", "mount", *flags, name)["mounts"]
    return [os.path.realpath(layer["path"]) for layer in mount["layers"]]


def _same(names: Sequence[str], expected: Sequence[str], *flags: str | Path) -> None:
    """Compare the stack of every name with the one that the engine reports."""
    wanted = [os.path.realpath(path) for path in expected]
    for name in names:
        assert _layers(name, *flags) == wanted, (name, flags)


def _changes(name: str, said: str, *flags: str | Path) -> None:
    """Compare the changes of a container with what the engine's own diff says."""
    ours = layerctl("inspect", "changes", *flags, name, "--format", "docker").stdout
    left, right = set(ours.splitlines()), set(said.splitlines())
    # the engine shows what it mounts there itself, and podman what it made for that
    own = ("/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run")
    wrong = {one for one in left ^ right if not one[2:].startswith(own)}
    assert wrong == set(), (name, wrong)


def _sizes(name: str, directories: Sequence[str], *flags: str | Path) -> None:
    """Compare the sizes of layers with du(1), within a block for each file."""
    rows = layerctl_json("du", *flags, name, "--layers")["layers"]
    for row, directory in zip(rows, directories, strict=True):
        blocks, files = int(_run("du", "-s", "-B1", directory).split()[0]), row["entries"] + 1
        assert abs(row["size"] - blocks) <= 4096 * files, (directory, row["size"], blocks)


def _on_a_copy(lab: Path, store: Path, place: str, check: Callable[[Path], None]) -> None:
    """Check a copy of a store, as a disk of another machine would have it."""
    disk = lab / f"disk-{place.replace('/', '-')}"
    (disk / place).parent.mkdir(parents=True)
    _run("cp", "-a", store, disk / place)
    check(disk)


def _of_docker(docker: Sequence[str], store: Path, name: str) -> list[str]:
    """Compare a container of Docker's in every way; return the layers that Docker says it has."""
    seen: Any = json.loads(_run(*docker, "inspect", name))[0]
    data = seen["GraphDriver"]["Data"]
    stack = [data["UpperDir"], *data["LowerDir"].split(":")]
    hash_ = Path(data["UpperDir"]).parent.name
    names = [f"docker:{name}", seen["Id"], seen["Id"][:12], f"overlay2/{hash_}"]
    if name != "ended":  # it is mounted, and so found without a store being named
        _same(names[:3], stack)
    _same(names, stack, "--root", store)
    _changes(name, _run(*docker, "diff", name), "--root", store)
    _sizes(name, stack, "--root", store)
    return stack


def _docker(lab: Path) -> None:
    store, socket = lab / "docker", f"unix://{lab}/docker.sock"
    docker = ("/usr/bin/docker", "-H", socket)
    os.environ["DOCKER_BUILDKIT"] = "0"
    command = (
        "/usr/sbin/dockerd", "--data-root", store, "--exec-root", lab / "exec", "-p", lab / "pid",
        "-H", socket, "--iptables=false", "--bridge=none", "-s", "overlay2",
    )  # fmt: skip
    stacks: dict[str, list[str]] = {}
    with _daemon(lab / "dockerd.log", command, (*docker, "info")):
        _run(*docker, "build", "--network", "none", "-q", "-t", "app:2", lab / "context")
        shell = ("--network", "none", "app:2", "/bin/busybox", "sh", "-c")
        for name in ("runs", "paused"):
            _run(*docker, "run", "-d", "--name", name, *shell, f"{_CHANGE}; sleep 600")
        _run(*docker, "run", "--name", "ended", *shell, _CHANGE)
        time.sleep(1)
        _run(*docker, "pause", "paused")
        try:
            for name in ("runs", "paused", "ended"):
                stacks[name] = _of_docker(docker, store, name)
            image: Any = json.loads(_run(*docker, "image", "inspect", "app:2"))[0]
            data = image["GraphDriver"]["Data"]
            stacks["app:2"] = [data["UpperDir"], *data["LowerDir"].split(":")]
            _same(["app:2", "image:app:2", image["Id"]], stacks["app:2"], "--root", store)
            _run(*docker, "save", "app:2", "-o", lab / "image.tar")
        finally:
            _run(*docker, "unpause", "paused")
            _run(*docker, "kill", "runs", "paused")

    def copied(disk: Path) -> None:
        for name, paths in stacks.items():
            place = f"{disk}/var/lib/docker"
            _same([name], [path.replace(str(store), place) for path in paths], "--root", disk)

    _on_a_copy(lab, store, "var/lib/docker", copied)
    print("docker, overlay2: containers running, paused and ended, images, and a copy: the same")


def _podman(lab: Path) -> None:
    store = lab / "podman"
    podman = (
        "/usr/bin/podman", "--root", store, "--runroot", lab / "run", "--storage-driver",
        "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
    )  # fmt: skip
    _run(*podman, "load", "-i", lab / "image.tar")
    identity = _run(*podman, "create", "--name", "made", "app:2", "/bin/busybox", "true")
    merged = Path(_run(*podman, "mount", "made"))
    (merged / "etc/new").write_text("new")
    (merged / "etc/two").unlink()
    seen: Any = json.loads(_run(*podman, "inspect", "made"))[0]
    data = seen["GraphDriver"]["Data"]
    stack = [data["UpperDir"], *data["LowerDir"].split(":")]
    names = ["made", "podman:made", identity, identity[:12]]
    _same(names, stack)
    _changes("made", _run(*podman, "diff", "made"))
    _run(*podman, "umount", "made")
    _same(names, stack, "--root", store)
    _changes("made", _run(*podman, "diff", "made"), "--root", store)
    _sizes("made", stack, "--root", store)

    def copied(disk: Path) -> None:
        place = f"{disk}/var/lib/containers/storage"
        _same(["made"], [path.replace(str(store), place) for path in stack], "--root", disk)

    _on_a_copy(lab, store, "var/lib/containers/storage", copied)
    print("podman: a container mounted and not, and a copy: the same")


def _containerd(lab: Path) -> None:
    store, socket = lab / "containerd", lab / "containerd.sock"
    ctr = ("/usr/bin/ctr", "-a", str(socket))
    command = ("/usr/bin/containerd", "--root", store, "--state", lab / "state", "-a", socket)
    with _daemon(lab / "containerd.log", command, (*ctr, "version")):
        _run(*ctr, "images", "import", lab / "image.tar")
        name = "docker.io/library/app:2"
        _run(*ctr, "containers", "create", "--snapshotter", "overlayfs", name, "made")
        said = _run(*ctr, "snapshots", "--snapshotter", "overlayfs", "mounts", "/m", "made")
    options = dict(
        word.split("=", 1) for word in said.rpartition(" -o ")[2].split(",") if "=" in word
    )
    stack = [options["upperdir"], *options["lowerdir"].split(":")]
    _same(["made", "containerd:made"], stack, "--root", store)
    _same(["app:2", "image:app:2"], stack[1:], "--root", store)
    _same([f"layer:snapshots/{Path(stack[1]).parent.name}"], stack[1:], "--root", store)
    _sizes("made", stack, "--root", store)

    def copied(disk: Path) -> None:
        place = f"{disk}/var/lib/containerd"
        _same(["made"], [path.replace(str(store), place) for path in stack], "--root", disk)

    _on_a_copy(lab, store, "var/lib/containerd", copied)
    print("containerd: a container, an image, a snapshot, and a copy: the same")


def _all(lab: Path) -> None:
    (lab / "context/bin").mkdir(parents=True)
    _run("cp", "/bin/busybox", lab / "context/bin")
    (lab / "context/Dockerfile").write_text(_DOCKERFILE)
    _docker(lab)
    _podman(lab)
    _containerd(lab)


if __name__ == "__main__":
    in_namespace(_all)
    sys.exit(0)

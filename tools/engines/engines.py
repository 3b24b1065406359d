"""Docker, podman and containerd, in each way to keep layers."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layerctl.stores.reading import chain_ids
from tests.support import ROOT
from tools.engines.archive import IMAGE
from tools.engines.engine import (
    CHANGE,
    ENDED,
    NAMES,
    PAUSED,
    RUNNING,
    SLEEP,
    Engine,
    Reported,
    layers_of,
    run,
)

#: A newer Debian, where this one's Docker cannot keep images in containerd's store.
_NEWER = ROOT / ".engines"
#: Run in a mount namespace of its own, with that as $0: make it the root, and start the rest. With
#: chroot(2) in its place, whatever enters a container's namespaces lands in this machine's root.
_ENTER = (
    'cd "$0" && busybox pivot_root . mnt && cd / && busybox mount --make-rprivate /mnt && '
    'busybox umount -l /mnt && exec "$@"'
)


class Docker(Engine):
    """Docker with layers in its own store."""

    title, prefix, store = "docker, overlay2", "docker", "/var/lib/docker"
    cli = ("/usr/bin/docker",)
    states = ("running", "paused", "exited")

    def _command(self) -> tuple[str, ...]:
        return ("/usr/sbin/dockerd", "--iptables=false", "--bridge=none", "-s", "overlay2")


@functools.cache
def _needs_newer() -> bool:
    """Tell whether this machine's Docker is older than 24, the first with that image store."""
    return int(re.findall(r"\d+", run("/usr/sbin/dockerd", "--version"))[0]) < 24


class DockerOnContainerd(Docker):
    """Docker with images in the store of a containerd that it starts."""

    title = "docker, containerd's image store"

    def __init__(self, lab: Path) -> None:
        super().__init__(lab)
        root = ("chroot", str(_NEWER)) if _needs_newer() else ()
        self.cli = (*root, "/usr/bin/docker")
        socket = "/run/docker/containerd/containerd.sock"
        self.ctr = (*root, "/usr/bin/ctr", "-a", socket, "-n", "moby")

    def _command(self) -> tuple[str, ...]:
        config = Path("/run/daemon.json")
        config.write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
        daemon = (*super()._command()[:-2], "--config-file", str(config))
        if not _needs_newer():
            return daemon
        alone = ("unshare", "-m", "--propagation", "unchanged")
        return (*alone, "sh", "-c", _ENTER, str(_NEWER), *daemon)

    @contextmanager
    def _daemon(self) -> Iterator[None]:
        if _needs_newer():
            run("mount", "--bind", _NEWER, _NEWER)
            for place in ("/run", "/var/lib"):
                run("mount", "--make-shared", place)
            for place in ("/proc", "/sys", "/dev", "/run", "/var/lib"):
                run("mount", "--rbind", place, f"{_NEWER}{place}")
        with super()._daemon():
            yield

    def _directories(self, known: Any) -> tuple[str, ...]:
        if "RootFS" in known:
            return _viewed(self.ctr, chain_ids(known["RootFS"]["Layers"])[-1])
        return _mounted(self.ctr, known["Id"])


class Podman(Engine):
    """podman as root."""

    title, prefix, store = "podman, as root", "podman", "/var/lib/containers/storage"
    cli: Sequence[str] = (
        "/usr/bin/podman", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs",
        "--events-backend", "file",
    )  # fmt: skip
    # It asks for more than a container may have everywhere.
    limits = (*Engine.limits, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    silent = frozenset(
        ("/dev", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf", "/proc", "/run",
         "/run/.containerenv", "/sys")
    )  # fmt: skip

    @contextmanager
    def _daemon(self) -> Iterator[None]:
        yield


class Rootless(Podman):
    """podman as an ordinary user, whose mounts are in a namespace of his own."""

    title = "podman, as a user"
    user, uid = "layerctl-user", 43210
    home = f"/var/lib/{user}"
    store = f"{home}/.local/share/containers/storage"

    def __init__(self, lab: Path) -> None:
        super().__init__(lab)
        self.cli = (
            "setpriv", "--reuid", f"{self.uid}", "--regid", f"{self.uid}", "--clear-groups",
            "env", "-i", f"HOME={self.home}", f"XDG_RUNTIME_DIR=/run/user/{self.uid}",
            "PATH=/usr/bin:/usr/sbin:/bin:/sbin", *Podman.cli,
        )  # fmt: skip

    @contextmanager
    def _daemon(self) -> Iterator[None]:
        run("mount", "--make-shared", "/")
        name, ids = f"{self.user}:", "500000:65536"
        for file, entry in (
            ("passwd", f"x:{self.uid}:{self.uid}::{self.home}:/bin/sh"),
            ("group", f"x:{self.uid}:"),
            ("subuid", ids),
            ("subgid", ids),
        ):
            own, etc = Path(f"/run/{file}"), Path(f"/etc/{file}")
            own.write_text(f"{etc.read_text()}{name}{entry}\n")
            run("mount", "--bind", own, etc)
        for directory in (Path(self.home), Path(f"/run/user/{self.uid}")):
            directory.mkdir(parents=True)
            os.chown(directory, self.uid, self.uid)
        os.chdir("/")  # the lab may be one that the user may not enter
        try:
            yield
        finally:
            if self.inside:
                os.kill(int(self.inside[-1]), signal.SIGKILL)

    def _fill(self, archive: Path) -> None:
        super()._fill(archive)
        holder = Path(f"/run/user/{self.uid}/libpod/tmp/pause.pid").read_text()
        self.inside = ("nsenter", "-m", "-t", holder)

    def _pause(self) -> None:
        # with control groups of version 1, podman pauses no container of a user
        run(*self.cli, "pause", PAUSED, check=Path("/sys/fs/cgroup/cgroup.controllers").exists())

    def evidence(self, disk: Path) -> None:
        """Copy the store, and the table that says where homes are."""
        super().evidence(disk)
        (disk / "etc").mkdir()
        run("cp", "/etc/passwd", disk / "etc")


class Containerd(Engine):
    """containerd with ctr."""

    title, prefix, store = "containerd", "containerd", "/var/lib/containerd"
    cli = ("/usr/bin/ctr",)
    states = ("running", "running", "stopped")
    tells = False

    def _command(self) -> tuple[str, ...]:
        return ("/usr/bin/containerd",)

    def _fill(self, archive: Path) -> None:
        run(*self.cli, "images", "import", archive)
        image = f"docker.io/library/{IMAGE}"
        for name in (RUNNING, PAUSED):
            run(*self.cli, "run", "-d", image, name, *SLEEP)
        run(*self.cli, "run", image, ENDED, *CHANGE)
        run(*self.cli, "task", "exec", "--exec-id", "change", RUNNING, *CHANGE)
        run(*self.cli, "task", "pause", PAUSED)

    def _halt(self) -> None:
        run(*self.cli, "task", "resume", PAUSED, check=False)
        for name in NAMES:
            run(*self.cli, "task", "rm", "-f", name, check=False)

    def save(self) -> Path:
        """Return an archive of the image."""
        archive = self.open_to_all("saved.tar")
        run(*self.cli, "images", "export", archive, f"docker.io/library/{IMAGE}")
        return archive

    def reported(self) -> Iterator[Reported]:
        """Yield what the engine has: containers, the image, and its layers."""
        for name in NAMES:
            of = (name, f"{self.prefix}:{name}")
            yield Reported("container", of, _mounted(self.cli, name))
        (digest,) = re.findall(r"sha256:[0-9a-f]{64}", run(*self.cli, "images", "ls"))
        config = json.loads(run(*self.cli, "content", "get", digest))["config"]["digest"]
        diffs = json.loads(run(*self.cli, "content", "get", config))["rootfs"]["diff_ids"]
        names = (IMAGE, f"docker.io/library/{IMAGE}", f"image:{IMAGE}", digest, digest[7:19],
                 config, config[7:19])  # fmt: skip
        directories = _viewed(self.cli, chain_ids(diffs)[-1])
        yield Reported("image", names, directories)
        yield from layers_of(directories, diffs)


def _mounted(ctr: Sequence[str], key: str) -> tuple[str, ...]:
    """Return the directories of a snapshot as containerd would mount it."""
    _, _, options = run(*ctr, "snapshots", "mounts", "/target", key).partition(" -o ")
    found = dict(one.split("=", 1) for one in options.split(",") if "dir=" in one)
    upper = [found["upperdir"]] if "upperdir" in found else []
    return (*upper, *found["lowerdir"].split(":"))


def _viewed(ctr: Sequence[str], chain: str) -> tuple[str, ...]:
    """Return the directories of an image's layers as containerd would mount them to be read."""
    run(*ctr, "snapshots", "view", "layerctl-view", chain)
    try:
        return _mounted(ctr, "layerctl-view")
    finally:
        run(*ctr, "snapshots", "rm", "layerctl-view")


ENGINES: dict[str, type[Engine]] = {
    "docker": Docker,
    "docker-containerd": DockerOnContainerd,
    "podman": Podman,
    "podman-user": Rootless,
    "containerd": Containerd,
}

"""What every engine here is asked: a base for real ones, with an image and three containers of it.

The containers are one that runs, one that is paused and one that has ended. Engines keep
everything where they usually do, in /var/lib and /run, on filesystems of this mount namespace.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from layerctl.stores.reading import chain_ids
from tools.engines.archive import IMAGE

RUNNING, PAUSED, ENDED = NAMES = ("layerctl-running", "layerctl-paused", "layerctl-ended")
SLEEP = ("/bin/busybox", "sleep", "1000")
#: The changes that two of the containers make; a check for /usr keeps it from changing the host.
CHANGE = (
    "/bin/busybox", "sh", "-c",
    "[ ! -e /usr ] || exit 1; cd /etc; echo container >motd; /bin/busybox rm two; "
    "/bin/busybox mkdir -p /new/d; >/new/f",
)  # fmt: skip
CHANGES = {"C /etc", "C /etc/motd", "D /etc/two", "A /new", "A /new/d", "A /new/f"}
_PATIENCE = 60


class Reported(NamedTuple):
    """A stack as its engine reports it, topmost directory first, and every name that it has.

    `kind` is container, image or layer, `position` that of a layer in the image.
    """

    kind: str
    names: tuple[str, ...]
    directories: tuple[str, ...]
    position: int = 0


def run(*command: str | Path, check: bool = True) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    assert not check or done.returncode == 0, (command, done.stderr.decode())
    return done.stdout.decode().strip()


def layers_of(directories: Sequence[str], diffs: Sequence[str]) -> Iterator[Reported]:
    """Yield each layer of an image, with all that it may be called; `diffs` are lowest first."""
    chains = [*reversed(chain_ids(diffs))]
    for index, (directory, chain, diff) in enumerate(
        zip(directories, chains, reversed(diffs), strict=True)
    ):
        folder = Path(directory).parent
        store, name = folder.parent, folder.name
        names = [directory, f"{directory}/etc/motd", f"{store.name}/{name}", diff, f"layer:{diff}"]
        if not name.isdecimal():
            names += [name, f"layer:{name}", name[:12]]
        if store.name != "overlay":  # containers-storage has chain ids of its own
            names += [chain, chain.removeprefix("sha256:")[:12]]
        if (folder / "link").exists():
            link = (folder / "link").read_text()
            names += [f"l/{link}", f"{store}/l/{link}"]
        yield Reported("layer", tuple(names), tuple(directories[index:]), index)


class Engine:
    """An engine whose command line is Docker's."""

    title: str
    #: What names of its containers may begin with.
    prefix: str
    store: str
    cli: Sequence[str]
    #: What its containers may use, and how they end.
    limits: tuple[str, ...] = ("--network", "none", "--stop-signal", "KILL")
    #: What its store says of each container's state.
    states: tuple[str | None, ...] = (None, None, None)
    #: What it does not report as changed, since it mounts something else there.
    silent: frozenset[str] = frozenset()
    #: Whether it tells what a container changed, and what it shows.
    tells = True
    #: The command that enters the mount namespace of its containers' mounts, none for this one.
    inside: tuple[str, ...] = ()

    def __init__(self, lab: Path) -> None:
        self.lab = lab

    def version(self) -> str:
        """Return the engine's version."""
        found: list[str] = re.findall(r" v?(\d+\.[^ ,\n]*)", run(*self.cli, "--version"))
        return found[0]

    @contextmanager
    def started(self, archive: Path) -> Iterator[None]:
        """Start it, load the image and make the containers; end all that runs afterwards."""
        with self._daemon():
            try:
                self._fill(archive)
                yield
            finally:
                self._halt()

    @contextmanager
    def _daemon(self) -> Iterator[None]:
        log = self.lab / "daemon.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        try:
            deadline = time.monotonic() + _PATIENCE
            while subprocess.run([*self.cli, "version"], capture_output=True).returncode:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, f"{self.title} does not answer"
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait()

    def _command(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _fill(self, archive: Path) -> None:
        run(*self.cli, "load", "-i", archive)
        make = (*self.cli, "run", *self.limits, "--name")
        for name in (RUNNING, PAUSED):
            run(*make, name, "-d", IMAGE, *SLEEP)
        run(*make, ENDED, IMAGE, *CHANGE)
        run(*self.cli, "exec", RUNNING, *CHANGE)
        self._pause()

    def _pause(self) -> None:
        run(*self.cli, "pause", PAUSED)

    def _halt(self) -> None:
        run(*self.cli, "unpause", PAUSED, check=False)
        run(*self.cli, "stop", "-t", "0", *NAMES, check=False)

    def _directories(self, known: Any) -> tuple[str, ...]:
        """Return the layers of what was inspected, topmost first."""
        data = known["GraphDriver"]["Data"]
        return (data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":")))

    def reported(self) -> Iterator[Reported]:
        """Yield what the engine has: containers, the image, and its layers."""
        for name in NAMES:
            (known,) = json.loads(run(*self.cli, "container", "inspect", name))
            identity = known["Id"]
            names: tuple[str, ...] = (name, f"{self.prefix}:{name}", identity, identity[:12])
            yield Reported("container", names, self._directories(known))
        (image,) = json.loads(run(*self.cli, "image", "inspect", IMAGE))
        plain = image["Id"].removeprefix("sha256:")
        names = (IMAGE, f"docker.io/library/{IMAGE}", f"image:{IMAGE}", f"sha256:{plain}", plain,
                 plain[:12])  # fmt: skip
        directories = self._directories(image)
        yield Reported("image", names, directories)
        yield from layers_of(directories, image["RootFS"]["Layers"])

    def changes(self, name: str) -> set[str]:
        """Return the lines in which the engine tells what a container changed."""
        return set(run(*self.cli, "diff", name).splitlines())

    @staticmethod
    def open_to_all(name: str) -> Path:
        """Return a path in a directory that every user may write to."""
        directory = Path("/var/lib/exported")
        directory.mkdir(exist_ok=True)
        directory.chmod(0o1777)
        return directory / name

    def export(self, name: str) -> Path:
        """Return an archive of what a container shows."""
        archive = self.open_to_all("archive.tar")
        run(*self.cli, "export", "-o", archive, name)
        return archive

    def save(self) -> Path:
        """Return an archive of the image."""
        archive = self.open_to_all("saved.tar")
        run(*self.cli, "save", "-o", archive, IMAGE)
        return archive

    def take(self, archive: Path, name: str) -> None:
        """Make an image of one layer of an archive of its files."""
        archive.chmod(0o644)
        run(*self.cli, "import", archive, name)

    def evidence(self, disk: Path) -> None:
        """Copy its store to what stands for a disk of another machine."""
        there = disk / self.store.lstrip("/")
        there.parent.mkdir(parents=True)
        run("cp", "-a", self.store, there)

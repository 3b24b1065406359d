"""`make attack`: attack every command that changes something, RUNS times each.

A process of another user replaces whatever appears in its directory as soon as inotify reports it,
and keeps exchanging it with the original. If strace is installed, it delays the system calls to
give that process time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from layerctl.kernel import mounts, syscalls
from tests.support import ROOT
from tests.support.neighbour import Lab, watching

DELAYED = (
    "mkdirat,mkdir,rmdir,unlinkat,unlink,fchmodat,chmod,fchownat,chown,openat2,fsconfig,"
    "move_mount,mount,umount2,renameat2,setxattr,fsetxattr,unshare,chroot,open_tree"
)
STACK = ("-l", "mal/lo", "-u", "mal/up", "-w", "mal/work")


def _make(*names: str) -> Callable[[Lab], None]:
    return lambda place: place.make(*names)


def _stand(place: Lab) -> None:
    """Mount the same names for root in the other user's directory and in its own."""
    place.make("lo", "up", "work", "deep/m")
    for base in (place.mal, place.precious):
        target = str(base / "deep/m")
        if not any(one.target == target for one in mounts.entries()):
            layers = (
                f"lowerdir={base}/lo:{base}/lo2"
                if base == place.precious
                else f"lowerdir={base}/lo,upperdir={base}/up,workdir={base}/work"
            )
            syscalls.mount("o", target, "overlay", 0, layers)


#: Each command by its name in the output: its arguments, and what prepares the directories.
COMMANDS: dict[str, tuple[tuple[str, ...], Callable[[Lab], None]]] = {
    "doctor": (("doctor", *STACK, "mal/m"), _make("lo", "up", "work", "m")),
    "mount": (("mount", *STACK, "mal/m"), _make("lo", "up", "work", "m")),
    "mount, default work directory": (
        ("mount", "-l", "mal/lo", "-u", "mal/up", "mal/m"),
        _make("lo", "up", "m"),
    ),
    "mount --mkdir": (
        ("mount", "--mkdir", "-l", "mal/lo", "-u", "mal/new/x", "-w", "mal/new/work", "mal/m"),
        _make("lo"),
    ),
    "mount --mkdir, undone": (
        ("mount", "--mkdir", "-l", "mal/lo", "-u", "mal/new/x", "-o", "context=no:such", "mal/m"),
        _make("lo"),
    ),
    "mount --api fsconfig": (
        ("mount", "--api", "fsconfig", *STACK, "mal/m"),
        _make("lo", "up", "work", "m"),
    ),
    "mount --api mount": (
        ("mount", "--api", "mount", *STACK, "mal/m"),
        _make("lo", "up", "work", "m"),
    ),
    "mount -o remount": (("mount", "-o", "remount,ro", "mal/deep/m"), _stand),
    "umount": (("umount", "mal/deep/m"), _stand),
    "restore": (("restore", "-r", *STACK, "d"), _make("lo/d/e", "up/d/x/y", "work")),
}


def attack(name: str, runs: int, lab: Path) -> tuple[int, int]:
    """Attack one command; return how often it succeeded and how often it refused.

    Raises AssertionError if anything of root's has changed.
    """
    words, prepare = COMMANDS[name]
    strace = shutil.which("strace")
    slowed = (
        [strace, "-f", "-qq", "-o/dev/null", "-e", f"inject={DELAYED}:delay_enter=1500"]
        if strace
        else []
    )
    place = Lab(lab)
    good = refused = 0
    for number in range(runs):
        place.clear()
        prepare(place)
        place.before = place.look()
        with watching(place, restless=number % 2 == 1):
            done = subprocess.run(
                [*(slowed if number % 4 < 2 else []), sys.executable, "-m", "layerctl", *words],
                cwd=lab,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode != 70, done.stderr
        place.check((name, number, done.stderr))
        good += done.returncode == 0
        refused += done.returncode != 0
    place.clear()
    return good, refused


def main() -> None:
    """Attack every command and print the counts."""
    parser = argparse.ArgumentParser(prog="make attack", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    runs: int = parser.parse_args().runs
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
    with tempfile.TemporaryDirectory(prefix="layerctl-attack-") as base:
        os.chmod(base, 0o755)  # the other user must be able to enter it
        for number, name in enumerate(COMMANDS):
            lab = Path(base, str(number))
            lab.mkdir()
            syscalls.mount("lab", str(lab), "tmpfs", 0, "mode=755")
            good, refused = attack(name, runs, lab)
            said = f"{name}: {runs} runs, done {good}, refused {refused}; nothing of root's changed"
            print(said, flush=True)
            syscalls.umount2(str(lab), syscalls.MNT_DETACH)


if __name__ == "__main__":
    main()

"""Real filesystems in files, mounted in the namespace of the test that asks for them.

A loop device is freed with its mount, and the mount with the namespace: nothing is left behind.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: How each filesystem is made, and how many bytes its tools want at least (the file is sparse).
MKFS: dict[str, tuple[tuple[str, ...], int]] = {
    "ext4": (("mkfs.ext4", "-q", "-F"), 64 << 20),
    "xfs": (("mkfs.xfs", "-q"), 320 << 20),
    "btrfs": (("mkfs.btrfs", "-q"), 128 << 20),
}
#: What upper layers are tested on.
WRITABLE = ("tmpfs", *MKFS)


def run(*command: str | os.PathLike[str]) -> None:
    """Run a program whose success is taken for granted; what it said is the error's text."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def mount(fstype: str, target: Path) -> None:
    """Make a filesystem of a type of WRITABLE and mount it on `target`, an empty directory."""
    run("mount", "-t", "tmpfs", "lab", target)
    if fstype == "tmpfs":
        return
    command, size = MKFS[fstype]
    image = target / "image"  # hidden below the mount once that is there
    image.touch()
    os.truncate(image, size)
    run(*command, image)
    run("mount", "-o", "loop", "-t", fstype, image, target)
    lost = target / "lost+found"
    if lost.is_dir():
        lost.rmdir()


def mount_packed(tree: Path, fstype: str, target: Path) -> None:
    """Pack a tree into a read-only squashfs or erofs image and mount it on `target`."""
    image = target.with_name(target.name + ".image")
    if fstype == "squashfs":
        run("mksquashfs", tree, image, "-quiet", "-no-progress")
    else:
        run("mkfs.erofs", "--quiet", image, tree)
    run("mount", "-o", "loop", "-t", fstype, image, target)


def own_run() -> None:
    """Cover /run, in which other tests mount images at the same time."""
    run("mount", "-t", "tmpfs", "lab", "/run")

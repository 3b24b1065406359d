"""The commands of `make inject`, and the directories they work on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from layerctl.kernel import syscalls


class Case(NamedTuple):
    """A command: its arguments, whether an overlay is mounted, environment variables, patches."""

    words: str
    mounted: bool = False
    environment: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    patch: Callable[[], None] = lambda: None


def _divide_early() -> None:
    from layerctl.inspecting import sharing

    sharing._WORTHWHILE = 0
    sharing._MANY = 0


CASES: dict[str, Case] = {
    "mount": Case("mount -l l1 -l l2 -u u -w w m"),
    "mount-string": Case("mount --api mount -l l1 -l l2 -u u -w w m"),
    "mount-mkdir": Case("mount --mkdir -l l1 -u new/u new/m --json"),
    "mount-tmpfs": Case("mount --tmpfs=1m -l l1 m"),
    "mount-image": Case("mount -l image -l l1 m"),
    "mount-remount": Case("mount -o remount,ro m", mounted=True),
    "dry-run": Case("mount --dry-run -l l1 -u u -w w m"),
    "print-fstab": Case("mount --print fstab -l l1 -u u -w w m"),
    "print-tmpfiles": Case("mount --print tmpfiles -l l1 -u u new/m --mkdir"),
    "umount": Case("umount m", mounted=True),
    "list": Case("list", mounted=True),
    "list-json": Case("list --json", mounted=True),
    "doctor": Case("doctor"),
    "doctor-plan": Case("doctor -l l1 -l l2 -u u -w w m"),
    "doctor-live": Case("doctor m", mounted=True),
    "doctor-from": Case("doctor --from log"),
    "explain": Case("explain overlapping-layers"),
    "schema": Case("schema list"),
    "inspect-mount": Case("inspect mount m", mounted=True),
    "inspect-merged": Case("inspect merged m", mounted=True),
    "inspect-two": Case("inspect changes m --jsonl", mounted=True, patch=_divide_early),
    "inspect-tree": Case("inspect merged m --tree", mounted=True),
    "inspect-summary": Case("inspect merged m --summary", mounted=True),
    "inspect-story": Case("inspect merged m d/f", mounted=True),
    "inspect-layers": Case("inspect merged -l l1 -l l2 -u u"),
    "inspect-whiteouts": Case("inspect whiteouts m", mounted=True),
    "inspect-thorough": Case("inspect whiteouts --thorough m", mounted=True),
    "inspect-changes": Case("inspect changes m", mounted=True),
    "inspect-aufs": Case("inspect aufs --sysfs sys --mountinfo mountinfo"),
    "complete": Case(
        "", True,
        {"_LAYERCTL_COMPLETE": "bash_complete", "COMP_LINE": "layerctl umount ", "COMP_POINT": "16"},  # noqa: E501
    ),
}  # fmt: skip

_AUFS = "36 25 0:40 / /a rw,relatime - aufs none rw,si=0123456789abcdef\n"


def build(lab: Path, *, mounted: bool) -> None:
    """Create the layers of all cases, and mount the overlay if the case needs one."""
    for name in (
        "l1/d",
        "l1/e",
        "l1/gone",
        "l2/d",
        "l2/x",
        "u/d",
        "u/new",
        "w",
        "m",
        "tmp",
        "sys/si_1",
    ):
        (lab / name).mkdir(parents=True)
    for name in ("l1/d/f", "l1/top", "l1/gone/f", "l2/d/g", "l2/x/f", "l2/e", "u/d/f", "u/new/n"):
        (lab / name).write_text(name)
    (lab / "l1/link").symlink_to("top")
    (lab / "u/link").symlink_to("d")
    os.mknod(lab / "u/top", 0o600 | 0o020000, 0)
    os.setxattr(lab / "u/new", "trusted.overlay.opaque", b"y")
    subprocess.run(
        ["mksquashfs", lab / "l2", lab / "image", "-quiet", "-no-progress"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    (lab / "log").write_text("overlayfs: failed to resolve '/a': -2\n")
    sysfs = lab / "sys/si_0123456789abcdef"
    (lab / "sys/si_1").rmdir()
    sysfs.mkdir()
    (sysfs / "br0").write_text("/rw=rw\n")
    (sysfs / "br1").write_text("/ro=ro\n")
    (sysfs / "xi_path").write_text("/rw/.aufs.xino\n")
    (lab / "mountinfo").write_text(_AUFS)
    if mounted:
        words = f"lowerdir={lab}/l1:{lab}/l2,upperdir={lab}/u,workdir={lab}/w"
        syscalls.mount("o", str(lab / "m"), "overlay", 0, words)

"""What mends a fault of a container engine's own mount: the engine's commands, and no others."""

from __future__ import annotations

import re

from layerctl.model import Finding, Fix
from layerctl.rules.engines import Owner, Purpose
from layerctl.rules.words import shell

_CHOOSES = (
    "The engine chooses the options of its mounts; keep data that needs this in a volume.",
    (Purpose.VOLUME,),
)
_LOST = (
    "Pull or build the image again. Data that a container wrote to a lost layer is gone; an empty "
    "directory in its place would only hide the loss.",
    (Purpose.PULL,),
)
_STORAGE = (
    "Put the storage of {engine} on a disk: a volume, or a directory that is not on an overlay.",
    (Purpose.STORAGE,),
)
_REPAIR = (
    "Repair the filesystem of the upper layer, then restart the container.",
    (Purpose.RESTART,),
)

#: What mends a cause, and the purposes of the engine's commands for it.
_FIXES: dict[str, tuple[str, tuple[Purpose, ...]]] = {
    "fuse-overlayfs-crashed": (
        "Restart the container; then find out why the process ended.", (Purpose.RESTART,)
    ),
    "hardlink-broken-across-overlay": _CHOOSES,
    "hardlink-nlink-inconsistent": _CHOOSES,
    "layer-gone": _LOST,
    "layer-link-missing-after-crash": _LOST,
    "layer-modified-while-mounted": (
        "Change files only inside the container. To recover, start a new one.",
        (Purpose.STOP, Purpose.REMOVE),
    ),
    "leaked-mount-busy": (
        "Stop the container and remove it; the engine unmounts its root itself.",
        (Purpose.STOP, Purpose.REMOVE),
    ),
    "lowerdir-submounts-hidden": (
        "Give the directory to the container as a volume.", (Purpose.VOLUME,)
    ),
    "markers-without-effect": (
        "Pull or build the image again with this engine, and start a new container.",
        (Purpose.PULL,),
    ),
    "metacopy-mismatch": _LOST,
    "missing-layer-directory": _LOST,
    "mounted-read-only": _REPAIR,
    "redirect-dir-off-rename-exdev": _CHOOSES,
    "tmpfs-upper-xattr-unsupported": _STORAGE,
    "upper-enospc": (
        "Free up space or inodes: remove containers and images that are no longer needed.",
        (Purpose.CLEAN,),
    ),
    "upper-fs-no-xattr": _STORAGE,
    "upper-readonly": _REPAIR,
    "upperdir-fs-unsupported-overlay": _STORAGE,
    "userns-needs-userxattr": _STORAGE,
    "volatile-incompat-dirty": (
        "Remove the container, and start a new one.", (Purpose.STOP, Purpose.REMOVE)
    ),
    "volatile-upper": (
        "The engine mounts it so on purpose; keep data that must survive a crash in a volume.",
        (Purpose.VOLUME,),
    ),
    "volatile-upper-error": _REPAIR,
    "xino-off-inode-instability": _CHOOSES,
}  # fmt: skip
#: Commands that change a mount behind its engine's back.
_FIGHTS = re.compile(
    r"\b(?:umount|fusermount3?|layerctl (?:mount|branch)|mount --bind|mount -t (?:overlay|aufs))\b"
)
_MOUNTS = re.compile(r"\bmount\b")


def fits(command: str, target: str) -> bool:
    """Tell whether a command leaves the engine's mount on `target` alone."""
    if _FIGHTS.search(command):
        return False
    return not (_MOUNTS.search(command) and command.endswith((f" {target}", f" {shell(target)}")))


def fixed(finding: Finding, owner: Owner, target: str = "TARGET") -> Finding:
    """Return a finding about an engine's mount on `target` with a fix by the engine."""
    known = _FIXES.get(finding.cause)
    if known is not None:
        text, purposes = known
        commands = owner.commands(*purposes)
        return finding._replace(fix=Fix(text.format(engine=owner.engine.name), commands))
    kept = tuple(one for one in finding.fix.commands if fits(one, target))
    if kept != finding.fix.commands:
        kept += owner.commands(Purpose.RESTART)
    return finding._replace(fix=finding.fix._replace(commands=kept))

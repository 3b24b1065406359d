"""What mends a cause, with the paths and the engine that the text itself names."""

from __future__ import annotations

import re
from typing import NamedTuple

from layerctl.diagnosing.catalogue import CAUSES, Raw
from layerctl.diagnosing.commands import mount_command
from layerctl.diagnosing.reading.attempts import Attempt, is_real
from layerctl.diagnosing.reading.context import Context
from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.model import Role, Stack
from layerctl.rules.overlay import work_beside

_PLACE = re.compile(r"\{([a-z_]+)\}")
_STORE = Lazy(
    r"/overlay2?/(?:l/|[0-9a-f]{8,}|[a-z0-9]{25})|containers/storage|snapshotter\.v1\.overlayfs|"
    r"/aufs/(?:diff|mnt|layers)|creating (?:overlay|aufs) mount"
)
_CONTAINER = Lazy(r"/\.dockerenv|\bkubepods?\b|\bin(?:side)? (?:a |the )?container|\bpct\b|\blxc-")
_MEMORY = Lazy(r"\btmpfs\b|/run/|/dev/shm")
#: Causes for which the work directory that was named is what is wrong.
_WORK = frozenset(
    {
        "missing-workdir", "workdir-upperdir-different-mount", "workdir-upperdir-not-separate",
        "workdir-not-empty", "btrfs-subvolume-upper-exdev", "volatile-incompat-dirty",
    }
)  # fmt: skip
_LOST = frozenset({"missing-layer-directory", "layer-link-missing-after-crash", "layer-gone"})
#: An engine's word for getting a lost layer again, and for a store that lies elsewhere.
_AGAIN = {
    "docker": ("docker rmi IMAGE", "docker pull IMAGE"),
    "podman": ("podman system check --repair", "podman pull IMAGE"),
    "containerd": ("ctr -n k8s.io images rm IMAGE", "ctr -n k8s.io images pull IMAGE"),
}
_ELSEWHERE = {
    "docker": ("dockerd --data-root DIR", "docker run -v docker-data:/var/lib/docker IMAGE"),
    "podman": ("podman --root DIR info", "podman run -v storage:/var/lib/containers IMAGE"),
    "containerd": ("containerd --root DIR",),
}
_SPACE = {
    "docker": ("docker system df", "docker system prune"),
    "podman": ("podman system df", "podman system prune"),
    "containerd": ("crictl rmi --prune",),
}


class Fix(NamedTuple):
    """What replaces the catalogue's text and commands, None where that stands; and the values."""

    text: str | None
    commands: tuple[str, ...] | None
    values: dict[str, str]


def engine(context: Context) -> str:
    """Return the engine whose store a text is about, empty where it is none's."""
    small = context.small
    if "containers/storage" in small or re.search(r"\b(?:podman|buildah|cri-o|crio)\b", small):
        return "podman"
    if re.search(r"containerd|snapshotter|k3s|\bctr\b", small):
        return "containerd"
    return "docker" if re.search(r"docker|/overlay2/|/aufs/mnt", small) else ""


def of(cause: str, context: Context, clues: dict[str, str]) -> Fix:
    """Return what mends a cause here; `clues` are the values that its clues tell."""
    attempt = _attempt(context)
    values = _values(attempt) | clues
    owner = engine(context)
    stored = bool(owner) and _STORE.search(context.plain) is not None
    if cause in _WORK and attempt is not None and attempt.stack is not None:
        values |= _other_work(attempt.stack, attempt.target)
    if cause == "aufs-xino-fs-unsupported" and attempt is not None and attempt.stack is not None:
        values |= _other_xino(attempt.stack, attempt.target)
    if cause in _LOST and stored:
        text = (
            "Pull or build the image again. Data that a container wrote to a lost layer is gone; "
            "an empty directory in its place would only hide the loss."
        )
        return Fix(text, _AGAIN[owner], values)
    if cause == "upperdir-fs-unsupported-overlay" and owner:
        text = f"Put the storage of {owner} on a disk: a volume, or a directory that is not on an "
        "overlay."
        return Fix(text, _ELSEWHERE[owner], values)
    if cause == "upper-enospc" and not _MEMORY.search(context.plain):
        text = "Free up space or inodes on that filesystem, or put the upper layer on a larger one."
        return Fix(text, _SPACE.get(owner, ()), values)
    if cause == "running-kernel-modules-removed" and _CONTAINER.search(context.plain):
        return Fix("Reboot the host into the installed kernel.", (), values)
    if cause in ("mounted-read-only", "upper-readonly") and values.get("target") == "/":
        text = "Repair the work directory or the upper filesystem, then make the root writable."
        return Fix(text, ("mount -o remount,rw /",), values)
    return Fix(None, None, values)


def patterns(commands: tuple[str, ...], values: dict[str, str]) -> tuple[str, ...]:
    """Return commands of which some still need a word, each such one marked as a pattern."""
    out = []
    for line in commands:
        missing = [name for name in dict.fromkeys(_PLACE.findall(line)) if name not in values]
        words = [name.upper() for name in missing if name != "command"]
        words += [word for word in ("IMAGE", "DIR", "PROFILE", "DEVICE") if f" {word}" in line]
        out.append(f"{line}  # replace {', '.join(words)}" if words else line)
    return tuple(out)


def commands(cause: str, fix: Fix) -> tuple[str, ...]:
    """Return the templates of the commands that mend a cause."""
    return patterns(CAUSES[cause].commands if fix.commands is None else fix.commands, fix.values)


def _attempt(context: Context) -> Attempt | None:
    for attempt in context.tried:
        if attempt.stack is not None and attempt.stack.layers:
            return attempt
    return None


def _values(attempt: Attempt | None) -> dict[str, str]:
    """Return what the mount that was tried fills into commands."""
    if attempt is None or attempt.stack is None:
        return {}
    stack = attempt.stack
    lowers = [one.path for one in stack.of_role(Role.LOWER) if is_real(one.path)]
    values = {"lower": ":".join(lowers)} if lowers else {}
    for name, path in (("upper", stack.upper), ("work", stack.work), ("target", attempt.target)):
        if path is not None and is_real(path):
            values[name] = path
    return values


def _other_work(stack: Stack, target: str | None) -> dict[str, str]:
    """Return a work directory beside the upper one, on its mount, and the mount with that."""
    if stack.fstype != "overlay" or stack.upper is None or not is_real(stack.upper):
        return {}
    work = work_beside(stack.upper)
    if work == stack.work:
        work += "2"
    if not all(is_real(layer.path) for layer in stack.layers):
        return {"work": work}
    return {"work": work, "command": Raw(mount_command(stack._replace(work=work), target))}


def _other_xino(stack: Stack, target: str | None) -> dict[str, str]:
    """Return the mount that was tried, with its xino file on a tmpfs."""
    if stack.fstype != "aufs":
        return {}
    better = stack._replace(options={**stack.options, "xino": "/dev/shm/aufs.xino"})  # noqa: S108 - a name for the user to paste, not opened here
    return {"command": Raw(mount_command(better, target))}

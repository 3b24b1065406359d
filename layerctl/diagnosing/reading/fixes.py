"""What mends a cause, with the paths and the engine that the text itself names."""

from __future__ import annotations

import re

from layerctl.diagnosing.catalogue import CAUSES
from layerctl.diagnosing.clue import Clue, Raw
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
#: An engine's word for getting a lost layer again, and for a store that is elsewhere.
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


def engine(context: Context) -> str:
    """Return the engine whose store a text is about, empty if it is none's."""
    small = context.small
    if "containers/storage" in small or re.search(r"\b(?:podman|buildah|cri-o|crio)\b", small):
        return "podman"
    if re.search(r"containerd|snapshotter|k3s|\bctr\b", small):
        return "containerd"
    return "docker" if re.search(r"docker|/overlay2/|/aufs/mnt", small) else ""


def fitted(clue: Clue, context: Context) -> Clue:
    """Return a clue with a fix that suits the text: its paths, its engine's commands.

    What the clue itself says of the fix stands.
    """
    text, commands = _of_engine(clue.cause, context)
    known = {**values(context), **clue.values, **_other_directories(clue.cause, context)}
    if clue.cause in ("mounted-read-only", "upper-readonly") and known.get("target") == "/":
        text = "Repair the work directory or the upper filesystem, then make the root writable."
        commands = ("mount -o remount,rw /",)
    if clue.commands is None:
        templates = CAUSES[clue.cause].commands if commands is None else commands
        clue = clue._replace(commands=_patterns(templates, known))
    return clue._replace(fix=text if clue.fix is None else clue.fix, values=known)


def values(context: Context) -> dict[str, str]:
    """Return what the mount that was tried fills into commands."""
    attempt = _attempt(context)
    if attempt is None or attempt.stack is None:
        return {}
    stack = attempt.stack
    lowers = [one.path for one in stack.of_role(Role.LOWER) if is_real(one.path)]
    found = {"lower": ":".join(lowers)} if lowers else {}
    for name, path in (("upper", stack.upper), ("work", stack.work), ("target", attempt.target)):
        if path is not None and is_real(path):
            found[name] = path
    return found


def _of_engine(cause: str, context: Context) -> tuple[str | None, tuple[str, ...] | None]:
    """Return the text and the commands that the engine of a text calls for, None for each if none.

    An engine's own store is mended with its own commands.
    """
    owner = engine(context)
    if cause in _LOST and owner and _STORE.search(context.plain) is not None:
        text = (
            "Pull or build the image again. Data that a container wrote to a lost layer is gone; "
            "an empty directory in its place would only hide the loss."
        )
        return text, _AGAIN[owner]
    if cause == "upperdir-fs-unsupported-overlay" and owner:
        text = f"Put the storage of {owner} on a disk: a volume, or a directory that is not on an "
        return text + "overlay.", _ELSEWHERE[owner]
    if cause == "upper-enospc" and not _MEMORY.search(context.plain):
        text = "Free up space or inodes on that filesystem, or put the upper layer on a larger one."
        return text, _SPACE.get(owner, ())
    if cause == "running-kernel-modules-removed" and _CONTAINER.search(context.plain):
        return "Reboot the host into the installed kernel.", ()
    return None, None


def _other_directories(cause: str, context: Context) -> dict[str, str]:
    """Return the mount that was tried with another work directory or xino file, where that helps.

    The directory or file that was named is what is wrong then.
    """
    attempt = _attempt(context)
    if attempt is None or attempt.stack is None:
        return {}
    if cause in _WORK:
        return _other_work(attempt.stack, attempt.target)
    if cause == "aufs-xino-fs-unsupported":
        return _other_xino(attempt.stack, attempt.target)
    return {}


def _patterns(commands: tuple[str, ...], values: dict[str, str]) -> tuple[str, ...]:
    """Return commands of which some still need a word, each such one marked as a pattern."""
    out = []
    for line in commands:
        missing = [name for name in dict.fromkeys(_PLACE.findall(line)) if name not in values]
        words = [name.upper() for name in missing if name != "command"]
        words += [word for word in ("IMAGE", "DIR", "PROFILE", "DEVICE") if f" {word}" in line]
        out.append(f"{line}  # replace {', '.join(words)}" if words else line)
    return tuple(out)


def _attempt(context: Context) -> Attempt | None:
    for attempt in context.tried:
        if attempt.stack is not None and attempt.stack.layers:
            return attempt
    return None


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

"""What mends a cause, with the paths and the engine that the text itself names."""

from __future__ import annotations

import re

from layerctl.diagnosing import engines
from layerctl.diagnosing.catalogue import CAUSES
from layerctl.diagnosing.clue import Clue, Raw
from layerctl.diagnosing.commands import mount_command
from layerctl.diagnosing.reading.attempts import Attempt, is_real
from layerctl.diagnosing.reading.context import Context
from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.model import Finding, Role, Stack
from layerctl.rules.engines import ENGINES, Owner, Purpose
from layerctl.rules.overlay import work_beside

_PLACE = re.compile(r"\{([a-z_]+)\}")
_STORE = Lazy(
    r"/overlay2?/(?:l/|[0-9a-f]{8,}|[a-z0-9]{25})|containers/storage|snapshotter\.v1\.overlayfs|"
    r"/aufs/(?:diff|mnt|layers)|creating (?:overlay|aufs) mount"
)
_CONTAINER = Lazy(r"/\.dockerenv|\bkubepods?\b|\bin(?:side)? (?:a |the )?container|\bpct\b|\blxc-")
_MEMORY = Lazy(r"\btmpfs\b|/run/|/dev/shm")
#: Placeholders in commands of engines.
_WORDS = ("CONTAINER", "IMAGE", "VOLUME", "DIR", "PROFILE", "DEVICE")
#: Causes for which the work directory that was named is what is wrong.
_WORK = frozenset(
    {
        "missing-workdir", "workdir-upperdir-different-mount", "workdir-upperdir-not-separate",
        "workdir-not-empty", "btrfs-subvolume-upper-exdev", "volatile-incompat-dirty",
    }
)  # fmt: skip


def engine(context: Context) -> str:
    """Return the engine whose store a text is about, empty if it is none's."""
    small = context.small
    if "containers/storage" in small or re.search(r"\b(?:podman|buildah|cri-o|crio)\b", small):
        return "podman"
    if re.search(r"containerd|snapshotter|k3s|\bctr\b", small):
        return "kubernetes"  # where containerd's errors come from, mostly
    return "docker" if re.search(r"docker|/overlay2/|/aufs/mnt", small) else ""


def owner(context: Context) -> Owner | None:
    """Return the engine that made the mount that a text is about, None if somebody else did."""
    if not engine(context) or _STORE.search(context.plain) is None:
        return None
    if any(attempt.by in ("mount", "fuse-overlayfs") for attempt in context.tried):
        return None
    return Owner(ENGINES[engine(context)])


def fitted(clue: Clue, context: Context) -> Clue:
    """Return a clue with a fix that suits the text: its paths, what is around.

    The fix of the clue itself has precedence.
    """
    text, commands = _around(clue.cause, context)
    known = {**values(context), **clue.values, **_other_directories(clue.cause, context)}
    if clue.cause in ("mounted-read-only", "upper-readonly") and known.get("target") == "/":
        text = "Repair the work directory or the upper filesystem, then make the root writable."
        commands = ("mount -o remount,rw /",)
    if clue.commands is None:
        templates = CAUSES[clue.cause].commands if commands is None else commands
        clue = clue._replace(commands=_patterns(templates, known))
    return clue._replace(fix=text if clue.fix is None else clue.fix, values=known)


def of_engine(finding: Finding, owner: Owner) -> Finding:
    """Return a finding with the commands of the engine whose mount it is about."""
    fixed = engines.fixed(finding, owner)
    if fixed.fix.commands == finding.fix.commands:
        return fixed
    return fixed._replace(fix=fixed.fix._replace(commands=_patterns(fixed.fix.commands, {})))


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


def _around(cause: str, context: Context) -> tuple[str | None, tuple[str, ...] | None]:
    """Return the text and the commands that what is around calls for, None for each if none."""
    named = ENGINES.get(engine(context))
    if cause == "upperdir-fs-unsupported-overlay" and named is not None:
        where = "a volume, or a directory that is not on an overlay"
        text = f"Put the storage of {named.name} on a disk: {where}."
        return text, named.commands[Purpose.STORAGE]
    if cause == "upper-enospc" and not _MEMORY.search(context.plain):
        text = "Free up space or inodes on that filesystem, or put the upper layer on a larger one."
        return text, () if named is None else named.commands[Purpose.CLEAN]
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
        words += [word for word in _WORDS if re.search(rf"[ :/]{word}\b", line)]
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

"""Checks of how deep filesystems are stacked, and of mounts inside the layers."""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.diagnosing.checks.layers import command, is_in, roles
from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.commands import beside
from layerctl.kernel.facts import Facts
from layerctl.model import MountEntry, Severity, Stack
from layerctl.rules.filesystems import PSEUDO, STACKED

#: FILESYSTEM_MAX_STACK_DEPTH (include/linux/fs.h).
MAX_DEPTH = 2


def depth(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No layer exceeds the kernel's stacking depth."""
    for role, path in roles(stack):
        entry = facts.of(path).mount
        if entry is None or (role == "work directory" and stack.upper is None):
            continue
        below, sure = depth_of(entry, facts)
        if below >= MAX_DEPTH:
            on = f"{entry.target} ({entry.fstype})"
            seen = f"{role} {path} is on {on}, which is {below} levels deep"
            base = facts.target.path if facts.target is not None else path
            scratch = beside(base, ".copy")
            better = stack._replace(
                layers=tuple(
                    layer._replace(path=scratch) if layer.path == path else layer
                    for layer in stack.layers
                )
            )
            values = {"path": path, "scratch": scratch, "command": command(better, facts)}
            commands: tuple[str, ...] = (
                "mkdir -p {scratch}",
                "mount -t tmpfs tmpfs {scratch}",
                "cp -a {path}/. {scratch}",
                "{command}",
            )
            fix = None
            if entry.fstype == "proc":
                fix, commands = "procfs cannot be a layer; use another directory.", ()
            severity = None if sure else Severity.WARNING
            yield Clue("max-stacking-depth", (seen,), values, severity, fix=fix, commands=commands)


def depth_of(entry: MountEntry, facts: Facts, guard: int = 8) -> tuple[int, bool]:
    """Return the minimum stacking depth of a filesystem (s_stack_depth), and whether it is exact.

    procfs forbids all stacking. The filesystems of an overlay's layers are found by their names.
    """
    if entry.fstype == "proc":
        return MAX_DEPTH, True
    if entry.fstype != "overlay" or not guard:
        return int(entry.fstype in STACKED and entry.fstype != "overlay"), True
    deepest, sure = 0, True
    for path in facts.overlay.layers.get(entry.mount_id, ()):
        below = _mount_of(path, facts.mounts, entry)
        if below is not None:
            depth, certain = depth_of(below, facts, guard - 1)
            if depth > deepest:
                deepest, sure = depth, certain
    return deepest + 1, sure and (not deepest or entry.mount_id not in facts.overlay.guessed)


def _mount_of(path: str, entries: tuple[MountEntry, ...], above: MountEntry) -> MountEntry | None:
    """Return the mount that a path was on when the mount above was made; the last one counts."""
    found: MountEntry | None = None
    for entry in entries:
        if entry.mount_id == above.mount_id:
            continue
        if is_in(path, entry.target) and (found is None or len(entry.target) >= len(found.target)):
            found = entry
    return found


def submounts(stack: Stack, facts: Facts, *, mounted: bool = False) -> Iterator[Clue]:
    """No filesystem is mounted inside a layer; an overlay would not show it."""
    for layer in stack.layers:
        place = facts.of(layer.path)
        if place.mount is None or place.error is not None:
            continue
        inside = [
            entry
            for entry in facts.mounts
            if entry.target != layer.path
            and is_in(entry.target, layer.path)
            and entry.mount_id != place.mount.mount_id
            and not (facts.target is not None and entry.target == facts.target.path)
        ]
        real = [entry for entry in inside if entry.fstype not in PSEUDO]
        if not inside:
            continue
        shown = (real or inside)[0]
        target = "TARGET" if facts.target is None else facts.target.path
        inner = shown.target[len(layer.path.rstrip("/")) + 1 :]
        listed = ", ".join(entry.target for entry in (real or inside)[:4])
        values = {"lower": layer.path, "submount": shown.target, "target": target, "inner": inner}
        if not mounted:
            values["command"] = command(stack, facts)
        seen = (f"mounted inside {layer.role.value} {layer.path}, but not part of it: {listed}",)
        root = layer.path == "/"
        severity = Severity.WARNING if (real and not root) else Severity.INFO
        if not real and not root:
            severity = Severity.WARNING
        yield Clue("lowerdir-submounts-hidden", seen, values, severity)


def cloneable(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """In a user namespace, no layer contains locked mounts (has_locked_children)."""
    if facts.overlay.probed is None:
        return
    for path in facts.overlay.probed.locked:
        scratch = beside(facts.target.path if facts.target is not None else path, ".copy")
        better = stack._replace(
            layers=tuple(
                layer._replace(path=scratch) if layer.path == path else layer
                for layer in stack.layers
            )
        )
        seen = f"tried: {path} cannot be cloned without the mounts locked inside it"
        values = {"lower": path, "scratch": scratch, "command": command(better, facts)}
        yield Clue("userns-lower-with-submounts", (seen,), values)

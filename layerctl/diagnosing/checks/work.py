"""Checks of the work directory, its leftovers, and of other users of the layers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from layerctl.diagnosing.checks.layers import command, is_in
from layerctl.diagnosing.checks.storage import is_read_only
from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.commands import beside
from layerctl.kernel.facts import FS_APPEND_FL, FS_IMMUTABLE_FL, Directory, Facts, Other
from layerctl.kernel.facts.overlay import FULL
from layerctl.model import Role, Severity, Stack
from layerctl.rules.overlay import settings, work_beside

if TYPE_CHECKING:
    from layerctl.kernel.facts.index import Handles

#: What overlay itself stores in a work directory.
_OWN = frozenset({"work", "index"})


def incompatible(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No marker of a volatile mount is left (ovl_workdir_cleanup_recurse)."""
    if stack.upper is None or not facts.overlay.incompat or _busy(stack, facts):
        return
    seen = tuple(f"{stack.work}/work/incompat/{name} exists" for name in facts.overlay.incompat)
    values = {"work": stack.work or "WORK", "command": command(stack, facts)}
    yield Clue("volatile-incompat-dirty", seen, values)


def foreign(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The work directory contains only overlay's own directories."""
    others = [name for name in facts.overlay.work_names if name not in _OWN]
    if stack.upper is None or stack.work is None or not others:
        return
    listed = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
    better = _other_work(stack.upper, stack)
    yield Clue(
        "workdir-not-empty",
        (f"work {stack.work} contains: {listed}",),
        {"work": better, "command": command(stack, facts, work=better)},
    )


def _other_work(upper: str, stack: Stack) -> str:
    """Return another work directory next to the upper directory."""
    work = work_beside(upper)
    return f"{work}2" if work == stack.work else work


def cleared(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Overlay can clear its own directories."""
    if stack.upper is None or not facts.overlay.stuck or _busy(stack, facts):
        return
    index = os.path.join(stack.work or "", "index")
    refuses = index in facts.overlay.stuck and settings(stack, facts.overlay.parameters).indexed
    seen = [
        f"{path} is in the way: overlay clears only two levels below {stack.work}/work, and no "
        "mounts"
        for path in facts.overlay.stuck
        if path != index
    ]
    if refuses:
        seen.append(f"{index} is not a directory, and the index needs one")
    if not seen:
        return
    better = _other_work(stack.upper, stack)
    yield Clue(
        "workdir-not-empty",
        tuple(seen[:4]),
        {"work": better, "command": command(stack, facts, work=better)},
        Severity.FAILURE if refuses else None,
    )


def changeable(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The upper directory is neither immutable nor append-only."""
    if stack.upper is None:
        return
    flags = facts.overlay.flags.get(stack.upper, 0)
    for flag, letter, means in (
        (FS_IMMUTABLE_FL, "i", "nothing can be created, changed or removed at its top"),
        (FS_APPEND_FL, "a", "nothing can be removed or renamed at its top"),
    ):
        if flags & flag:
            seen = f"upper {stack.upper} has chattr +{letter}: {means}"
            values = {"upper": stack.upper, "flag": letter, "command": command(stack, facts)}
            yield Clue("upper-immutable", (seen,), values)


def usable(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """Overlay can create a directory in the work directory."""
    if stack.work is None:
        return
    work = facts.of(stack.work)
    if work.error is not None or work.will_be_made or not work.is_directory:
        return
    flags = facts.overlay.flags.get(stack.work, 0)
    append = ("chattr -a {work}", "{command}")
    if flags & FS_IMMUTABLE_FL:
        clue = Clue(_UNUSABLE, (f"work {stack.work} is immutable (chattr +i)",))
    elif flags & FS_APPEND_FL:
        seen = f"work {stack.work} is append-only (chattr +a), so overlay cannot clear it later"
        clue = Clue(_UNUSABLE, (seen,), commands=append)
    elif facts.overlay.probed is not None and facts.overlay.probed.work:
        number = facts.overlay.probed.work
        if number in FULL or (number == errno.EROFS and is_read_only(work)):
            return  # which other checks report
        seen = f"tried: creating a directory in work {stack.work}: {os.strerror(number)}"
        fix, commands = _REFUSED.get(number, (None, None))
        clue = Clue(_UNUSABLE, (seen,), fix=fix, commands=commands)
    else:
        return
    top = work.mount.target if work.mount is not None else stack.work
    values = {"work": stack.work, "mountpoint": top, "command": command(stack, facts)}
    yield clue._replace(values=values)


_UNUSABLE = "workdir-not-writable-mounted-ro"
_WRITABLE = (
    "Make the work directory writable for the mounting user, then mount again.",
    ("ls -ldn {work}",),
)
#: The fix per errno of mkdir(2) in the work directory.
_REFUSED = {
    errno.EROFS: (
        "Its mount is writable, so it is in a read-only btrfs subvolume: make that writable, or "
        "use another directory.",
        ("btrfs subvolume list -r {mountpoint}",),
    ),
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
}


def _touches(place: Directory, used: Directory) -> bool:
    """Tell whether a layer is a directory in use, or is in one."""
    if place.identity is not None and place.identity == used.identity:
        return True
    if place.mount is None or used.mount is None or place.inside is None or used.inside is None:
        return False
    return place.mount.device == used.mount.device and is_in(place.inside, used.inside)


def _users(place: Directory, facts: Facts) -> Iterator[Other]:
    for other in facts.overlay.others:
        if any(used is not None and _touches(place, used) for used in (other.upper, other.work)):
            yield other


def _busy(stack: Stack, facts: Facts) -> bool:
    """Tell whether upper or work belong to a live mount."""
    paths = [path for path in (stack.upper, stack.work) if path is not None]
    return any(True for path in paths for _ in _users(facts.of(path), facts))


def in_use(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """No other overlay, in any mount namespace, has a layer as its upper or work directory.

    With index=on the kernel answers EBUSY, else it warns (ovl_report_in_use).
    """
    named = [(layer.role.value, layer.path) for layer in stack.layers]
    if stack.work is not None and stack.upper is not None:
        named.append(("work", stack.work))
    for role, path in named:
        for other in _users(facts.of(path), facts):
            where = f" (process {other.pid})" if other.pid is not None else ""
            maybe = "" if other.certain else ", judging by its relative names"
            seen = f"{role} {path} is in use by the overlay on {other.target}{where}{maybe}"
            yield _in_use(stack, facts, role, other)._replace(evidence=(seen,))


def _in_use(stack: Stack, facts: Facts, role: str, other: Other) -> Clue:
    """Return how serious another overlay's use of a layer is, and how to end it."""
    refuses = settings(stack, facts.overlay.parameters).indexed
    upper = beside(stack.upper or "UPPER", ".2")
    work = work_beside(upper)
    values = {
        "upper": stack.upper or "UPPER",
        "other": other.target,
        "newupper": upper,
        "newwork": work,
    }
    lower = role in ("lower", "data")
    if not refuses and not lower:
        layers = tuple(
            layer._replace(path=upper) if layer.role is Role.UPPER else layer
            for layer in stack.layers
        )
        values["command"] = command(stack._replace(layers=layers, work=work), facts)
        return Clue("upper-shared-warning", values=values)
    values["command"] = command(stack, facts)
    cause = "lowerdir-in-use-as-upper" if lower else "upperdir-in-use-index-on"
    severity = None if refuses and other.certain else Severity.WARNING
    from layerctl.rules import engines  # slow to import, and few mounts need it

    commands, fix = None, None
    owner = engines.owner(other.target)
    if owner is not None:
        fix = "Stop the container that uses it first, or use directories of your own."
        commands = (*owner.commands(engines.Purpose.STOP), "{command}")
    elif other.pid is not None:
        values["pid"] = str(other.pid)
        commands = ("nsenter -t {pid} -m umount {other}", "{command}")
    return Clue(cause, (), values, severity, fix, commands)


def origin(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """With index=on, the upper layer belongs to these lower layers (ovl_verify_origin)."""
    handles = facts.overlay.handles
    if (
        handles is None
        or stack.upper is None
        or not settings(stack, facts.overlay.parameters).indexed
    ):
        return
    seen = tuple(_differences(handles, stack))
    if seen:
        without = stack._replace(
            options={
                **{name: value for name, value in stack.options.items() if name != "nfs_export"},
                "index": "off",
            }
        )
        values = {
            "upper": stack.upper,
            "work": stack.work or "WORK",
            "command": command(without, facts),
        }
        # on several filesystems the index may fall back to off, and then nothing is compared
        devices = {place.mount.device for place in facts.directories.values() if place.mount}
        severity = None if len(devices) == 1 else Severity.WARNING
        yield Clue("index-estale-lower-changed", seen, values, severity)


def _differences(handles: Handles, stack: Stack) -> Iterator[str]:
    lowers = stack.of_role(Role.LOWER)
    if None not in (handles.origin, handles.lower) and handles.origin != handles.lower:
        yield f"upper {stack.upper} belongs to a lower layer other than {lowers[0].path}"
    if None not in (handles.index_upper, handles.upper) and handles.index_upper != handles.upper:
        yield f"the index in {stack.work} belongs to an upper layer other than {stack.upper}"

"""Gather the facts about one plan."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from layerctl.kernel import beneath, mounts
from layerctl.kernel.beneath import Exposure
from layerctl.kernel.facts import Facts, TypeState
from layerctl.kernel.facts.common import caller, directory, fstab, surroundings
from layerctl.kernel.facts.modules import kernels_with, type_state
from layerctl.model import MountEntry, Stack


def gather(stack: Stack, target: str | None, will_be_made: Collection[str] = ()) -> Facts:
    """Gather the facts of a plan whose paths are absolute. Reads only; raises nothing.

    fsopen(2) is asked about a type that no module file names.
    """
    unknown: list[str] = []
    entries: tuple[MountEntry, ...] = ()
    try:
        entries = tuple(mounts.entries())
    except OSError as error:
        unknown.append(f"{mounts.SELF_MOUNTINFO}: {error.strerror}")
    by_id = {entry.mount_id: entry for entry in entries}
    state = type_state(stack.fstype)
    if state == TypeState.UNKNOWN:
        unknown.append(f"whether this kernel has {stack.fstype}")
    named = [*(layer.path for layer in stack.layers), *filter(None, [stack.work])]
    looked_at = {
        path: directory(path, by_id, will_be_made=path in will_be_made)
        for path in (*named, *filter(None, [target]))
    }
    who = caller()
    missing = any(looked_at[path].error is not None for path in named)
    facts = Facts(
        type_state=state,
        caller=who,
        directories={path: looked_at[path] for path in named},
        target=None if target is None else looked_at[target],
        kernel=os.uname().release,
        unknown=tuple(unknown),
        elsewhere=kernels_with(stack.fstype) if state == TypeState.ABSENT else (),
        exposed=_exposed(stack, target),
        mounts=entries,
        fstab=fstab() if missing else (),
        surroundings=frozenset() if who.sys_admin and not who.in_user_namespace else surroundings(),
    )
    return _with_own(stack, facts, by_id)


def _with_own(stack: Stack, facts: Facts, by_id: Mapping[int, MountEntry]) -> Facts:
    # Only one of the two is needed, and a script pays for every import.
    if stack.fstype == "aufs":
        from layerctl.kernel.facts import aufs

        return facts._replace(aufs=aufs.gather(stack, by_id))
    from layerctl.kernel.facts import overlay

    return facts._replace(overlay=overlay.gather(stack, facts, by_id))


def _exposed(stack: Stack, target: str | None) -> dict[str, Exposure]:
    """Return what others may swap on the way to what is written, and links on the way to all.

    A lower layer is only read, and whoever may swap it may change it as well.
    """
    found = {}
    written = (stack.upper, stack.work, target)
    for path in {*(layer.path for layer in stack.layers), *written}:
        if path is not None and (path in written or not beneath.is_plain(path)):
            exposure = beneath.exposure(path)
            if exposure.link is not None or (exposure.swap is not None and path in written):
                found[path] = exposure
    return found

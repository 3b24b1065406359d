"""`doctor` without arguments: which types work here, for whom, with which features."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.diagnosing.checks.check import make
from layerctl.diagnosing.checks.system import CHECKS
from layerctl.diagnosing.state import Row, State
from layerctl.kernel.facts import TypeState
from layerctl.kernel.facts.system import System, gather
from layerctl.rules.filesystems import suits_upper

_WORKS = {
    TypeState.PRESENT: "in the kernel",
    TypeState.MODULE: "a module, loaded on demand",
    TypeState.ABSENT: "not in this kernel",
    TypeState.UNKNOWN: "unknown",
}


def examine(*, probe: bool) -> State:
    """Examine the system; with `probe`, probe every feature in a new namespace."""
    system = gather(probe=probe)
    report = make(CHECKS, system.unknown, system.caller.is_root, system)
    return State(tuple(rows(system)), report)


def rows(system: System) -> Iterator[Row]:
    """Yield the rows of the state."""
    for fstype, state in system.types.items():
        well = True if state in (TypeState.PRESENT, TypeState.MODULE) else None
        if fstype == "overlay" and state == TypeState.ABSENT:
            well = False
        yield Row("types", fstype, _WORKS[state], well)
    fuse = system.fuse_overlayfs
    yield Row("types", "fuse-overlayfs", fuse or "not installed", True if fuse else None)
    caller = system.caller
    who = f"uid {caller.uid}" + (" in a user namespace" if caller.in_user_namespace else "")
    right = "can mount" if caller.sys_admin else "cannot mount (no CAP_SYS_ADMIN)"
    yield Row("who", who, right, caller.sys_admin)
    allowed = "no-userns" not in system.surroundings
    yield Row("who", "user namespaces", "allowed" if allowed else "disabled", allowed or None)
    for place, fstype in system.places.items():
        good = suits_upper(fstype)
        text = fstype + ("" if good else ", not usable for an upper layer")
        yield Row("places", place, text, True if good else None)
    for title, tried in (
        ("features", system.features),
        ("features in a user namespace", system.user_features),
    ):
        for name, number in (tried or {}).items():
            state = "works" if not number else os.strerror(number)
            yield Row(title, name, state, _well(title, name, number))


#: Features that no user namespace has, by design.
_NOT_FOR_USERS = frozenset({"redirect_dir", "metacopy", "verity"})


def _well(title: str, name: str, number: int) -> bool | None:
    if number and "user" in title and name in _NOT_FOR_USERS:
        return None
    return not number

"""Facts about the system itself: its kernel, the caller, what overlay can do here."""

from __future__ import annotations

import os
from typing import NamedTuple

from layerctl.kernel import mounts
from layerctl.kernel.facts import Caller, TypeState, features
from layerctl.kernel.facts.common import caller, surroundings
from layerctl.kernel.facts.modules import kernels_with, type_state


class System(NamedTuple):
    """What this system can do. `features` are the errnos of each, None if none was probed."""

    kernel: str
    types: dict[str, str]
    overlay_elsewhere: tuple[str, ...]
    caller: Caller
    surroundings: frozenset[str]
    places: dict[str, str]
    fuse_overlayfs: str | None
    dev_fuse: bool
    features: dict[str, int] | None = None
    user_features: dict[str, int] | None = None
    unknown: tuple[str, ...] = ()


#: Where upper layers usually lie.
_PLACES = ("/", "/tmp", "/var/lib", "/home", "/dev/shm")  # noqa: S108 - looked at, nothing is put there


def gather(*, probe: bool) -> System:
    """Gather the state of this system; with `probe` features are probed. Raises nothing."""
    unknown: list[str] = []
    types = {fstype: type_state(fstype) for fstype in ("overlay", "aufs", "fuse")}
    who = caller()
    places = {}
    try:
        by_id = {entry.mount_id: entry for entry in mounts.entries()}
        for path in _PLACES:
            if _there(path, unknown) and (entry := by_id.get(mounts.mount_id(path))) is not None:
                places[path] = entry.fstype
    except OSError as error:
        unknown.append(f"{error.filename or mounts.SELF_MOUNTINFO}: {error.strerror}")
    found, user = None, None
    if probe and types["overlay"] != TypeState.ABSENT:
        found = _probed(unknown, user=False) if who.sys_admin else None
        user = _probed(unknown, user=True)
    return System(
        os.uname().release,
        types,
        kernels_with("overlay") if types["overlay"] == TypeState.ABSENT else (),
        who,
        surroundings(),
        places,
        _program("fuse-overlayfs"),
        _there("/dev/fuse", unknown) is not False,
        found,
        user,
        tuple(unknown),
    )


def _there(path: str, unknown: list[str]) -> bool | None:
    """Tell whether a path is there, None if it cannot be told."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        unknown.append(f"{path}: {error.strerror}")
        return None
    return True


def _probed(unknown: list[str], *, user: bool) -> dict[str, int] | None:
    try:
        return features.probe(user=user)
    except OSError as error:
        where = " in a user namespace" if user else ""
        unknown.append(f"which features of overlay work{where}: {error.strerror}")
        return None


def _program(name: str) -> str | None:
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return path
    return None

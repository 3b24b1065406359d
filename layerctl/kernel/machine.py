"""Facts about the machine: where this process runs, and what it is allowed."""

from __future__ import annotations

import os
from typing import NamedTuple

from layerctl.kernel import mounts
from layerctl.kernel.facts import Caller, TypeState, caller, kernels_with, type_state


def read_word(path: str) -> str | None:
    """Return a small file of /proc or /sys without its line end, None where it cannot be read."""
    try:
        return mounts.read_text(path).strip("\0\n ")
    except OSError:
        return None


def surroundings() -> frozenset[str]:
    """Return what of this machine bears on the right to mount, as words.

    `wsl1`, `wsl2`, `gvisor`, `container`, `seccomp`, `apparmor`, `selinux`, `no-userns` (user
    namespaces cannot be made by ordinary users), `userns` (this is one).
    """
    found = set()
    version = (read_word("/proc/version") or "").lower()
    if "microsoft" in version:
        found.add("wsl2" if "wsl2" in version or "microsoft-standard" in version else "wsl1")
    if "gvisor" in version or "#1 smp sun jan 10 15:06:54 pst 2016" in version:
        found.add("gvisor")
    if any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))):
        found.add("container")
    status = read_word("/proc/self/status") or ""
    if "\nSeccomp:\t2" in status:
        found.add("seccomp")
    profile = read_word("/proc/self/attr/current")
    if profile and "(enforce)" in profile:
        found.add("apparmor")
    if read_word("/sys/fs/selinux/enforce") == "1":
        found.add("selinux")
    limits = (
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    )
    if any(read_word(path) == value for path, value in limits):
        found.add("no-userns")
    return frozenset(found)


class Machine(NamedTuple):
    """What this machine can do. `features` are errnos of each that was tried, None untried."""

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


def gather(*, probe: bool) -> Machine:
    """Gather the state of this machine; with `probe` features are tried. Raises nothing."""
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
    features, user = None, None
    if probe and types["overlay"] != TypeState.ABSENT:
        features = _tried(unknown, user=False) if who.sys_admin else None
        user = _tried(unknown, user=True)
    return Machine(
        os.uname().release,
        types,
        kernels_with("overlay") if types["overlay"] == TypeState.ABSENT else (),
        who,
        surroundings(),
        places,
        _program("fuse-overlayfs"),
        _there("/dev/fuse", unknown) is not False,
        features,
        user,
        tuple(unknown),
    )


def _there(path: str, unknown: list[str]) -> bool | None:
    """Tell whether a path is there, None where it cannot be told."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        unknown.append(f"{path}: {error.strerror}")
        return None
    return True


def _tried(unknown: list[str], *, user: bool) -> dict[str, int] | None:
    from layerctl.kernel import trial

    try:
        return trial.features(user=user)
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

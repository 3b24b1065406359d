"""Checks of the system, and their table."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.diagnosing.checks.check import Check
from layerctl.diagnosing.clue import Clue
from layerctl.kernel.facts import TypeState
from layerctl.kernel.facts.system import System
from layerctl.model import Severity


def overlay_type(system: System) -> Iterator[Clue]:
    """Find that the kernel has no overlay, neither built in nor as a module."""
    if system.types["overlay"] == TypeState.ABSENT:
        seen = f"/proc/filesystems of {system.kernel} lists no overlay, and there is no module"
        cause = "overlay-not-in-kernel"
        if system.overlay_elsewhere:
            cause = "running-kernel-modules-removed"
            others = ", ".join(system.overlay_elsewhere)
            seen = f"overlay is a module of {others}, not of {system.kernel}"
        if "wsl1" in system.surroundings:
            cause = "wsl1-limited-overlay"
        yield Clue(cause, (seen,))


def aufs_type(system: System) -> Iterator[Clue]:
    """Find that the kernel has no aufs, as most do not."""
    if system.types["aufs"] == TypeState.ABSENT:
        seen = f"/proc/filesystems of {system.kernel} does not list aufs"
        yield Clue("aufs-module-missing", (seen,), severity=Severity.INFO)


def may_mount(system: System) -> Iterator[Clue]:
    """Find that the caller cannot mount, as root or in a user namespace."""
    if system.caller.sys_admin:
        return
    seen: tuple[str, ...] = (f"uid {system.caller.uid} has no CAP_SYS_ADMIN",)
    number = (system.user_features or {}).get("namespace")
    if number:
        seen = (*seen, f"tried: a user and mount namespace: {os.strerror(number)}")
    if number or "no-userns" in system.surroundings:
        values = {"sysctl": "user.max_user_namespaces=10000"}
        yield Clue("missing-user-namespace", seen, values)
    else:
        yield Clue("missing-cap-sys-admin", seen, {"command": "COMMAND"}, Severity.INFO)


def policy(system: System) -> Iterator[Clue]:
    """Find a security policy that forbids mounting."""
    tried = system.features or {}
    number = tried.get("overlay with an upper layer", tried.get("namespace", 0))
    if system.caller.sys_admin and number in (1, 13):
        around = sorted(system.surroundings & {"container", "seccomp", "apparmor", "selinux"})
        seen = [f"tried: an overlay on a tmpfs: {os.strerror(number)}"]
        seen += [f"detected: {', '.join(around)}"] if around else []
        yield Clue("container-policy-denies-overlay-mount", tuple(seen))
    if "gvisor" in system.surroundings:
        yield Clue(
            "gvisor-overlay-limitation", ("/proc/version is gVisor's",), severity=Severity.WARNING
        )


def places(system: System) -> Iterator[Clue]:
    """Find common locations of upper layers that are on an overlay."""
    for place in ("/", "/var/lib", "/home"):
        if system.places.get(place) == "overlay":
            seen = f"{place} is an overlay: upper and work need a volume or a tmpfs"
            values = {"upper": place}
            yield Clue("upperdir-fs-unsupported-overlay", (seen,), values, Severity.INFO)
            return


def fuse(system: System) -> Iterator[Clue]:
    """Find that fuse-overlayfs is installed, but not its device."""
    if system.fuse_overlayfs and not system.dev_fuse:
        yield Clue("dev-fuse-missing", ("/dev/fuse does not exist",), severity=Severity.WARNING)


CHECKS: tuple[Check[[System]], ...] = (
    Check("machine.overlay-type", "The kernel supports overlay", overlay_type),
    Check("machine.aufs-type", "The kernel supports aufs", aufs_type),
    Check("machine.may-mount", "The caller can mount", may_mount),
    Check("machine.policy", "No security policy forbids mounting", policy),
    Check("machine.places", "The usual directories can hold an upper layer", places),
    Check("machine.fuse", "/dev/fuse exists if fuse-overlayfs is installed", fuse),
)

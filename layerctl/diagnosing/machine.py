"""`doctor` with nothing: which types work on this machine, as whom, with which features."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.preflight import Checked, run_checks
from layerctl.kernel.facts import TypeState
from layerctl.kernel.facts.system import System, gather
from layerctl.model import Finding, Severity
from layerctl.rules.filesystems import suits_upper

_WORKS = {
    TypeState.PRESENT: "in the kernel",
    TypeState.MODULE: "a module, loaded on demand",
    TypeState.ABSENT: "not in this kernel",
    TypeState.UNKNOWN: "unknown",
}


class Row(NamedTuple):
    """One line of the state: `well` None where it only informs."""

    group: str
    what: str
    state: str
    well: bool | None


class State(NamedTuple):
    """The state of this machine."""

    rows: tuple[Row, ...]
    findings: list[Finding]
    checks: list[Checked]

    @property
    def lacking(self) -> int:
        """How many rows are marked as what this machine cannot do."""
        return sum(row.well is False for row in self.rows)

    def document(self) -> list[dict[str, object]]:
        """Return the rows in their published shape."""
        return [row._asdict() for row in self.rows]

    def lines(self, marks: Mapping[bool | None, str], *, verbose: bool) -> list[str]:
        """Return the rows by group, each with its mark; what is well is summed up or `verbose`."""
        out: list[str] = []
        for group in dict.fromkeys(row.group for row in self.rows):
            rows = [row for row in self.rows if row.group == group]
            bad = [row for row in rows if row.well is False]
            if verbose or bad or group == "types":
                out.append(group)
                out += [_line(row, marks) for row in (rows if verbose or group == "types" else bad)]
                well = sum(row.well is True for row in rows)
                if not verbose and bad and well:
                    out.append(f"  {marks[True]} {well} more {'is' if well == 1 else 'are'} well")
            else:
                out.append(f"{group}: {marks[True]} all {len(rows)}")
        return out


def _line(row: Row, marks: Mapping[bool | None, str]) -> str:
    return f"  {marks[row.well]} {row.what}: {row.state}"


def examine(*, probe: bool) -> State:
    """Look at this machine; with `probe` every feature is tried in a namespace of its own."""
    machine = gather(probe=probe)
    found, checks = run_checks(
        [(check, (machine,)) for check in CHECKS], machine.unknown, root=machine.caller.is_root
    )
    return State(tuple(_rows(machine)), found, checks)


def _rows(machine: System) -> Iterator[Row]:
    for fstype, state in machine.types.items():
        well = True if state in (TypeState.PRESENT, TypeState.MODULE) else None
        if fstype == "overlay" and state == TypeState.ABSENT:
            well = False
        yield Row("types", fstype, _WORKS[state], well)
    fuse = machine.fuse_overlayfs
    yield Row("types", "fuse-overlayfs", fuse or "not installed", True if fuse else None)
    caller = machine.caller
    who = f"uid {caller.uid}" + (" in a user namespace" if caller.in_user_namespace else "")
    right = "can mount" if caller.sys_admin else "cannot mount (no CAP_SYS_ADMIN)"
    yield Row("who", who, right, caller.sys_admin)
    allowed = "no-userns" not in machine.surroundings
    yield Row("who", "user namespaces", "allowed" if allowed else "disabled", allowed or None)
    for place, fstype in machine.places.items():
        good = suits_upper(fstype)
        text = fstype + ("" if good else ", not usable for an upper layer")
        yield Row("places", place, text, True if good else None)
    for title, tried in (
        ("features", machine.features),
        ("features in a user namespace", machine.user_features),
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


def overlay_type(machine: System) -> Iterator[Clue]:
    """The kernel supports overlay, built in or as a module."""
    if machine.types["overlay"] == TypeState.ABSENT:
        seen = f"/proc/filesystems of {machine.kernel} lists no overlay, and there is no module"
        cause = "overlay-not-in-kernel"
        if machine.overlay_elsewhere:
            cause = "running-kernel-modules-removed"
            others = ", ".join(machine.overlay_elsewhere)
            seen = f"overlay is a module of {others}, not of {machine.kernel}"
        if "wsl1" in machine.surroundings:
            cause = "wsl1-limited-overlay"
        yield Clue(cause, (seen,))


def aufs_type(machine: System) -> Iterator[Clue]:
    """The kernel supports aufs (most do not)."""
    if machine.types["aufs"] == TypeState.ABSENT:
        seen = f"/proc/filesystems of {machine.kernel} does not list aufs"
        yield Clue("aufs-module-missing", (seen,), severity=Severity.INFO)


def may_mount(machine: System) -> Iterator[Clue]:
    """The caller can mount, as root or in a user namespace."""
    if machine.caller.sys_admin:
        return
    seen: tuple[str, ...] = (f"uid {machine.caller.uid} has no CAP_SYS_ADMIN",)
    number = (machine.user_features or {}).get("namespace")
    if number:
        seen = (*seen, f"tried: a user and mount namespace: {os.strerror(number)}")
    if number or "no-userns" in machine.surroundings:
        values = {"sysctl": "user.max_user_namespaces=10000"}
        yield Clue("missing-user-namespace", seen, values)
    else:
        yield Clue("missing-cap-sys-admin", seen, {"command": "COMMAND"}, Severity.INFO)


def policy(machine: System) -> Iterator[Clue]:
    """No security policy forbids mounting."""
    tried = machine.features or {}
    number = tried.get("overlay with an upper layer", tried.get("namespace", 0))
    if machine.caller.sys_admin and number in (1, 13):
        around = sorted(machine.surroundings & {"container", "seccomp", "apparmor", "selinux"})
        seen = [f"tried: an overlay on a tmpfs: {os.strerror(number)}"]
        seen += [f"found here: {', '.join(around)}"] if around else []
        yield Clue("container-policy-denies-overlay-mount", tuple(seen))
    if "gvisor" in machine.surroundings:
        yield Clue(
            "gvisor-overlay-limitation", ("/proc/version is gVisor's",), severity=Severity.WARNING
        )


def places(machine: System) -> Iterator[Clue]:
    """The usual directories can hold an upper layer."""
    for place in ("/", "/var/lib", "/home"):
        if machine.places.get(place) == "overlay":
            seen = f"{place} is an overlay: upper and work need a volume or a tmpfs"
            values = {"upper": place}
            yield Clue("upperdir-fs-unsupported-overlay", (seen,), values, Severity.INFO)
            return


def fuse(machine: System) -> Iterator[Clue]:
    """fuse-overlayfs has what it needs, if it is installed."""
    if machine.fuse_overlayfs and not machine.dev_fuse:
        yield Clue("dev-fuse-missing", ("/dev/fuse does not exist",), severity=Severity.WARNING)


CHECKS: tuple[Callable[[System], Iterator[Clue]], ...] = (
    overlay_type,
    aufs_type,
    may_mount,
    policy,
    places,
    fuse,
)

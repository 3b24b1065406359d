"""Checks of the requirements for the kernel and the caller: type and privilege."""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.diagnosing.clue import Clue, Raw
from layerctl.diagnosing.commands import mount_command
from layerctl.kernel.facts import Facts, TypeState
from layerctl.model import Severity, Stack
from layerctl.rules.releases import before


def _command(stack: Stack, facts: Facts) -> str:
    return Raw(mount_command(stack, facts.target.path if facts.target else None))


def privilege(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The caller has CAP_SYS_ADMIN; for aufs, on the host."""
    caller = facts.caller
    if not caller.sys_admin:
        seen = [f"the process runs as uid {caller.uid}, without CAP_SYS_ADMIN"]
        around = sorted(facts.surroundings & {"container", "seccomp", "apparmor"})
        if around:
            seen.append(f"detected: {', '.join(around)}")
        fix, commands = None, None
        if "no-userns" in facts.surroundings:
            seen.append("user namespaces are disabled for ordinary users")
            fix, commands = "Run the command as root; user namespaces are disabled here.", ()
        elif stack.fstype == "aufs":
            fix, commands = "Run the command as root on the host.", ()
        yield Clue(
            "missing-cap-sys-admin",
            tuple(seen),
            {"command": _command(stack, facts)},
            fix=fix,
            commands=commands,
        )
    elif facts.aufs and caller.in_user_namespace and facts.aufs.allow_userns is False:
        yield Clue(
            "aufs-userns-not-allowed",
            ("/sys/module/aufs/parameters/allow_userns is off", "this is a user namespace"),
        )


def old_kernel(_: Stack, facts: Facts) -> Iterator[Clue]:
    """A user namespace can mount overlay (since 5.11, or in patched kernels)."""
    if before(facts.kernel, (5, 11)):
        seen = (f"this is a user namespace, on Linux {facts.kernel}",)
        yield Clue("userns-overlay-not-permitted-old-kernel", seen, severity=Severity.WARNING)


def sandbox(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The kernel is Linux, not a sandbox that emulates it."""
    if "gvisor" in facts.surroundings:
        seen = ("/proc/version is gVisor's",)
        yield Clue("gvisor-overlay-limitation", seen, severity=Severity.WARNING)
    if "wsl1" in facts.surroundings and stack.fstype == "overlay":
        yield Clue("wsl1-limited-overlay", ("/proc/version is WSL 1's",))


def filesystem_type(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """The kernel supports the filesystem type, built in or as a module."""
    if facts.type_state != TypeState.ABSENT:
        return
    seen = [f"/proc/filesystems of this kernel ({facts.kernel}) does not list {stack.fstype}"]
    values = {"command": "", "fstype": stack.fstype}
    if facts.elsewhere:
        seen.append(f"{stack.fstype} is a module of: {', '.join(facts.elsewhere)}")
        yield Clue("running-kernel-modules-removed", tuple(seen), values)
        return
    seen.append(f"there is no module '{stack.fstype}' to load")
    if stack.fstype == "aufs":
        yield Clue("aufs-module-missing", tuple(seen), {"command": _command(stack, facts)})
    else:
        yield Clue("overlay-not-in-kernel", tuple(seen), values)


def user_namespace(stack: Stack, facts: Facts) -> Iterator[Clue]:
    """In a user namespace, overlay uses userxattr."""
    if facts.caller.sys_admin and "userxattr" not in stack.options:
        better = stack._replace(options={**stack.options, "userxattr": None})
        yield Clue(
            "userns-needs-userxattr",
            ("this is a user namespace, and userxattr is not set",),
            {"command": _command(better, facts)},
            severity=Severity.WARNING,
        )

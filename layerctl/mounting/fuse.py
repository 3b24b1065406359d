"""Mount with fuse-overlayfs: the program creates the mount, and has options of its own.

Its option string goes through libfuse, where a backslash escapes, and only versions from 1.15 on
know an escape for `:`. A path with such a character is named by an open descriptor instead.
"""

from __future__ import annotations

import contextlib

from layerctl.codecs.words import join_options
from layerctl.errors import RefusedError
from layerctl.kernel import beneath, mounts, paths, standing, syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.kernel.process import close, run_program
from layerctl.model import MountEntry, Role, Stack
from layerctl.mounting.prepare import Prepared
from layerctl.mounting.run import create
from layerctl.rules.flags import in_effect
from layerctl.rules.words import shell

PROGRAM = "fuse-overlayfs"
_SPECIAL = frozenset("\\:,")
#: Causes in the kernel's overlay rather than in the request: `-t auto` then uses fuse-overlayfs.
KERNEL_CANNOT = frozenset(
    {
        "missing-cap-sys-admin", "overlay-not-in-kernel", "overlay-module-missing",
        "running-kernel-modules-removed", "userns-overlay-not-permitted-old-kernel",
        "max-stacking-depth", "upper-missing-required-features", "upperdir-fs-unsupported-overlay",
        "upperdir-fs-unsupported-nfs", "upperdir-fs-unsupported-fuse",
        "upperdir-fs-unsupported-zfs", "upperdir-fs-unsupported-ecryptfs",
        "upperdir-fs-unsupported-virtiofs", "container-policy-denies-overlay-mount",
        "casefold-capable-fs", "lowerdir-fs-unsupported-case-insensitive",
    }
)  # fmt: skip


def carry_out(prepared: Prepared) -> Mounted:
    """Run the program and find its mount. Raises RefusedError; a failure leaves nothing behind."""
    _check_upper(prepared.stack)
    _check_swaps(prepared)
    with contextlib.ExitStack() as always, contextlib.ExitStack() as undo:
        for path in prepared.make:
            create(path, prepared.stack, undo, always)
        opened: list[int] = []
        options = _options(prepared.stack, opened, always)
        _run([PROGRAM, "-o", options, prepared.target], opened)
        target = paths.real(prepared.target)
        entry = next((one for one in reversed(mounts.entries()) if one.target == target), None)
        if entry is None or entry.fstype != mounts.FUSE_OVERLAYFS:
            raise RefusedError(
                "mount-not-found",
                f"{PROGRAM} succeeded, but nothing is mounted on {prepared.target}",
                commands=(shell(PROGRAM, "-f", "-o", options, prepared.target),),
            )
        undo.pop_all()
        return Mounted(entry, prepared.stack)


def _check_upper(stack: Stack) -> None:
    """Refuse a colon in the upper directory: the program resolves its name, then splits it."""
    if stack.upper is not None and ":" in paths.real(stack.upper):
        raise RefusedError(
            "colon-in-path",
            f"fuse-overlayfs does not support the colon in the upper directory {stack.upper}",
            why="it splits the resolved name at every colon",
            hint="use -t overlay, or a name without a colon (such as a bind mount)",
        )


def _check_swaps(prepared: Prepared) -> None:
    """Refuse what another user could swap: the program walks to each directory by its path."""
    if not prepared.facts.caller.sys_admin or prepared.facts.caller.in_user_namespace:
        return
    for path, exposure in prepared.facts.exposed.items():
        if exposure.swap is not None:
            raise RefusedError(
                "swappable-directory",
                f"{exposure.swap.who} could replace {exposure.swap.path} while {PROGRAM} mounts it",
                why=f"{PROGRAM} takes directories by path, and could write to whatever is there by "
                "then",
                hint=f"mount as that user, or keep {path} in directories that only root can write "
                "to",
            )


def _options(stack: Stack, opened: list[int], always: contextlib.ExitStack) -> str:
    def name(path: str) -> str:
        if not _SPECIAL & set(path):
            return path
        opened.append(beneath.open_directory(path))
        always.callback(close, opened[-1])
        return beneath.name_of(opened[-1])

    words = in_effect(stack.flags)
    words.append("lowerdir=" + ":".join(name(one.path) for one in stack.of_role(Role.LOWER)))
    if stack.upper is not None and stack.work is not None:
        words += [f"upperdir={name(stack.upper)}", f"workdir={name(stack.work)}"]
    return ",".join(words + join_options(stack.options))


def _run(command: list[str], opened: list[int]) -> None:
    try:
        code, messages = run_program(command, opened)
    except FileNotFoundError:
        raise RefusedError(
            "fuse-overlayfs-not-installed",
            f"the program {PROGRAM} is not installed",
            commands=("apt-get install fuse-overlayfs",),
        ) from None
    if code:
        missing = not paths.exists("/dev/fuse")
        raise RefusedError(
            "dev-fuse-missing" if missing else "fuse-overlayfs-failed",
            f"{PROGRAM} could not mount",
            why="/dev/fuse does not exist" if missing else "its own messages are below",
            hint="load the module, or give the container the device (--device /dev/fuse)"
            if missing
            else "run it in the foreground",
            commands=("modprobe fuse",) if missing else (shell(PROGRAM, "-f", *command[1:]),),
            details=tuple(f"{PROGRAM}: {line}" for line in messages),
        )


def unmount(entry: MountEntry, flags: int) -> None:
    """Unmount: as root with umount(2), else with the set-user-ID helper of FUSE. Raises OSError."""
    try:
        with standing.mount_point(entry) as place:
            syscalls.umount2(place, flags)
    except PermissionError:
        lazy = ["-z"] if flags & syscalls.MNT_DETACH else []
        words = ["fusermount3", "-u", *lazy, "--", entry.target]
        if run_program(words)[0]:
            raise

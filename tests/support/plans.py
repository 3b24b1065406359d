"""Plans of mounts, and what the kernel itself says of them."""

from __future__ import annotations

import os
from pathlib import Path

from layerctl.codecs import overlay
from layerctl.diagnosing import preflight
from layerctl.kernel import syscalls
from layerctl.kernel.facts import Caller, TypeState
from layerctl.kernel.facts.gather import gather
from layerctl.kernel.facts.system import System
from layerctl.model import Finding, Layer, Role, Severity, Stack
from layerctl.rules.flags import mount2_flags


def stack_of(
    *lowers: Path | str,
    upper: Path | str | None = None,
    work: Path | str | None = None,
    options: dict[str, str | None] | None = None,
) -> Stack:
    """Return an overlay stack."""
    top = [Layer(str(upper), Role.UPPER)] if upper is not None else []
    layers = (*top, *(Layer(str(lower), Role.LOWER) for lower in lowers))
    return Stack("overlay", layers, None if work is None else str(work), options or {})


def kernel_says(stack: Stack, target: Path | str) -> int:
    """Mount by mount(2), unmount again; return the errno, 0 for success."""
    flags = mount2_flags(["ro"]) if stack.read_only else 0
    try:
        syscalls.mount("o", str(target), "overlay", flags, overlay.encode(stack))
    except OSError as error:
        return error.errno or -1
    syscalls.umount2(str(target), syscalls.UMOUNT_NOFOLLOW)
    return 0


def doctor_says(stack: Stack, target: Path | str | None) -> list[Finding]:
    """Return what the checks find."""
    return preflight.findings(stack, gather(stack, None if target is None else str(target)))


def failures(found: list[Finding]) -> list[str]:
    """Return the causes of the failures among findings."""
    return [one.cause for one in found if one.severity is Severity.FAILURE]


def make(*names: Path | str) -> None:
    """Make directories."""
    for name in names:
        os.makedirs(name, exist_ok=True)


def a_system(**changed: object) -> System:
    plain = System(
        "6.1",
        {"overlay": TypeState.PRESENT, "aufs": TypeState.ABSENT, "fuse": TypeState.PRESENT},
        (),
        Caller(0, True, False),
        frozenset(),
        {"/": "ext4"},
        None,
        True,
    )
    return plain._replace(**changed)  # type: ignore[arg-type]  # names of its fields

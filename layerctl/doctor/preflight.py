"""What can be known of a mount before it: small checks over gathered facts. Pure.

A FAILURE is what this kernel certainly refuses; what it takes and calls undefined is a WARNING.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from layerctl.doctor.checks import branches, layers, machine, overlap, storage
from layerctl.doctor.hits import Hit
from layerctl.doctor.hits import findings as make
from layerctl.kernel.facts import Facts
from layerctl.model import Finding, Fix, Severity, Stack
from layerctl.rules.validity import problems

Check = Callable[[Stack, Facts], Iterator[Hit]]

#: Every check of a plan, in the order in which the kernel would come upon what it finds.
CHECKS: tuple[Check, ...] = (
    machine.privilege,
    machine.filesystem_type,
    machine.user_namespace,
    layers.target,
    layers.reachable,
    layers.directories,
    storage.upper_read_only,
    storage.unsupported_upper,
    storage.unsupported_layer,
    layers.one_mount,
    layers.apart,
    overlap.refused,
    overlap.undefined,
    overlap.target_in_layer,
    branches.filesystems,
    branches.duplicated,
    branches.read_only,
    branches.linkable,
    branches.writable,
    branches.xino,
)


#: What counts for fuse-overlayfs too, which is a program and no part of the kernel.
FUSE_CHECKS: tuple[Check, ...] = (layers.target, layers.reachable, layers.directories)


def findings(stack: Stack, facts: Facts) -> list[Finding]:
    """Return everything that the facts tell against a mount, gravest first."""
    checks = FUSE_CHECKS if stack.fstype == "fuse-overlayfs" else CHECKS
    return make([hit for check in checks for hit in check(stack, facts)])


def request_findings(stack: Stack) -> list[Finding]:
    """Return what is wrong with the request itself, whatever the system looks like."""
    return [
        Finding(
            error.id,
            Severity.FAILURE,
            error.message[:1].upper() + error.message[1:],
            error.why,
            (),
            Fix(error.hint),
        )
        for error in problems(stack)
    ]

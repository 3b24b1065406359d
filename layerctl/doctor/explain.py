"""Why the kernel refused a mount: its errno, its words and the facts, ranked. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from layerctl.doctor import preflight
from layerctl.doctor.hits import Hit
from layerctl.doctor.hits import findings as make
from layerctl.kernel.facts import Facts
from layerctl.model import Finding, Severity, Stack

#: What an errno of mount(2) means where nothing else is known, the likeliest first.
_BY_ERRNO: dict[int, tuple[str, ...]] = {
    errno.EPERM: ("missing-cap-sys-admin",),
    errno.ENOENT: ("missing-layer-directory",),
    errno.ENODEV: ("overlay-not-in-kernel",),
    errno.ENOTDIR: ("layer-not-a-directory",),
    errno.ELOOP: ("overlapping-layers",),
}


def of_failure(
    stack: Stack,
    number: int,
    context_log: Sequence[str],
    kernel_log: Sequence[str],
    facts: Facts,
) -> list[Finding]:
    """Return the causes of a mount that the kernel refused, the likeliest first.

    `number` is the errno, `context_log` and `kernel_log` are the kernel's own lines.
    """
    found = [one for one in preflight.findings(stack, facts) if one.severity is not Severity.INFO]
    failures = [one for one in found if one.severity is Severity.FAILURE]
    if failures:
        return found
    said = (*context_log, *kernel_log) or (os.strerror(number),)
    causes = _BY_ERRNO.get(number, ())
    if number == errno.ENODEV and stack.fstype == "aufs":
        causes = ("aufs-module-missing",)
    return [*make([Hit(cause, tuple(said)) for cause in causes]), *found]

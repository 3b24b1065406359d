"""Why the kernel refused a mount: its errno, its words and the facts, ranked. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple

from layerctl.diagnosing import preflight
from layerctl.kernel.facts import Facts
from layerctl.model import Certainty, Finding, Severity, Stack
from layerctl.rules.releases import release

#: How the causes begin that are in an upper or a work directory.
_OF_THE_UPPER = ("upper", "workdir", "missing-workdir", "btrfs-subvolume-upper", "volatile")


class Causes(NamedTuple):
    """Why a mount was refused: what is known, most likely first, and what else it could be."""

    known: list[Finding]
    possible: list[Finding]


#: What the checks of every mount decide: where they did not find it, an errno is not its sign.
_DECIDED = frozenset(
    {
        "colon-in-path",
        "layer-not-a-directory",
        "layer-not-reachable",
        "max-stacking-depth",
        "missing-cap-sys-admin",
        "missing-layer-directory",
        "mount-ordering-lower-not-mounted",
        "option-string-too-long",
        "overlapping-layers",
        "overlay-not-in-kernel",
        "running-kernel-modules-removed",
        "target-missing",
        "target-not-a-directory",
        "too-many-layers",
        "upper-readonly",
        "upperdir-fs-unsupported-overlay",
        "workdir-upperdir-different-mount",
        "workdir-upperdir-not-separate",
        "wsl1-limited-overlay",
    }
)


def of_failure(
    stack: Stack,
    number: int,
    context_log: Sequence[str],
    kernel_log: Sequence[str],
    facts: Facts,
    *,
    judged: bool = True,
) -> Causes:
    """Return the causes of a mount that the kernel refused.

    `number` is the errno, `context_log` and `kernel_log` are the kernel's own lines. What the
    kernel said comes first, then what the checks foresaw. The errno counts only if the call that
    failed `judged` the mount as a whole; what only it suggests is no more than possible.
    """
    from layerctl.diagnosing.reading.diagnose import of_mount  # `doctor` seldom needs it

    name = errno.errorcode.get(number, f"errno={number}")
    words = [line[2:] if line[1:2] == " " else line for line in context_log]
    lines = [*words, *kernel_log]
    foreseen = {
        one.cause: one
        for one in preflight.findings(stack, facts)
        if one.severity is not Severity.INFO
    }
    read_as = of_mount(stack.fstype, name if judged else None, lines, release(facts.kernel))
    fits = [
        one
        for one in read_as.findings
        if one.cause in foreseen or lines or one.cause not in _DECIDED
    ]
    said = [one for one in fits if one.certainty is not Certainty.POSSIBLE]
    guessed = [
        one
        for one in fits
        if one.severity is not Severity.INFO
        and one.certainty is Certainty.POSSIBLE
        and (stack.upper is not None or not one.cause.startswith(_OF_THE_UPPER))
    ]
    failures = [one for one in foreseen.values() if one.severity is Severity.FAILURE]
    both = [one for one in failures if one.cause in {other.cause for other in said}]
    known = [*both, *(said if not both else []), *failures]
    known += [one for one in guessed if one.cause in foreseen]
    possible = [one for one in (*foreseen.values(), *guessed) if one not in known]

    def once(ranked: Sequence[Finding]) -> list[Finding]:
        return [
            _seen(foreseen.get(cause, one), os.strerror(number))
            for cause, one in {one.cause: one for one in ranked}.items()
        ]

    return Causes(once(known), once(possible))


def _seen(finding: Finding, instead: str) -> Finding:
    """Return a finding with what was seen of it, the errno's words where that is all there is."""
    return finding if finding.evidence else finding._replace(evidence=(instead,))

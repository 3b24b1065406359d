"""Why the kernel refused a mount: its errno, its words and the facts, ranked. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from layerctl.doctor import preflight
from layerctl.kernel.facts import Facts
from layerctl.model import Finding, Severity, Stack

#: How the causes begin that lie in an upper or a work directory.
_OF_THE_UPPER = ("upper", "workdir", "missing-workdir", "btrfs-subvolume-upper", "volatile")


def of_failure(
    stack: Stack,
    number: int,
    context_log: Sequence[str],
    kernel_log: Sequence[str],
    facts: Facts,
) -> list[Finding]:
    """Return the causes of a mount that the kernel refused, the likeliest first.

    `number` is the errno, `context_log` and `kernel_log` are the kernel's own lines. What the
    kernel said comes first, then what the checks foresaw, then what the errno could mean.
    """
    from layerctl.doctor.reading.diagnose import read
    from layerctl.doctor.reading.result import Certainty
    from layerctl.doctor.reading.text import version

    name = errno.errorcode.get(number, f"errno={number}")
    words = [line[2:] if line[1:2] == " " else line for line in context_log]
    header = f"mount of {stack.fstype}: {name}"
    text = "\n".join([header, *words, *kernel_log])
    foreseen = {
        one.cause: one
        for one in preflight.findings(stack, facts)
        if one.severity is not Severity.INFO
    }
    read_as = read(text, kernel_version=version(facts.kernel))
    fallback = [
        one.finding
        for one in read_as.diagnoses
        if one.finding.severity is not Severity.INFO
        and (stack.upper is not None or not one.finding.cause.startswith(_OF_THE_UPPER))
    ]
    said = [one.finding for one in read_as.diagnoses if one.certainty is not Certainty.POSSIBLE]
    failures = [one for one in foreseen.values() if one.severity is Severity.FAILURE]
    both = [one for one in failures if one.cause in {other.cause for other in said}]
    ranked = [*both, *(said if not both else []), *failures, *foreseen.values(), *fallback]
    return [
        _without(foreseen.get(cause, one), header, os.strerror(number))
        for cause, one in {one.cause: one for one in ranked}.items()
    ]


def _without(finding: Finding, header: str, instead: str) -> Finding:
    """Return a finding without the line that stood for the errno, unless that is all it has."""
    evidence = tuple(line for line in finding.evidence if line != header)
    return finding._replace(evidence=evidence or (instead,))

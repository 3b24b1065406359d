"""Why the kernel refused a mount: its errno, its messages and the facts, ranked. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from layerctl.diagnosing import preflight
from layerctl.diagnosing.catalogue import CAUSES
from layerctl.diagnosing.reading.diagnose import of_mount
from layerctl.kernel.facts import Facts
from layerctl.model import Certainty, Finding, Severity, Stack
from layerctl.rules.releases import release


class Answer(NamedTuple):
    """What the kernel answered to a mount: an errno, and its own lines in both logs.

    The errno counts only if the call that failed `judged` the mount as a whole.
    """

    errno: int
    context_log: Sequence[str]
    kernel_log: Sequence[str]
    judged: bool = True

    @property
    def messages(self) -> list[str]:
        """The messages of both logs; in the context's a letter tells how grave each is."""
        own = [line[2:] if line[1:2] == " " else line for line in self.context_log]
        return [*own, *self.kernel_log]


class Causes(NamedTuple):
    """Why a mount was refused: what is known, most likely first, and what else it could be."""

    known: list[Finding]
    possible: list[Finding]


def causes(stack: Stack, answer: Answer, facts: Facts) -> Causes:
    """Return the causes of a mount that the kernel refused.

    What the kernel's messages say and the checks foresaw as well comes first, then what only one
    of the two says. What only the errno suggests is no more than possible.
    """
    found = [one for one in preflight.findings(stack, facts) if one.severity is not Severity.INFO]
    foreseen = {one.cause: one for one in found}
    failures = [one for one in foreseen.values() if one.severity is Severity.FAILURE]
    fits = _fitting(stack, answer, facts, foreseen)
    said = [one for one in fits if one.certainty is not Certainty.POSSIBLE]
    guessed = [
        one
        for one in fits
        if one.certainty is Certainty.POSSIBLE and one.severity is not Severity.INFO
    ]
    said_causes = {one.cause for one in said}
    both = [one for one in failures if one.cause in said_causes]
    known = [*(both or said), *failures, *(one for one in guessed if one.cause in foreseen)]
    possible = [one for one in (*foreseen.values(), *guessed) if one not in known]

    def once(ranked: Iterable[Finding]) -> list[Finding]:
        first = {one.cause: one for one in ranked}
        return [_seen(foreseen.get(cause, one), answer) for cause, one in first.items()]

    return Causes(once(known), once(possible))


def _fitting(
    stack: Stack, answer: Answer, facts: Facts, foreseen: Collection[str]
) -> list[Finding]:
    """Return what the reader of texts makes of the answer, without what the facts rule out."""
    name = errno.errorcode.get(answer.errno, f"errno={answer.errno}") if answer.judged else None
    reading = of_mount(stack.fstype, name, answer.messages, release(facts.kernel))
    out = []
    for one in reading.findings:
        cause = CAUSES[one.cause]
        overlooked = cause.foreseen and one.cause not in foreseen and not answer.messages
        guess = one.certainty is Certainty.POSSIBLE
        if not overlooked and not (guess and cause.of_upper and stack.upper is None):
            out.append(one)
    return out


def _seen(finding: Finding, answer: Answer) -> Finding:
    """Return a finding with what was seen of it: the errno's words where that is all there is."""
    return finding if finding.evidence else finding._replace(evidence=(os.strerror(answer.errno),))

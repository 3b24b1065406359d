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
    """The kernel's answer to a mount: an errno, and its messages in both logs.

    The errno counts only if the call that failed `judged` the mount as a whole.
    """

    errno: int
    context_log: Sequence[str]
    kernel_log: Sequence[str]
    judged: bool = True

    @property
    def messages(self) -> list[str]:
        """The messages of both logs; those of the context start with a letter for the severity."""
        own = [line[2:] if line[1:2] == " " else line for line in self.context_log]
        return [*own, *self.kernel_log]


class Causes(NamedTuple):
    """Why a mount was refused: known causes, most likely first, and possible ones."""

    known: list[Finding]
    possible: list[Finding]


def causes(stack: Stack, answer: Answer, facts: Facts) -> Causes:
    """Return the causes of a mount that the kernel refused.

    Causes that both the kernel's messages and the checks support come first, then those of only one
    of them. Causes that only the errno suggests are possible, not known.
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
    """Return the findings of the reader of texts, without causes that the facts exclude."""
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
    """Return a finding with its evidence, or the text of the errno if there is none."""
    return finding if finding.evidence else finding._replace(evidence=(os.strerror(answer.errno),))

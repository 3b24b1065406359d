"""What a check is, where it applies, and how checks are made. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Generic, NamedTuple, ParamSpec

from layerctl.diagnosing.clue import Clue
from layerctl.kernel.facts import Facts
from layerctl.model import Finding, Severity, Stack
from layerctl.rules.findings import gravest_first

P = ParamSpec("P")

OVERLAY, AUFS = ("overlay",), ("aufs",)
KERNEL = (*OVERLAY, *AUFS)
#: With fuse-overlayfs, which is a program and no part of the kernel.
ALL = (*KERNEL, "fuse-overlayfs")


class When(StrEnum):
    """What else a stack and its facts must have for a check to apply, in words."""

    UPPER = "with an upper directory"
    NO_UPPER = "without an upper directory"
    WRITABLE = "mounted read-write"
    USER_NAMESPACE = "in a user namespace"
    PROBED = "when probed"


_HOLDS: dict[When, Callable[[Stack, Facts], bool]] = {
    When.UPPER: lambda stack, _: stack.upper is not None,
    When.NO_UPPER: lambda stack, _: stack.upper is None,
    When.WRITABLE: lambda stack, _: not stack.read_only,
    When.USER_NAMESPACE: lambda _, facts: facts.caller.in_user_namespace,
    When.PROBED: lambda _, facts: facts.overlay.probed is not None,
}


class Check(NamedTuple, Generic[P]):
    """One row of the table of checks.

    `well` is what is so where the check finds nothing. It applies to stacks of `types`, `when` all
    of that holds, and with `option` where that option is set.
    """

    name: str
    well: str
    clues: Callable[P, Iterator[Clue]]
    types: tuple[str, ...] = ()
    when: tuple[When, ...] = ()
    option: str = ""

    def applies(self, stack: Stack, facts: Facts) -> bool:
        """Tell whether the check says anything about a stack."""
        return (
            stack.fstype in self.types
            and (not self.option or self.option in stack.options)
            and all(_HOLDS[one](stack, facts) for one in self.when)
        )

    @property
    def where(self) -> str:
        """Where it applies, in words; empty for a check of the machine."""
        types = "any type" if self.types == ALL else ", ".join(self.types)
        option = f"with -o {self.option}" if self.option else ""
        return ", ".join(filter(None, (types, option, *self.when)))


class Checked(NamedTuple):
    """A check that was made, and the causes that it found."""

    name: str
    well: str
    causes: tuple[str, ...]


class Report(NamedTuple):
    """What checks found, worst first, and which were made."""

    findings: list[Finding]
    checks: list[Checked]


#: What helps if something is unreadable for root on the host.
FORBIDDEN_ROOT = (
    "You are root already: a container, a security module or the filesystem forbids it, or the "
    "data is damaged. Check it yourself."
)


def make(
    checks: Iterable[Check[P]],
    unknown: Sequence[str],
    is_root: bool,
    *subject: P.args,
    **named: P.kwargs,
) -> Report:
    """Make checks of a subject. One that fails itself is a finding, and the others go on.

    `unknown` are facts that could not be read, `is_root` means that root tried to.
    """
    clues: list[Clue] = []
    made: list[Checked] = []
    for check in checks:
        try:
            found = list(check.clues(*subject, **named))
        except Exception as error:  # whatever it is
            found = [Clue("check-failed", (f"{check.name}: {type(error).__name__}: {error}",))]
        clues += found
        causes = tuple(dict.fromkeys(clue.cause for clue in found))
        made.append(Checked(check.name, check.well, causes))
    if unknown:
        fix, severity = (FORBIDDEN_ROOT, Severity.WARNING) if is_root else (None, None)
        clues.append(Clue("fact-unreadable", tuple(unknown), fix=fix, severity=severity))
    return Report(findings(clues), made)


def findings(clues: Sequence[Clue]) -> list[Finding]:
    """Return the findings of clues, worst first."""
    if not clues:
        return []
    # a mount without faults does not pay for the catalogue
    from layerctl.diagnosing.catalogue import finding

    return gravest_first(map(finding, clues))

"""The definition of a check, where it applies, and how checks are run. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Generic, NamedTuple, ParamSpec

from layerctl.diagnosing.clue import Clue
from layerctl.kernel.facts import Facts
from layerctl.model import Finding, Severity, Stack

P = ParamSpec("P")

OVERLAY, AUFS = ("overlay",), ("aufs",)
KERNEL = (*OVERLAY, *AUFS)
#: Including fuse-overlayfs, which is a program and not part of the kernel.
ALL = (*KERNEL, "fuse-overlayfs")


class When(StrEnum):
    """Conditions on a stack and its facts for a check to apply, as text."""

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

    `well` describes the result if the check finds nothing. It applies to stacks of `types` that
    meet all of `when`, and have `option` set, if given.
    """

    name: str
    well: str
    clues: Callable[P, Iterator[Clue]]
    types: tuple[str, ...] = ()
    when: tuple[When, ...] = ()
    option: str = ""

    def applies(self, stack: Stack, facts: Facts) -> bool:
        """Tell whether the check applies to a stack."""
        return (
            stack.fstype in self.types
            and (not self.option or self.option in stack.options)
            and all(_HOLDS[one](stack, facts) for one in self.when)
        )

    @property
    def where(self) -> str:
        """Where it applies, as text; empty for a check of the system."""
        types = "any type" if self.types == ALL else ", ".join(self.types)
        option = f"with -o {self.option}" if self.option else ""
        return ", ".join(filter(None, (types, option, *self.when)))


class Checked(NamedTuple):
    """A check that was run, and the causes that it found."""

    name: str
    well: str
    causes: tuple[str, ...]


class Report(NamedTuple):
    """The findings of checks, worst first, and the checks that were run."""

    findings: list[Finding]
    checks: list[Checked]


#: The fix if something is unreadable for root on the host.
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
    """Run checks. A check that raises an error becomes a finding, and the others continue.

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
    # do not import the catalogue for a mount without findings
    from layerctl.diagnosing.catalogue import finding
    from layerctl.rules.findings import gravest_first

    return gravest_first(map(finding, clues))

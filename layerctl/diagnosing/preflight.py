"""What can be known of a mount before it: small checks over gathered facts. Pure.

A FAILURE is what this kernel certainly refuses; what it takes and calls undefined is a WARNING.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from layerctl.diagnosing.checks import (
    branches,
    layers,
    machine,
    options,
    overlap,
    stacking,
    storage,
    work,
)
from layerctl.diagnosing.clue import Clue, Raw
from layerctl.errors import as_finding
from layerctl.kernel.facts import Facts
from layerctl.model import Finding, Severity, Stack
from layerctl.rules.limits import MAX_STRING
from layerctl.rules.validity import problems

Check = Callable[[Stack, Facts], Iterator[Clue]]

#: Every check of a plan, in the order in which the kernel would come upon what it finds.
CHECKS: tuple[Check, ...] = (
    machine.privilege,
    machine.filesystem_type,
    machine.user_namespace,
    machine.old_kernel,
    machine.sandbox,
    layers.target,
    layers.reachable,
    layers.directories,
    layers.links,
    layers.swappable,
    storage.upper_read_only,
    storage.unsupported_upper,
    storage.unsupported_layer,
    storage.upper_features,
    storage.space,
    storage.subvolumes,
    storage.idmapped,
    storage.casefold,
    stacking.depth,
    stacking.submounts,
    stacking.cloneable,
    layers.foreign_marks,
    layers.one_mount,
    layers.apart,
    overlap.refused,
    overlap.undefined,
    overlap.target_in_layer,
    work.incompatible,
    work.foreign,
    work.cleared,
    work.changeable,
    work.usable,
    work.in_use,
    work.origin,
    options.known,
    options.trusted,
    options.follows,
    options.without_effect,
    options.export,
    options.inode_numbers,
    options.volatile,
    options.colons,
    branches.filesystems,
    branches.duplicated,
    branches.read_only,
    branches.linkable,
    branches.writable,
    branches.whiteouts_shown,
    branches.xino,
)


#: What counts for fuse-overlayfs too, which is a program and no part of the kernel.
FUSE_CHECKS: tuple[Check, ...] = (
    layers.target,
    layers.reachable,
    layers.directories,
    layers.links,
    layers.swappable,
)


class Checked(NamedTuple):
    """One check that was made: its name, what it looks at, and the causes it found."""

    name: str
    what: str
    causes: tuple[str, ...]


def name_of(check: Callable[..., object]) -> str:
    """Return the name of a check, as `--list-checks` has it."""
    return f"{check.__module__.rpartition('.')[2]}.{check.__name__}".replace("_", "-")


def what_of(check: Callable[..., object]) -> str:
    """Return what a check looks at: the first line of its description."""
    return (check.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def run(stack: Stack, facts: Facts) -> tuple[list[Finding], list[Checked]]:
    """Make every check; return the findings, gravest first, and what was looked at.

    A check that itself fails is a finding about doctor.
    """
    checks = FUSE_CHECKS if stack.fstype == "fuse-overlayfs" else CHECKS
    calls = [(check, (stack, facts)) for check in checks]
    return run_checks(calls, facts.unknown, root=facts.caller.is_root)


#: What helps if something is unreadable for root on the host.
FORBIDDEN_ROOT = (
    "You are root already: a container, a security module or the filesystem forbids it, or the "
    "data is damaged. Check it yourself."
)


def run_checks(
    calls: Sequence[tuple[Callable[..., Iterator[Clue]], tuple[object, ...]]],
    unknown: Sequence[str] = (),
    *,
    root: bool = False,
) -> tuple[list[Finding], list[Checked]]:
    """Make checks, each with its arguments; see `run`. `root` tells that root asks already."""
    clues: list[Clue] = []
    made: list[Checked] = []
    for check, arguments in calls:
        try:
            found = list(check(*arguments))
        except Exception as error:  # whatever it is, the other checks go on
            found = [Clue("check-failed", (f"{name_of(check)}: {type(error).__name__}: {error}",))]
        clues += found
        made.append(
            Checked(
                name_of(check), what_of(check), tuple(dict.fromkeys(clue.cause for clue in found))
            )
        )
    if unknown:
        fix, severity = (FORBIDDEN_ROOT, Severity.WARNING) if root else (None, None)
        clues.append(Clue("fact-unreadable", tuple(unknown), fix=fix, severity=severity))
    return _findings(clues), made


def _findings(clues: Sequence[Clue]) -> list[Finding]:
    """Return the findings of clues, gravest first."""
    if not clues:
        return []
    # a mount without faults does not pay for the catalogue
    from layerctl.diagnosing.catalogue import finding, gravest_first

    return gravest_first(map(finding, clues))


def findings(stack: Stack, facts: Facts) -> list[Finding]:
    """Return everything that the facts tell against a mount, gravest first."""
    return run(stack, facts)[0]


def request_findings(stack: Stack, target: str | None = None) -> list[Finding]:
    """Return what is wrong with the request itself, whatever the system looks like."""
    return [
        one._replace(fix=one.fix._replace(commands=_request_commands(one.cause, stack, target)))
        for one in map(as_finding, problems(stack))
    ]


def _request_commands(cause: str, stack: Stack, target: str | None) -> tuple[str, ...]:
    """Return what can be pasted for a wrong request: one directory is bound, not overlaid."""
    import shlex

    if cause == "too-few-layers" and len(stack.layers) == 1 and target is not None:
        return (shlex.join(["mount", "--bind", stack.layers[0].path, target]),)
    for name in stack.options:  # without the one that is wrong, if one alone is
        options = {key: value for key, value in stack.options.items() if key != name}
        better = stack._replace(options=options)
        if not problems(better):
            from layerctl.diagnosing.commands import mount_command

            return (mount_command(better, target),)
    return ()


def string_findings(stack: Stack, target: str | None = None) -> list[Finding]:
    """Return what would go wrong if the stack were given to mount(8) as one string.

    layerctl itself gives each layer by itself, so that this is about other programs alone.
    """
    from layerctl.codecs import aufs, overlay
    from layerctl.diagnosing.commands import mount_command

    try:
        text = aufs.encode(stack) if stack.fstype == "aufs" else overlay.encode(stack)
    except ValueError:
        return []
    size = len(text.encode("utf-8", "surrogateescape"))
    if size <= MAX_STRING:
        return []
    seen = (f"as one string the options are {size} bytes; mount(2) reads {MAX_STRING}",)
    cut = text.encode("utf-8", "surrogateescape")[:MAX_STRING]
    cause = (
        "option-string-truncated"
        if cut.endswith(b":") or text[MAX_STRING : MAX_STRING + 1] == ":"
        else ("option-string-too-long")
    )
    values: dict[str, str] = {"command": Raw(mount_command(stack, target))}
    return _findings([Clue(cause, seen, values, Severity.WARNING)])

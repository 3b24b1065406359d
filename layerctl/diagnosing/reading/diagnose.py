"""From clues to a ranking: the weight of each cause, what is omitted, how to decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from layerctl.diagnosing.catalogue import CAUSES, fill, finding
from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.reading import context as contexts
from layerctl.diagnosing.reading import (
    facts,
    fixes,
    gate,
    intake,
    kernel,
    meanings,
    plans,
    programs,
)
from layerctl.diagnosing.reading.context import Context, Tier
from layerctl.diagnosing.reading.errnos import Errno
from layerctl.diagnosing.reading.events import Event, Stage, Subject
from layerctl.diagnosing.reading.result import Reading
from layerctl.diagnosing.reading.text import Line
from layerctl.model import Certainty, Finding, Role, Severity
from layerctl.rules.overlay import trusted_options
from layerctl.rules.releases import Release

#: What was seen of a clue.
Evidence = tuple[str, ...]
#: From the first weight on, the text states the cause; below the second, it only fits.
_SAYS, _LIKELY = 84, 60
#: Sources that can be certain: a sentence with one meaning, and the kernel.
_CERTAIN = 90
#: If the text states a cause, those that only an errno suggests are omitted.
_GUESS = 57
_MOST = 6


def read(text: str, *, kernel_version: Release | None = None, fs: str | None = None) -> Reading:
    """Return the causes in a text, most likely first, and its harmless lines.

    `kernel_version` and `fs` (the upper filesystem) are given by the user.
    """
    context = contexts.build(intake.sift(text), kernel_version, fs)
    kernel.match_lines(context)
    gate.judge(context)
    return _conclude(context, [*programs.clues(context), *programs.silent_call(context)])


def of_mount(
    fstype: str, errno: str | None, lines: Iterable[str], kernel_version: Release | None
) -> Reading:
    """Return the causes in the kernel's answer to a mount: its errno and its messages.

    `lines` are the context log's and the kernel log's; `errno` is None if it does not count. The
    clues are those that the reader of texts makes of the same errno and the same lines.
    """
    context = contexts.of_kernel(lines, kernel_version)
    kernel.match_lines(context)
    context.tier = Tier.LAYERED
    if errno is not None:
        named = (Errno(errno, errno),)
        context.failures = [
            Event(Line(""), Subject.LAYERED, Stage.MOUNT, fstype, errnos=named, failed=True)
        ]
    return _conclude(context, [])


def _conclude(context: Context, said: list[Clue]) -> Reading:
    """Return the conclusion of all clues; `said` are those of messages of programs."""
    clues = [*kernel.clues(context), *said]
    for attempt in context.tried:
        clues += plans.clues(attempt, context.errnos, context.kernel, context.util_linux)
    clues += meanings.clues(context)
    denied = bool({"EPERM", "EACCES"} & context.errnos) and _while_mounting(context)
    if context.in_user_namespace and denied:
        of_aufs = context.fstype == "aufs"
        cause = "aufs-userns-not-allowed" if of_aufs else "userns-overlay-not-permitted-old-kernel"
        clues.append(Clue(cause, weight=72))
        clues += _trusted(context)
    if context.in_user_namespace and "EINVAL" in context.errnos:
        clues += _locked(context)
    clues += facts.clues(context)
    without = facts.excluded(context)
    ranked = rank(
        _held(clue, context.tier)
        for clue in clues
        if _fits(clue, context.kernel) and (clue.cause not in without or clue.weight >= _SAYS)
    )
    shared = _shared(ranked)
    found = tuple(_finding(several, weight, shared, context) for several, weight in ranked)
    return Reading(
        found,
        tuple(kernel.noise(context)),
        _decide(found, context),
        tuple(gate.others(context)),
        _unsaid(found, context),
    )


def _unsaid(found: Sequence[Finding], context: Context) -> str:
    """Return a description of a failure of which the text has only the errno."""
    if not found or found[0].certainty is not Certainty.POSSIBLE:
        return ""
    if context.tier is not Tier.LAYERED or not context.failures:
        return ""
    names = "/".join(dict.fromkeys(one.name for event in context.failures for one in event.errnos))
    what = "mount" if _while_mounting(context) else "operation"
    how = f"with {names}" if names else "without an errno"
    return f"a layered {what} failed {how}, and the text does not say why"


def _held(clue: Clue, tier: Tier) -> Clue:
    """Return a clue with its weight limited by the tier of the text.

    A mount of unknown type may not be a layered one; an error that any filesystem can report is
    only a hint.
    """
    if tier is Tier.LAYERED or clue.severity is Severity.INFO:
        return clue
    least = Severity.WARNING if tier is Tier.OPEN else Severity.INFO
    most = _SAYS - 1 if tier is Tier.OPEN else _LIKELY - 1
    return clue._replace(severity=least, weight=min(clue.weight, most))


def _while_mounting(context: Context) -> bool:
    """Tell whether a mount failed, and not work in a mounted tree."""
    return any(event.stage is Stage.MOUNT for event in context.failures)


def _trusted(context: Context) -> Iterator[Clue]:
    """What root in a user namespace cannot request, on any kernel."""
    for attempt in context.tried:
        if attempt.stack is None or attempt.stack.fstype != "overlay":
            continue
        options = attempt.stack.options
        for name in trusted_options(options):
            yield Clue("userns-trusted-xattr-option", (f"{name}={options[name]}",), weight=86)


#: Top directories of a system, in which other filesystems are mounted.
_TOPS = ("", "/boot", "/dev", "/home", "/media", "/mnt", "/opt", "/proc", "/run", "/srv", "/sys",
         "/usr", "/var", "/var/lib")  # fmt: skip


def _locked(context: Context) -> Iterator[Clue]:
    """Mounts copied into a user namespace are locked: EINVAL for a layer above them."""
    if not _while_mounting(context):
        return
    for attempt in context.tried:
        for layer in attempt.stack.of_role(Role.LOWER) if attempt.stack is not None else ():
            path = layer.path.rstrip("/")
            top = path.removeprefix("/oldroot") in _TOPS
            seen = f"lower {layer.path} in a user namespace: mounts inside it would be locked"
            yield Clue("userns-lower-with-submounts", (seen,), weight=64 if top else 44)


def _fits(clue: Clue, version: Release | None) -> bool:
    """Tell whether a kernel can have a cause; statements in the text count on any kernel."""
    if version is None or clue.weight >= _SAYS:
        return True
    return CAUSES[clue.cause].concerns(version)


def rank(found: Iterable[Clue]) -> list[tuple[list[Clue], int]]:
    """Return the clues of each cause with its weight, highest first.

    More clues of different lines add a little weight; guesses rank below statements.
    """
    by_cause: dict[str, list[Clue]] = {}
    for clue in found:
        by_cause.setdefault(clue.cause, []).append(clue)
    weighed = []
    for clues in by_cause.values():
        clues.sort(key=lambda clue: -clue.weight)
        lines = {clue.evidence for clue in clues}
        extra = min(len(lines) - 1, 3) * 2 if clues[0].weight < 92 else 0
        weighed.append((clues, min(clues[0].weight + extra, 99)))
    weighed.sort(key=lambda item: -item[1])
    top = max((w for c, w in weighed if _severity(c) is not Severity.INFO), default=0)
    if top >= _SAYS:
        weighed = [(c, w) for c, w in weighed if w >= _GUESS or _severity(c) is Severity.INFO]
    strong = [item for item in weighed if item[1] >= _SAYS]
    rest = [item for item in weighed if item[1] < _SAYS]
    notes = [item for item in rest if _severity(item[0]) is Severity.INFO]
    rest = [item for item in rest if _severity(item[0]) is not Severity.INFO]
    return [*strong, *rest[: max(_MOST - len(strong), 0)], *notes]


def _severity(clues: list[Clue]) -> Severity:
    """Return the severity of a cause: that of the catalogue, or less if all clues say so."""
    worst = CAUSES[clues[0].cause].severity
    severities = [clue.severity for clue in clues]
    if Severity.FAILURE in severities:
        return Severity.FAILURE
    if None in severities:
        return worst
    order = [Severity.FAILURE, Severity.WARNING, Severity.INFO]
    mildest = min((order.index(one) for one in severities if one is not None), default=0)
    return order[max(mildest, order.index(worst))]


def _shared(ranked: list[tuple[list[Clue], int]]) -> set[Evidence]:
    """Return the lines that point to several causes, none of which is certain."""
    lines = [
        clues[0].evidence
        for clues, weight in ranked
        if weight >= _LIKELY and _severity(clues) is not Severity.INFO
    ]
    return {line for line in lines if lines.count(line) > 1}


def _finding(clues: list[Clue], weight: int, shared: set[Evidence], context: Context) -> Finding:
    """Return the finding of the clues of a cause, highest weight first."""
    values: dict[str, str] = {}
    for clue in reversed(clues):
        values |= clue.values
    certainty = _certainty(weight, clues[0].evidence in shared)
    severity = _severity(clues)
    if certainty is Certainty.POSSIBLE and not _while_mounting(context):
        # without a reason, only the failure is certain
        severity = Severity.WARNING if severity is Severity.FAILURE else severity
    better = next((clue for clue in clues if clue.fix is not None), clues[0])
    seen = _counted([line for clue in clues for line in clue.evidence if line], context)
    clue = better._replace(evidence=tuple(seen[:6]), values=values, severity=severity)
    made = finding(fixes.fitted(clue, context), certainty)
    owner = fixes.owner(context)
    return made if owner is None else fixes.of_engine(made, owner)


def _certainty(weight: int, shared: bool) -> Certainty:
    """Return how certain a cause is; one line that points to several makes none certain."""
    if weight >= _CERTAIN:
        return Certainty.LIKELY if shared else Certainty.CERTAIN
    return Certainty.LIKELY if weight >= _LIKELY else Certainty.POSSIBLE


def _counted(evidence: list[str], context: Context) -> list[str]:
    """Return each line once, with the number of repetitions."""
    bodies: dict[str, int] = {}
    texts: dict[str, str] = {}
    for line in context.lines:
        body = line.body or line.text
        bodies[body] = bodies.get(body, 0) + 1
        texts.setdefault(line.text, body)
    said: dict[str, str] = {}
    for text in evidence:
        body = texts.get(text, text)
        count = bodies.get(body, 1)
        said.setdefault(body, text if count == 1 else f"{text}  ({count} times)")
    return list(said.values())


def _decide(found: Sequence[Finding], context: Context) -> tuple[str, ...]:
    """Return commands that distinguish the candidates; none if the cause is certain."""
    candidates = [one for one in found if one.severity is not Severity.INFO]
    if not candidates or candidates[0].certainty is Certainty.CERTAIN:
        return ()
    if len(candidates) < 2 and candidates[0].certainty is Certainty.LIKELY:
        return ()
    commands: list[str] = []
    values = fixes.values(context)
    for one in candidates[:2]:
        confirm = CAUSES[one.cause].confirm
        commands += [fill(text, values, quoted=True) for text in confirm[:1]]
    if not any(line.kernel for line in context.lines):
        commands.insert(0, "dmesg | tail -20")
    return tuple(dict.fromkeys(commands))

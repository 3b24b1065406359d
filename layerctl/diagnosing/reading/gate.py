"""Which events of a text count, and how certainly they are about a layered mount."""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.diagnosing.messages import Kind
from layerctl.diagnosing.reading import events
from layerctl.diagnosing.reading.context import Context, Tier
from layerctl.diagnosing.reading.events import Event, Stage, Subject
from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.diagnosing.reading.result import Noise

#: An errno alone on a line belongs to the failure before it: Go prints wrapped errors so.
_ALONE = 60
#: Errnos that programs often report for ordinary reasons, in any directory.
_ORDINARY = frozenset({"ENOENT", "EACCES", "EPERM", "EEXIST", "ENOTDIR", "ENOEXEC", "EISDIR"})


def judge(context: Context) -> None:
    """Read the events of a text, and choose those that count.

    A finding needs an event of a layered type, or a kernel message about one. Otherwise a mount of
    unknown type only may be one, and errors of programs in any directory do not count.
    """
    tried = {attempt.line for attempt in context.tried if attempt.by != "other"}
    context.events = events.read(context.lines, tried, messages=bool(context.matches))
    matched = {id(line) for line, _ in context.matches}
    found = [one for one in context.events if id(one.line) not in matched]
    kernel = any(match.message.kind is not Kind.NOISE for _, match in context.matches)
    layered = [one for one in found if one.subject is Subject.LAYERED]
    failed = [one for one in layered if one.failed]
    others = [one for one in found if one.subject is Subject.OTHER and one.failed]
    untyped = [one for one in found if one.subject is Subject.OPEN]
    plain = [one for one in found if one.subject is Subject.PLAIN and one.errnos]
    context.tier, context.failures = Tier.LAYERED, failed
    if failed or kernel:
        if not others:
            context.failures = [*failed, *untyped]
        if not any(one.errnos for one in context.failures):
            context.failures += [one for one in plain if len(one.line.text) <= _ALONE]
        if kernel and not failed:
            context.failures += _in_tree(context, plain)
    elif layered and untyped:
        context.failures = untyped
    elif layered and (met := _in_tree(context, plain)):
        context.failures = met
    elif untyped and not any(one.subject is Subject.OTHER for one in found):
        context.tier, context.failures = Tier.OPEN, untyped
    else:
        quiet = layered and not others
        context.tier = Tier.LAYERED if quiet else (Tier.NONE if others else Tier.PECULIAR)
        context.failures = [] if quiet or others else plain


#: A program and a colon, before its error.
_SPEAKER = Lazy(r"^\W*[\w./-]+: ")


#: What makes a copy-up of a directory, with the ACL of a remote lower one.
_CREATING = Lazy(r"\b(?:mkdir|touch|cannot (?:create|touch))\b")
#: What docker info and podman info print about their store.
_DRIVER = Lazy(r"(?:Storage Driver|graphDriverName): (?:overlay|aufs)")


def _of_command(event: Event) -> Event:
    """Return an errno on a line of its own as the result of the command before it."""
    if len(event.line.text) <= _ALONE and not _SPEAKER.match(event.line.text):
        return event._replace(subject=Subject.OPEN, stage=Stage.MOUNT)
    return event


def _in_tree(context: Context, plain: list[Event]) -> list[Event]:
    """Return the errors of programs in the tree of a mount in the text."""
    if any(one.by in ("mount", "fuse-overlayfs") for one in context.tried):
        return [_of_command(one) for one in plain]
    if not context.tried and not _DRIVER.search(context.plain):
        return []
    remote = "nfs" in context.families
    return [
        one
        for one in plain
        if not {named.name for named in one.errnos} <= _ORDINARY
        or (remote and _CREATING.search(one.line.text))
    ]  # a mount that is only listed may be unrelated to an ordinary error


def others(context: Context) -> Iterator[Noise]:
    """Yield failures of other mounts, each kind once; only if nothing layered failed."""
    if context.tier >= Tier.OPEN and context.failures:
        return
    seen: set[str] = set()
    for event in context.events:
        if event.subject is Subject.OTHER and event.failed and event.what not in seen:
            seen.add(event.what)
            yield Noise(event.line.text, f"this is {event.what}, not a layered mount")

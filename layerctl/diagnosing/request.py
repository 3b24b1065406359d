"""What is wrong with a request itself, and with the option string made of it. Pure."""

from __future__ import annotations

from layerctl.codecs import aufs, overlay
from layerctl.diagnosing.checks import check
from layerctl.diagnosing.clue import Clue, Raw
from layerctl.diagnosing.commands import mount_command
from layerctl.errors import as_finding
from layerctl.model import Finding, Severity, Stack
from layerctl.rules.limits import MAX_STRING
from layerctl.rules.validity import problems
from layerctl.rules.words import shell


def request_findings(stack: Stack, target: str | None = None) -> list[Finding]:
    """Return what is wrong with the request itself, whatever the system looks like."""
    return [
        one._replace(fix=one.fix._replace(commands=_commands(one.cause, stack, target)))
        for one in map(as_finding, problems(stack))
    ]


def _commands(cause: str, stack: Stack, target: str | None) -> tuple[str, ...]:
    """Return commands for a wrong request: a single directory needs a bind mount."""
    if cause == "too-few-layers" and len(stack.layers) == 1 and target is not None:
        return (shell("mount", "--bind", stack.layers[0].path, target),)
    for name in stack.options:  # without the wrong one, if there is only one
        options = {key: value for key, value in stack.options.items() if key != name}
        better = stack._replace(options=options)
        if not problems(better):
            return (mount_command(better, target),)
    return ()


def string_findings(stack: Stack, target: str | None = None) -> list[Finding]:
    """Return what would fail if the stack were passed to mount(8) as one string.

    layerctl passes layers one by one, so this only concerns other programs.
    """
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
        else "option-string-too-long"
    )
    values: dict[str, str] = {"command": Raw(mount_command(stack, target))}
    return check.findings([Clue(cause, seen, values, Severity.WARNING)])

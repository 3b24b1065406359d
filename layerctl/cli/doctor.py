"""`layerctl doctor`."""

from __future__ import annotations

import sys

import click

from layerctl.cli.common import find_stack, json_option, layer_flags, stack_from_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.codecs.request import Request
from layerctl.errors import EXIT_FOUND, EXIT_OK, RequestError
from layerctl.kernel import facts, paths
from layerctl.model import Finding, Severity, Stack
from layerctl.render import json
from layerctl.render.errors import note


@click.command("doctor", cls=WithExamples)
@layer_flags
@json_option
@click.option("--strict", is_flag=True, help="Let warnings count as failures.")
@click.argument("target", required=False, shell_complete=targets)
def command(*, request: Request, as_json: bool, strict: bool, target: str | None) -> int:
    """Say what would stop a mount, or what is wrong with one, and what to do about it.

    With layer flags TARGET is where the mount is planned; without, a mount that is there.
    """
    from layerctl.doctor.preflight import findings, request_findings
    from layerctl.render.findings import document, verdict

    if request.names_layers or request.fstype is not None:
        stack = planned(stack_from_flags(request))
        where = None if target is None else paths.absolute(target)
        found = request_findings(stack)
    elif target is not None:
        stack, notes = find_stack(target, request)
        for text in notes:
            note(text)
        where, found = None, []
    else:
        raise RequestError("usage", "name a mount, or layers", hint="layerctl doctor --help")
    made = {stack.work} if stack.work is not None and request.work is None else set()
    found += findings(stack, facts.gather(stack, where, made))
    if as_json:
        json.write(document(found, strict=strict))
    else:
        show(found)
    return EXIT_FOUND if verdict(found, strict=strict) == "failure" else EXIT_OK


def planned(stack: Stack) -> Stack:
    """Return the stack with the work directory that `mount` would take beside the upper one."""
    if stack.fstype != "overlay" or stack.upper is None or stack.work is not None:
        return stack
    return stack._replace(work=stack.upper.rstrip("/") + ".work")


def show(found: list[Finding]) -> None:
    """Print findings for people."""
    from layerctl.render.findings import lines

    colour = sys.stdout.isatty()
    for one in found:
        click.echo("\n".join(lines(one, colour=colour)) + "\n")
    worst = [one for one in found if one.severity is Severity.FAILURE]
    if not found:
        click.echo("nothing stands against it")
    elif worst:
        click.echo(f"{len(worst)} of {len(found)} findings would stop it")

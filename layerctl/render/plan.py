"""A planned mount, for scripts and for people."""

from __future__ import annotations

import os
from collections.abc import Sequence

from layerctl.codecs.escape import printable
from layerctl.errors import RefusedError
from layerctl.model import Finding, Severity, Stack
from layerctl.mounting import forms
from layerctl.mounting.apply import Step, steps
from layerctl.mounting.plan import Plan
from layerctl.mounting.prepare import Prepared
from layerctl.render import json
from layerctl.render.json import Document, path_fields, path_list_fields
from layerctl.render.mounts import stack_document, stack_lines
from layerctl.rules.aufs import with_permissions


def verdict(findings: Sequence[Finding]) -> str:
    """Return the worst of the findings: `ok`, `warning` or `failure`."""
    severities = {finding.severity for finding in findings}
    if Severity.FAILURE in severities:
        return "failure"
    return "warning" if Severity.WARNING in severities else "ok"


def _strings(prepared: Prepared) -> tuple[str | None, str | None, str]:
    """Return the option string and the mount(8) command, or why there is none."""
    stack = prepared.stack
    options: str | None = None
    try:
        options = forms.option_string(stack)
        return options, forms.command(stack, prepared.source, prepared.target, prepared.make), ""
    except RefusedError as error:
        return options, None, error.message


def print_form(prepared: Prepared, form: str) -> None:
    """Write the mount in another form to standard output, every byte as it is.

    Raises RefusedError where the form cannot hold it.
    """
    import sys

    stack, source, target = prepared.stack, prepared.source, prepared.target
    match form:
        case "options":
            text = forms.option_string(stack)
        case "command":
            text = forms.command(stack, source, target, prepared.make)
        case "fstab":
            text = forms.fstab(stack, source, target)
        case _:
            text = forms.unit(stack, source, target)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(text) + b"\n")


def show(prepared: Prepared, plan: Plan | None, *, as_json: bool) -> None:
    """Write a dry run to standard output; `plan` is None where there is no way in."""
    stack, target = prepared.stack, prepared.target
    options, command, why_not = _strings(prepared)
    planned = [] if plan is None else steps(plan, target, prepared.make)
    if as_json:
        json.write(_document(prepared, plan, planned, (options, command)))
        return
    out = [f"{stack.fstype} on {printable(target)}", *stack_lines(_spelled(prepared)), ""]
    out.append(f"option string: {printable(options or why_not)}")
    out.append(f"command: {printable(command or why_not)}")
    if plan is not None:
        out += [f"way in: {plan.api} ({plan.why})", "steps:"]
        out += [f"  {n}. {printable(step.description)}" for n, step in enumerate(planned, 1)]
    out += [f"note: {printable(text)}" for text in prepared.notes]
    out.append(f"checks: {verdict(prepared.findings)}")
    for finding in prepared.findings:
        out.append(f"  {finding.severity.value}: {finding.title} ({finding.cause})")
        out += [f"    {printable(text)}" for text in finding.evidence]
        out.append(f"    help: {printable(finding.fix.text)}")
        out += [f"      {printable(command)}" for command in finding.fix.commands]
    print("\n".join(out))  # noqa: T201 - the render room is where output is written


def _spelled(prepared: Prepared) -> Stack:
    """Return the stack with the permissions that aufs gives to branches without one."""
    if prepared.stack.fstype != "aufs":
        return prepared.stack
    places = prepared.facts.directories
    return with_permissions(
        prepared.stack, {path: place.fstype for path, place in places.items() if place.fstype}
    )


def _document(
    prepared: Prepared,
    plan: Plan | None,
    planned: Sequence[Step],
    strings: tuple[str | None, str | None],
) -> Document:
    document = stack_document(_spelled(prepared), prepared.target, prepared.source)
    document["api"] = None if plan is None else {"name": plan.api, "why": plan.why}
    document |= path_fields("option_string", strings[0])
    document |= path_fields("command", strings[1])
    document |= path_list_fields("make", prepared.make)
    document["steps"] = [step.description for step in planned]
    document["notes"] = list(prepared.notes)
    document["verdict"] = verdict(prepared.findings)
    document["findings"] = [json.finding_document(finding) for finding in prepared.findings]
    return document

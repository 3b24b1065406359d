"""A planned mount, for scripts and for people."""

from __future__ import annotations

from collections.abc import Sequence

from layerctl.codecs.escape import printable
from layerctl.model import Finding, Severity, Stack
from layerctl.mounting import forms
from layerctl.mounting.apply import Step, steps
from layerctl.mounting.plan import Plan
from layerctl.mounting.prepare import Prepared
from layerctl.render import json
from layerctl.render.json import Document, path_fields, path_list_fields
from layerctl.render.mounts import stack_document, stack_lines


def verdict(findings: Sequence[Finding]) -> str:
    """Return the worst of the findings: `ok`, `warning` or `failure`."""
    severities = {finding.severity for finding in findings}
    if Severity.FAILURE in severities:
        return "failure"
    return "warning" if Severity.WARNING in severities else "ok"


def _strings(stack: Stack, source: str, target: str) -> tuple[str, str] | None:
    try:
        return forms.option_string(stack), forms.command(stack, source, target)
    except ValueError:
        return None


def show(prepared: Prepared, plan: Plan | None, *, as_json: bool) -> None:
    """Write a dry run to standard output; `plan` is None where there is no way in."""
    stack, target = prepared.stack, prepared.target
    strings = _strings(stack, prepared.source, target)
    planned = [] if plan is None else steps(plan, target, prepared.make)
    if as_json:
        json.write(_document(prepared, plan, planned, strings))
        return
    out = [f"{stack.fstype} on {printable(target)}", *stack_lines(stack), ""]
    if strings is None:
        out.append("option string: none, since aufs has no escape for a path of this stack")
    else:
        out += [f"option string: {printable(strings[0])}", f"command: {printable(strings[1])}"]
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


def _document(
    prepared: Prepared, plan: Plan | None, planned: Sequence[Step], strings: tuple[str, str] | None
) -> Document:
    document = stack_document(prepared.stack, prepared.target, prepared.source)
    document["api"] = None if plan is None else {"name": plan.api, "why": plan.why}
    document |= path_fields("option_string", strings and strings[0])
    document |= path_fields("command", strings and strings[1])
    document |= path_list_fields("make", prepared.make)
    document["steps"] = [step.description for step in planned]
    document["notes"] = list(prepared.notes)
    document["verdict"] = verdict(prepared.findings)
    document["findings"] = [json.finding_document(finding) for finding in prepared.findings]
    return document

"""A planned mount, for scripts and for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from layerctl.codecs.escape import printable
from layerctl.errors import RefusedError
from layerctl.model import Stack
from layerctl.mounting import boot, forms
from layerctl.mounting.apply import steps
from layerctl.mounting.plan import Plan
from layerctl.mounting.prepare import Prepared
from layerctl.render import json
from layerctl.render.errors import also
from layerctl.render.findings import lines
from layerctl.render.json import Document, path_fields, path_list_fields
from layerctl.render.mounts import stack_document, stack_lines
from layerctl.rules.aufs import with_permissions
from layerctl.rules.findings import verdict


def _strings(prepared: Prepared) -> tuple[str | None, str | None, str]:
    """Return the option string and the mount(8) command, or the reason why there is none."""
    stack = prepared.stack
    options: str | None = None
    try:
        options = forms.option_string(stack)
        return options, forms.command(stack, prepared.source, prepared.target, prepared.make), ""
    except RefusedError as error:
        return options, None, error.message


def print_form(prepared: Prepared, form: str) -> None:
    """Write the mount in another form to standard output, as raw bytes.

    Raises RefusedError if the form cannot express it.
    """
    stack, source, target = prepared.stack, prepared.source, prepared.target
    lost = boot.volatile(stack, prepared.facts)
    match form:
        case "options":
            text = forms.option_string(stack)
        case "command":
            text = forms.command(stack, source, target, prepared.make)
        case "fstab":
            text = boot.fstab(stack, source, target, lost)
        case "unit":
            text = boot.unit(stack, source, target, lost)
        case _:
            text = boot.tmpfiles(boot.to_make(stack, prepared.make, lost, prepared.facts), target)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(text) + b"\n")


def form_notes(prepared: Prepared, form: str) -> tuple[str, ...]:
    """Return notes on another form: which directories to create, and when."""
    out = list(prepared.all_notes(mounted=False))
    lost = boot.volatile(prepared.stack, prepared.facts)
    missing = [path for path in prepared.make if path not in lost]
    if missing and form in ("options", "fstab", "unit"):
        names = ", ".join(missing)
        out.append(
            f"create before mounting: {names} (with mkdir -p, or with the output of --print "
            "tmpfiles)"
        )
    if prepared.stack.is_mapped and form in ("fstab", "unit"):
        out.append("mount(8) needs /sbin/mount.layerctl for this type (make install installs it)")
    if missing and form == "tmpfiles":
        out.append(
            "create them now with systemd-tmpfiles --create FILE; at boot it runs after the mounts "
            "in /etc/fstab"
        )
    if lost and form in ("fstab", "unit"):
        out.append(
            f"on a tmpfs, so lost at reboot: {', '.join(lost)} (put the output of --print tmpfiles "
            "into /etc/tmpfiles.d; the mount waits for it)"
        )
    return tuple(out)


def show(prepared: Prepared, plan: Plan | None, *, as_json: bool) -> None:
    """Write a dry run to standard output; `plan` is None if no mount API can be used."""
    stack, target = prepared.stack, prepared.target
    options, command, why_not = _strings(prepared)
    planned = [] if plan is None else _steps(prepared, plan)
    if as_json:
        json.write(_document(prepared, plan, planned, (options, command)))
        return
    out = [f"{stack.fstype} on {printable(target)}", *stack_lines(_spelled(prepared)), ""]
    out.append(f"option string: {printable(options or why_not)}")
    out.append(f"command: {printable(command or why_not)}")
    if plan is not None:
        out += [f"mount API: {plan.api} ({plan.why})", "steps:"]
        out += [f"  {n}. {printable(words)}" for n, words in enumerate(planned, 1)]
    out += [f"note: {printable(text)}" for text in prepared.all_notes(mounted=False)]
    out.append(f"checks: {verdict(prepared.findings)}")
    if prepared.findings:
        out += lines(prepared.findings[0])
        out += also(prepared.findings[1:])
    print("\n".join(out))  # noqa: T201 - the render room is where output is written


#: How one upper layer goes from one overlay to another.
_BETWEEN = "mount the same layers read-only in between: an upper layer is in one overlay at a time"


def _steps(prepared: Prepared, plan: Plan) -> list[str]:
    taken = steps(plan, prepared.target, prepared.make, prepared.swap)
    if prepared.swap is None:
        return [words for words, _ in taken]
    first = [_BETWEEN] if prepared.swap.keeps else []
    return [*first, *(words for words, _ in taken), "umount2: unmount the old mount"]


def _spelled(prepared: Prepared) -> Stack:
    """Return the stack with aufs's default permissions for branches without one."""
    if prepared.stack.fstype != "aufs":
        return prepared.stack
    places = prepared.facts.directories
    return with_permissions(
        prepared.stack, {path: place.fstype for path, place in places.items() if place.fstype}
    )


def _document(
    prepared: Prepared,
    plan: Plan | None,
    planned: Sequence[str],
    strings: tuple[str | None, str | None],
) -> Document:
    document = stack_document(_spelled(prepared), prepared.target, prepared.source)
    document["api"] = None if plan is None else {"name": plan.api, "why": plan.why}
    document |= path_fields("option_string", strings[0])
    document |= path_fields("command", strings[1])
    document |= path_list_fields("make", prepared.make)
    document["steps"] = list(planned)
    document["notes"] = list(prepared.all_notes(mounted=False))
    document["verdict"] = verdict(prepared.findings)
    document["findings"] = [json.finding_document(finding) for finding in prepared.findings]
    return document

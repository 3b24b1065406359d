"""Causes and errors of the tables, for scripts and for people."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from layerctl.diagnosing.catalogue import fill
from layerctl.diagnosing.catalogue.cause import Explained
from layerctl.render.human import wrapped
from layerctl.render.json import Document


def document(one: Explained) -> Document:
    """Return a cause or an error in its published shape."""
    cause = one.cause
    return {
        "cause": cause.id,
        "severity": cause.severity.value,
        "title": cause.title,
        "why": cause.why,
        "confirm": [fill(line, {}) for line in cause.confirm],
        "fix": {"text": fill(cause.fix, {}), "commands": _commands(one)},
        "since": cause.since,
        "until": cause.until,
        "links": list(cause.links),
        "exit_code": one.exit_code,
    }


def _commands(one: Explained) -> list[str]:
    """Return the commands of a cause that say something without a stack."""
    return [fill(line, {}) for line in one.cause.commands if line != "{command}"]


def lines(one: Explained) -> list[str]:
    """Return a cause or an error as lines of text."""
    cause = one.cause
    out = [f"{cause.title}  [{cause.id}]", f"  severity:  {cause.severity.value}"]
    for label, text in (("why", cause.why), ("fix", fill(cause.fix, {}))):
        out += [f"  {label}:  {paragraph}" for paragraph in wrapped(text)]
    out += [f"    $ {line}" for line in _commands(one)]
    if cause.confirm:
        out += ["  to confirm:", *(f"    $ {fill(line, {})}" for line in cause.confirm)]
    if cause.since:
        out.append(f"  affects Linux from:  {cause.since}")
    if cause.until:
        out.append(f"  affects Linux before:  {cause.until}")
    if one.exit_code is not None:
        out.append(f"  exit code:  {one.exit_code}")
    return [*out, *(f"  see:  {link}" for link in cause.links)]


def errno_lines(number: int, found: Mapping[str, Sequence[Explained]]) -> list[str]:
    """Return an errno as lines of text, with the causes that it can have."""
    out = [f"{errno.errorcode[number]} ({number}): {os.strerror(number)}"]
    for what, several in found.items():
        out += ["", f"{what}:"]
        out += [f"  {one.cause.title}  [{one.cause.id}]" for one in several]
    return out if found else [*out, "", "layerctl knows no cause with this errno."]

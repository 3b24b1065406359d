"""`layerctl explain`."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import click

from layerctl.cli.complete import items
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.diagnosing import catalogue
from layerctl.diagnosing.catalogue import Cause, fill
from layerctl.diagnosing.reading.meanings import by_errno
from layerctl.errors import ERRORS, NotFoundError
from layerctl.model import Severity
from layerctl.render import json
from layerctl.render.human import wrapped
from layerctl.render.output import Output, write
from layerctl.render.tables import CAUSES
from layerctl.rules.options import nearest
from layerctl.rules.words import shell

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    titles = {one.id: one.title for one in catalogue.CAUSES.values()}
    return items(titles | {one.id: one.title for one in ERRORS.values()}, incomplete)


@click.command("explain", cls=WithExamples)
@output_options(CAUSES)
@click.argument("cause", required=False, shell_complete=_complete)
def command(*, output: Output, cause: str | None) -> None:
    """Explain a cause, an error or an errno; without CAUSE, list all of them.

    An errno is a name (EXDEV) or a number (18); list the causes that it can have.
    """
    known = {**catalogue.CAUSES, **ERRORS}
    if cause is None:
        write(CAUSES, map(_document, sorted(known)), output)
        return
    if number := _errno(cause):
        _explain_errno(number, output)
        return
    if cause not in known:
        close = nearest(cause, list(known))
        raise NotFoundError(
            "unknown-cause",
            f"unknown cause, error or errno '{cause}'",
            commands=(shell("layerctl", "explain", *close[:1]),),
        )
    if output.as_json and output.whole:
        json.write(_document(cause))
    else:
        write(CAUSES, [_document(cause)], output, human=lambda: _print(cause))


def _errno(text: str) -> int:
    """Return the number of an errno given by name or number, 0 if it is none."""
    numbers = {name: number for number, name in errno.errorcode.items()}
    if text.isdecimal():
        return int(text) if int(text) in errno.errorcode else 0
    return numbers.get(text.upper(), 0)


def _explain_errno(number: int, output: Output) -> None:
    """Write the causes that an errno can have."""
    name = errno.errorcode[number]
    found = by_errno(name)

    def human() -> None:
        click.echo(f"{name} ({number}): {os.strerror(number)}")
        for what, ids in found.items():
            click.echo(f"\n{what}:")
            for one in ids:
                click.echo(f"  {catalogue.CAUSES[one].title}  [{one}]")
        if not found:
            click.echo("\nlayerctl knows no cause with this errno.")

    ids = dict.fromkeys(one for some in found.values() for one in some)
    write(CAUSES, map(_document, ids), output, human=human)


def _document(name: str) -> json.Document:
    cause = _cause(name)
    return {
        "cause": cause.id,
        "severity": cause.severity.value,
        "title": cause.title,
        "why": cause.why,
        "confirm": [fill(line, {}) for line in cause.confirm],
        "fix": {"text": fill(cause.fix, {}), "commands": [fill(line, {}) for line in _fix(cause)]},
        "since": cause.since,
        "until": cause.until,
        "links": list(cause.links),
        "exit_code": ERRORS[name].exit_code if name in ERRORS else None,
    }


def _cause(name: str) -> Cause:
    """Return a row of the catalogue, or one of the table of errors in the same form."""
    if name in catalogue.CAUSES:
        return catalogue.CAUSES[name]
    error = ERRORS[name]
    return Cause(error.id, Severity.FAILURE, error.title, error.why, error.fix, error.commands)


def _fix(cause: Cause) -> list[str]:
    """Return the commands of a cause that say something without a stack."""
    return [line for line in cause.commands if line != "{command}"]


def _print(name: str) -> None:
    cause = _cause(name)
    click.echo(f"{cause.title}  [{cause.id}]")
    click.echo(f"  severity:  {cause.severity.value}")
    for label, text in (("why", cause.why), ("fix", fill(cause.fix, {}))):
        for paragraph in wrapped(text):
            click.echo(f"  {label}:  {paragraph}")
    for line in _fix(cause):
        click.echo(f"    $ {fill(line, {})}")
    if cause.confirm:
        click.echo("  to confirm:")
        for line in cause.confirm:
            click.echo(f"    $ {fill(line, {})}")
    if cause.since:
        click.echo(f"  affects Linux from:  {cause.since}")
    if cause.until:
        click.echo(f"  affects Linux before:  {cause.until}")
    if name in ERRORS:
        click.echo(f"  exit code:  {ERRORS[name].exit_code}")
    for link in cause.links:
        click.echo(f"  see:  {link}")

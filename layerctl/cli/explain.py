"""`layerctl explain`."""

from __future__ import annotations

import click

from layerctl.cli.complete import causes
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.errors import NotFoundError
from layerctl.render import json
from layerctl.render.output import Output, write
from layerctl.render.tables import CAUSES


@click.command("explain", cls=WithExamples)
@output_options(CAUSES)
@click.argument("cause", required=False, shell_complete=causes)
def command(*, output: Output, cause: str | None) -> None:
    """Explain a cause that doctor or an error named; without CAUSE, list them all."""
    from layerctl.doctor import catalogue

    if cause is None:
        write(CAUSES, map(_document, sorted(catalogue.CAUSES)), output)
        return
    if cause not in catalogue.CAUSES:
        from layerctl.rules.options import nearest

        close = nearest(cause, list(catalogue.CAUSES))
        raise NotFoundError(
            "unknown-cause",
            f"'{cause}' is no cause of the catalogue",
            hint=f"layerctl explain {close[0]}" if close else "layerctl explain lists them all",
        )
    if output.as_json and output.whole:
        json.write(_document(cause))
    else:
        write(CAUSES, [_document(cause)], output, human=lambda: _print(cause))


def _document(name: str) -> json.Document:
    from layerctl.doctor import catalogue
    from layerctl.doctor.catalogue import fill

    cause = catalogue.CAUSES[name]
    return {
        "cause": cause.id,
        "severity": cause.severity.value,
        "title": cause.title,
        "why": cause.why,
        "confirm": [fill(line, {}) for line in cause.confirm],
        "fix": {"text": fill(cause.fix, {}), "commands": [fill(line, {}) for line in _fix(name)]},
        "since": cause.since,
        "links": list(cause.links),
    }


def _fix(name: str) -> list[str]:
    """Return the commands of a cause that say something without a stack."""
    from layerctl.doctor import catalogue

    return [line for line in catalogue.CAUSES[name].commands if line != "{command}"]


def _print(name: str) -> None:
    from layerctl.doctor import catalogue
    from layerctl.doctor.catalogue import fill
    from layerctl.render.human import wrapped

    cause = catalogue.CAUSES[name]
    click.echo(f"{cause.title}  [{cause.id}]")
    click.echo(f"  how bad:  {cause.severity.value}")
    for label, text in (("why", cause.why), ("fix", fill(cause.fix, {}))):
        for paragraph in wrapped(text):
            click.echo(f"  {label}:  {paragraph}")
    for line in _fix(name):
        click.echo(f"    $ {fill(line, {})}")
    if cause.confirm:
        click.echo("  to confirm it:")
        for line in cause.confirm:
            click.echo(f"    $ {fill(line, {})}")
    if cause.since:
        click.echo(f"  concerns Linux from:  {cause.since}")
    for link in cause.links:
        click.echo(f"  see:  {link}")

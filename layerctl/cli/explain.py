"""`layerctl explain`."""

from __future__ import annotations

import click

from layerctl.cli.common import json_option
from layerctl.errors import NotFoundError
from layerctl.render import json


@click.command("explain")
@json_option
@click.argument("cause", required=False)
def command(*, as_json: bool, cause: str | None) -> None:
    """Explain a cause that doctor or an error named; without CAUSE, list them all."""
    from layerctl.doctor.catalogue import CAUSES

    if cause is None:
        if as_json:
            json.write({"causes": [_document(one) for one in CAUSES]})
            return
        width = max(map(len, CAUSES))
        for one in sorted(CAUSES):
            click.echo(f"{one:<{width}}  {CAUSES[one].title}")
        return
    if cause not in CAUSES:
        from layerctl.rules.options import nearest

        close = nearest(cause, list(CAUSES))
        raise NotFoundError(
            "unknown-cause",
            f"'{cause}' is no cause of the catalogue",
            hint=f"layerctl explain {close[0]}" if close else "layerctl explain lists them all",
        )
    if as_json:
        json.write(_document(cause))
        return
    _print(cause)


def _document(name: str) -> json.Document:
    from layerctl.doctor.catalogue import CAUSES, fill

    cause = CAUSES[name]
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
    from layerctl.doctor.catalogue import CAUSES

    return [line for line in CAUSES[name].commands if line != "{command}"]


def _print(name: str) -> None:
    from layerctl.doctor.catalogue import CAUSES, fill
    from layerctl.render.findings import wrapped

    cause = CAUSES[name]
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

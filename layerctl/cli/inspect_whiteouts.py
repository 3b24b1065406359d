"""`layerctl inspect whiteouts`."""

from __future__ import annotations

from itertools import chain

import click

from layerctl.cli.common import find_stack, layer_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_merged import tell_unknown
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.inspecting.opening import opened
from layerctl.render.errors import note
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import WHITEOUTS


@click.command("whiteouts", cls=WithExamples)
@layer_flags
@output_options(WHITEOUTS)
@click.option(
    "--thorough", is_flag=True, help="Look at every empty file for whiteouts by attribute."
)
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    output: Output,
    thorough: bool,
    target: str | None,
) -> None:
    """List whiteouts and opaque directories: what each hides, and whether it has any effect."""
    stack, notes = find_stack(target, request)
    for text in notes:
        note(text)
    with opened(stack, live=target is not None, thorough=thorough) as view:
        from layerctl.inspecting.whiteouts import find
        from layerctl.render.entries import unknown_fields
        from layerctl.render.whiteouts import whiteout_document

        for text in view.notes:
            note(text)
        rows = map(whiteout_document, find(view, thorough=thorough))
        first = next(rows, None)
        if first is None and output.format is Format.HUMAN:
            note("no whiteouts and no opaque directories")
        else:
            found = chain([] if first is None else [first], rows)
            write(WHITEOUTS, found, output, beside=lambda: unknown_fields(view))
        tell_unknown(view)

"""`layerctl inspect whiteouts`."""

from __future__ import annotations

from itertools import chain

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import end, opened_stack
from layerctl.cli.inspect_stream import streams, write_stream
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.inspecting.whiteouts import Whiteouts
from layerctl.render.entries import unknown_fields
from layerctl.render.errors import note
from layerctl.render.output import Format, Output, write
from layerctl.render.progress import watched
from layerctl.render.stream import speller
from layerctl.render.tables import WHITEOUTS
from layerctl.render.whiteouts import whiteout_document


@click.command("whiteouts", cls=WithExamples)
@layer_flags
@output_options(WHITEOUTS)
@click.option("--thorough", is_flag=True, help="Check every empty file for a whiteout attribute.")
@click.argument("target", required=False, shell_complete=targets)
def command(*, request: Request, output: Output, thorough: bool, target: str | None) -> int:
    """List whiteouts and opaque directories, and what they hide."""
    with opened_stack(target, request, thorough=thorough) as view:
        search = Whiteouts(view, thorough=thorough)
        if streams(output):
            spell = speller(whiteout_document, ("path", "marker"))
            write_stream(view, WHITEOUTS, search, spell, output)
            return end(view)
        found = watched(search, len, shown_as_found=False)
        rows = map(whiteout_document, chain.from_iterable(found))
        first = next(rows, None)
        if first is None and output.format is Format.HUMAN:
            note("no whiteouts or opaque directories")
        else:
            every = chain([] if first is None else [first], rows)
            write(WHITEOUTS, every, output, beside=lambda: unknown_fields(view))
        return end(view)

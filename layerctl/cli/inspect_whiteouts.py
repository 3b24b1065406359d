"""`layerctl inspect whiteouts`."""

from __future__ import annotations

from itertools import chain
from typing import Any

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import merged_arguments
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import GLOB_HELP, end, opened_stack
from layerctl.cli.inspect_stream import streams, write_stream
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.inspecting.filters import Paths
from layerctl.inspecting.whiteouts import Whiteouts
from layerctl.render.columns import Listing
from layerctl.render.entries import unknown_fields
from layerctl.render.errors import note
from layerctl.render.output import Format, Output, write
from layerctl.render.progress import watched
from layerctl.render.stream import speller
from layerctl.render.tables import WHITEOUT_SUMS, WHITEOUTS
from layerctl.render.whiteouts import sum_documents, whiteout_document
from layerctl.usecases.inspect import target_and_path


def _listing(_: Output, given: dict[str, Any]) -> Listing:
    return WHITEOUT_SUMS if given["summary"] else WHITEOUTS


@click.command("whiteouts", cls=WithExamples)
@layer_flags
@output_options(WHITEOUTS, WHITEOUT_SUMS, which=_listing, sorts=True)
@click.option("--summary", is_flag=True, help="Count the markers of each layer and kind.")
@click.option("--glob", metavar="PATTERN", help=GLOB_HELP)
@click.option("--thorough", is_flag=True, help="Check every empty file for a whiteout attribute.")
@click.argument("arguments", nargs=-1, metavar="[TARGET] [PATH]", shell_complete=merged_arguments)
def command(
    *,
    request: Request,
    output: Output,
    summary: bool,
    glob: str | None,
    thorough: bool,
    arguments: tuple[str, ...],
) -> int:
    """List whiteouts and opaque directories, and what they hide.

    With PATH, list only those that hide it or something below it.
    """
    target, path = target_and_path(request, arguments)
    with opened_stack(target, thorough=thorough) as view:
        wanted = Paths(path or "", glob) if path or glob is not None else None
        search = Whiteouts(view, thorough=thorough, wanted=wanted)
        if streams(output) and not summary:
            spell = speller(whiteout_document, ("path", "marker"))
            write_stream(view, WHITEOUTS, search, spell, output)
            return end(view)
        batches = watched(search, len, shown_as_found=False)
        found = chain.from_iterable(batches)
        rows = iter(sum_documents(found)) if summary else map(whiteout_document, found)
        first = next(rows, None)
        if first is None and output.format is Format.HUMAN:
            note("no whiteouts or opaque directories")
        else:
            every = chain([] if first is None else [first], rows)
            listing = WHITEOUT_SUMS if summary else WHITEOUTS
            write(listing, every, output, beside=lambda: unknown_fields(view))
        return end(view)

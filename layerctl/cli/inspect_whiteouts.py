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
from layerctl.inspecting.opening import Opened, opened
from layerctl.render.errors import note
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import WHITEOUTS


@click.command("whiteouts", cls=WithExamples)
@layer_flags
@output_options(WHITEOUTS)
@click.option("--thorough", is_flag=True, help="Check every empty file for a whiteout attribute.")
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    output: Output,
    thorough: bool,
    target: str | None,
) -> None:
    """List whiteouts and opaque directories, and what they hide."""
    stack, notes, mount = find_stack(target, request)
    for text in notes:
        note(text)
    with opened(stack, mount, thorough=thorough) as view:
        from layerctl.inspecting.whiteouts import find
        from layerctl.render.entries import unknown_fields
        from layerctl.render.progress import watched
        from layerctl.render.whiteouts import whiteout_document

        for text in view.notes:
            note(text)
        if output.whole and output.format in (Format.JSON, Format.JSONL):
            _stream(view, thorough=thorough, as_lines=output.format is Format.JSONL)
            tell_unknown(view)
            return
        found_so_far = watched(find(view, thorough=thorough), lambda _: 1, shown_as_found=False)
        rows = map(whiteout_document, found_so_far)
        first = next(rows, None)
        if first is None and output.format is Format.HUMAN:
            note("no whiteouts or opaque directories")
        else:
            found = chain([] if first is None else [first], rows)
            write(WHITEOUTS, found, output, beside=lambda: unknown_fields(view))
        tell_unknown(view)


def _stream(view: Opened, *, thorough: bool, as_lines: bool) -> None:
    """Write whiteouts as JSON, as they are found, with a second process where it is worth it."""
    from layerctl.inspecting.parallel import Team, spread
    from layerctl.inspecting.whiteouts import Finder
    from layerctl.render import entries, stream
    from layerctl.render.progress import lines_of, watched
    from layerctl.render.whiteouts import json_batches

    finder = Finder(view, thorough=thorough)
    team = Team(finder.report, finder.merge)
    shared = spread(team, json_batches(finder.merged(team)), "\n" if as_lines else ",\n")
    batches = watched(chain(shared, json_batches(finder.unseen())), lines_of, shown_as_found=True)
    if as_lines:
        stream.write_lines(batches)
    else:
        stream.write_document("whiteouts", batches, lambda: entries.unknown_fields(view))

"""`layerctl inspect changes`."""

from __future__ import annotations

from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING

import click

from layerctl.cli.common import find_stack, layer_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_merged import tell_unknown
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.inspecting.opening import Opened, opened
from layerctl.render.errors import note
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import CHANGES

if TYPE_CHECKING:
    from layerctl.inspecting.changes import LayerChange
    from layerctl.render.json import Document


@click.command("changes", cls=WithExamples)
@layer_flags
@output_options(CHANGES, sorts=True)
@click.option(
    "--format", "letters", type=click.Choice(["docker"]), help="Use the format of docker diff."
)
@click.option(
    "--since", type=int, metavar="N", default=1, show_default=True,
    help="Compare the layers above N with the tree below them.",
)  # fmt: skip
@click.option("--content", is_flag=True, help="Compare file contents even if the times match.")
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    output: Output,
    letters: str | None,
    since: int,
    content: bool,
    target: str | None,
) -> None:
    """Show what the upper layer added, modified, deleted or renamed."""
    if letters is not None and (output.format is not Format.HUMAN or not output.whole):
        raise RequestError(
            "usage",
            "--format cannot be combined with other output options",
            hint="remove --format",
        )
    stack, notes, mount = find_stack(target, request)
    for text in notes:
        note(text)
    if not 0 < since < len(stack.layers):
        raise RequestError(
            "no-such-layer",
            _since_problem(len(stack.layers)),
            hint=f"layerctl inspect mount {target}"
            if target
            else "layerctl inspect changes --help",
        )
    with opened(stack, mount) as view:
        for text in view.notes:
            note(text)
        if output.whole and output.format in (Format.JSON, Format.JSONL):
            _stream(view, since, content=content, as_lines=output.format is Format.JSONL)
        else:
            _write(view, since, output, letters, content=content)
        tell_unknown(view)


def _since_problem(count: int) -> str:
    if count < 2:
        return "there is only one layer, and so nothing to compare"
    return "--since must be 1 here" if count == 2 else f"--since must be between 1 and {count - 1}"


def _write(view: Opened, since: int, output: Output, letters: str | None, *, content: bool) -> None:
    from layerctl.inspecting.changes import find
    from layerctl.inspecting.details import Reader
    from layerctl.render import changes
    from layerctl.render.details import KEYS, ORIGINS, detail_fields
    from layerctl.render.entries import unknown_fields
    from layerctl.render.progress import watched
    from layerctl.render.tree import write_lines

    found = watched(find(view, since, content=content), lambda _: 1, shown_as_found=False)
    if letters is not None:
        write_lines(changes.docker_lines(found))
        return

    def for_people() -> None:
        if not changes.print_changes(found, output.color):
            note("no changes")

    wanted = output.wanted(CHANGES) & KEYS
    reader = Reader(view.resolver, origins=bool(wanted & ORIGINS))

    def row(change: LayerChange) -> Document:
        document = changes.change_document(change)
        if not wanted or change.type is None:
            return document
        return document | detail_fields(reader.at(change.path, change.layer), wanted)

    with closing(reader):
        write(
            CHANGES,
            map(row, found),
            output,
            human=for_people,
            beside=lambda: unknown_fields(view),
        )


def _stream(view: Opened, since: int, *, content: bool, as_lines: bool) -> None:
    """Write changes as JSON, as they are found, with a second process where it is worth it."""
    from layerctl.inspecting.changes import TreeComparison
    from layerctl.inspecting.parallel import Team, spread
    from layerctl.render import entries, stream
    from layerctl.render.changes import json_batches
    from layerctl.render.progress import lines_of, watched

    comparison = TreeComparison(view, since, content=content)
    team = Team(comparison.report, comparison.merge, heavy=True)
    shared = spread(team, json_batches(comparison.others(team)), "\n" if as_lines else ",\n")
    batches = watched(
        chain(shared, json_batches(comparison.deleted())), lines_of, shown_as_found=True
    )
    if as_lines:
        stream.write_lines(batches)
    else:
        stream.write_document("changes", batches, lambda: entries.unknown_fields(view))

"""`layerctl inspect changes`."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import chain

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import end, opened_stack
from layerctl.cli.inspect_stream import streams, write_stream
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.inspecting.changes import Changes, LayerChange
from layerctl.inspecting.details import Reader
from layerctl.inspecting.opening import Opened
from layerctl.render.changes import change_document, docker_lines, print_changes
from layerctl.render.details import KEYS, ORIGINS, detail_fields
from layerctl.render.entries import unknown_fields
from layerctl.render.errors import note
from layerctl.render.json import Document
from layerctl.render.output import Format, Output, write
from layerctl.render.progress import watched
from layerctl.render.stream import speller
from layerctl.render.tables import CHANGES
from layerctl.render.tree import write_lines
from layerctl.usecases.inspect import check_since


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
) -> int:
    """Show what the upper layer added, modified, deleted or renamed."""
    if letters is not None and (output.format is not Format.HUMAN or not output.whole):
        raise RequestError(
            "usage",
            "--format cannot be combined with other output options",
            hint="remove --format",
        )
    with opened_stack(target, request, partial(check_since, since, target)) as view:
        search = Changes(view, since, content=content)
        if streams(output):
            write_stream(view, CHANGES, search, speller(change_document, ("path",)), output)
        else:
            _write(view, search, output, letters)
        return end(view)


def _write(view: Opened, search: Changes, output: Output, letters: str | None) -> None:
    batches = watched(search, len, shown_as_found=False)
    found = chain.from_iterable(batches)
    if letters is not None:
        write_lines(docker_lines(found))
        return

    def for_people() -> None:
        if not print_changes(found, output.color):
            note("no changes")

    wanted = output.wanted(CHANGES) & KEYS
    reader = Reader(view.resolver, origins=bool(wanted & ORIGINS))

    def row(change: LayerChange) -> Document:
        document = change_document(change)
        if not wanted or change.type is None:
            return document
        return document | detail_fields(reader.at(change.path, change.layer), wanted)

    rows = map(row, found)
    with closing(reader):
        write(CHANGES, rows, output, human=for_people, beside=lambda: unknown_fields(view))

"""`layerctl inspect changes`."""

from __future__ import annotations

from contextlib import closing
from functools import partial
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
from layerctl.errors import RequestError
from layerctl.inspecting.changes import Changes, LayerChange
from layerctl.inspecting.details import Reader
from layerctl.inspecting.filters import Paths
from layerctl.inspecting.opening import Opened
from layerctl.render.changes import change_document, docker_lines, print_changes, sum_documents
from layerctl.render.columns import Listing
from layerctl.render.details import KEYS, ORIGINS, detail_fields
from layerctl.render.entries import unknown_fields
from layerctl.render.errors import note
from layerctl.render.json import Document
from layerctl.render.output import Format, Output, write
from layerctl.render.progress import watched
from layerctl.render.stream import speller
from layerctl.render.tables import CHANGE_SUMS, CHANGES
from layerctl.render.tree import write_lines
from layerctl.usecases.inspect import check_changing, check_since, target_and_path


def _listing(_: Output, given: dict[str, Any]) -> Listing:
    return CHANGE_SUMS if given["summary"] else CHANGES


@click.command("changes", cls=WithExamples)
@layer_flags
@output_options(CHANGES, CHANGE_SUMS, which=_listing, sorts=True)
@click.option(
    "--format", "letters", type=click.Choice(["docker"]), help="Use the format of docker diff."
)
@click.option(
    "--since", type=int, metavar="N", default=None,
    help="Compare the layers above N with the tree below them (default: 1).",
)  # fmt: skip
@click.option("--layer", type=int, metavar="N", help="Show what layer N alone changes.")
@click.option("--summary", is_flag=True, help="Count the changes of each kind.")
@click.option("--glob", metavar="PATTERN", help=GLOB_HELP)
@click.option("--content", is_flag=True, help="Compare file contents even if the times match.")
@click.argument("arguments", nargs=-1, metavar="[TARGET] [PATH]", shell_complete=merged_arguments)
def command(
    *,
    request: Request,
    output: Output,
    letters: str | None,
    since: int | None,
    layer: int | None,
    summary: bool,
    glob: str | None,
    content: bool,
    arguments: tuple[str, ...],
) -> int:
    """Show what the upper layer added, modified, deleted or renamed.

    With PATH, show only what changed there and below.
    """
    if letters is not None and (summary or output.format is not Format.HUMAN or not output.whole):
        raise RequestError(
            "usage",
            "--format cannot be combined with other output options",
            hint="remove --format",
        )
    target, path = target_and_path(request, arguments)
    first, last = _span(since, layer)
    check = partial(check_since, last) if layer is None else partial(check_changing, layer)
    with opened_stack(target, request, partial(check, target)) as view:
        wanted = Paths(path or "", glob) if path or glob is not None else None
        search = Changes(view, last, content=content, top=first, wanted=wanted)
        if summary:
            _sum_up(view, search, output)
        elif streams(output):
            write_stream(view, CHANGES, search, speller(change_document, ("path",)), output)
        else:
            _write(view, search, output, letters)
        return end(view)


def _span(since: int | None, layer: int | None) -> tuple[int, int]:
    """Return the topmost layer whose changes to show, and the first below those. Raises."""
    if since is None:
        return (0, 1) if layer is None else (layer, layer + 1)
    if layer is not None:
        raise RequestError(
            "usage",
            "--since and --layer cannot be combined",
            hint="use --since for all layers above N, --layer for one layer",
        )
    return 0, since


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
    reader = Reader(search.now, origins=bool(wanted & ORIGINS))

    def row(change: LayerChange) -> Document:
        document = change_document(change)
        if not wanted or change.type is None:
            return document
        return document | detail_fields(reader.at(change.path, change.layer - search.top), wanted)

    rows = map(row, found)
    with closing(reader):
        write(CHANGES, rows, output, human=for_people, beside=lambda: unknown_fields(view))


def _sum_up(view: Opened, search: Changes, output: Output) -> None:
    batches = watched(search, len, shown_as_found=False)

    def size(change: LayerChange) -> int:
        if "size" not in wanted:
            return 0
        details = reader.at(change.path, change.layer - search.top)
        return 0 if details is None else details.status.st_size

    wanted = output.wanted(CHANGE_SUMS)
    with closing(Reader(search.now, origins=False)) as reader:
        rows = sum_documents(chain.from_iterable(batches), size)
    if not rows and output.format is Format.HUMAN:
        note("no changes")
        return
    write(CHANGE_SUMS, rows, output, beside=lambda: unknown_fields(view))

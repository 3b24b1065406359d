"""What `inspect changes` and `diff` share: changes shown, summed up, or written as a patch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Any

import click

from layerctl.cli.common import add_options
from layerctl.cli.inspect_common import GLOB_HELP
from layerctl.cli.inspect_stream import streams, write_stream
from layerctl.errors import RequestError
from layerctl.inspecting.changes import Changes, LayerChange
from layerctl.inspecting.details import Details, Reader
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.texts import FileDiff, diffs
from layerctl.inspecting.two_trees import Differences
from layerctl.render.changes import change_document, docker_lines, print_changes, sum_documents
from layerctl.render.columns import Listing
from layerctl.render.details import KEYS, ORIGINS, detail_fields
from layerctl.render.entries import unknown_fields
from layerctl.render.errors import note
from layerctl.render.json import Document
from layerctl.render.output import Format, Output, write
from layerctl.render.pager import paged
from layerctl.render.patch import print_patch, print_stats, stat_document
from layerctl.render.progress import watched
from layerctl.render.stream import speller
from layerctl.render.tables import CHANGE_STATS, CHANGE_SUMS, CHANGES
from layerctl.render.tree import write_lines

_OPTIONS = (
    click.option("--summary", is_flag=True, help="Count the changes of each kind."),
    click.option("--stat", is_flag=True, help="Count the changed lines of each file."),
    click.option(
        "--diff", "patch", is_flag=True,
        help="Show unified diffs of text files; of others, sizes and digests.",
    ),
    click.option("--glob", metavar="PATTERN", help=GLOB_HELP),
)  # fmt: skip


def change_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --summary, --stat, --diff and --glob to a command."""
    return add_options(function, function, _OPTIONS)


def listing_of_changes(output: Output, given: dict[str, Any]) -> Listing:
    """Return what the arguments of a command ask for. Raises RequestError for several at once."""
    flags = {"--format": "letters", "--summary": "summary", "--stat": "stat", "--diff": "patch"}
    asked = [flag for flag, name in flags.items() if given.get(name)]
    if len(asked) > 1:
        raise RequestError(
            "usage", f"{asked[0]} and {asked[1]} cannot be combined", hint=f"remove {asked[0]}"
        )
    alone = [flag for flag in asked if flag in ("--format", "--diff")]
    if alone and (output.format is not Format.HUMAN or not output.whole):
        raise RequestError(
            "usage",
            f"{alone[0]} cannot be combined with other output options",
            hint=f"remove {alone[0]}",
        )
    return {"--summary": CHANGE_SUMS, "--stat": CHANGE_STATS}.get("".join(asked), CHANGES)


def write_changes(
    view: Opened,
    search: Changes | Differences,
    listing: Listing,
    output: Output,
    *,
    patch: bool,
    letters: str | None = None,
) -> None:
    """Write what a search finds, as it was asked for; `view` tells what limits the answer."""
    if listing is CHANGES and streams(output):
        write_stream(view, CHANGES, search, speller(change_document, ("path",)), output)
        return
    batches = watched(search, len, shown_as_found=False)
    found = chain.from_iterable(batches)
    if letters is not None:
        write_lines(docker_lines(found))
    elif patch:
        _patch(search, found, output)
    else:
        with closing(Reader(search.now, origins=bool(output.wanted(listing) & ORIGINS))) as reader:
            rows, human = _rows(search, listing, found, output, reader)
            write(listing, rows, output, human=human, beside=lambda: unknown_fields(view))


def _rows(
    search: Changes | Differences,
    listing: Listing,
    found: Iterator[LayerChange],
    output: Output,
    reader: Reader,
) -> tuple[Iterable[Document], Callable[[], None] | None]:
    """Return the rows of a listing, and what writes them for people where a table does not."""
    wanted = output.wanted(listing)

    def details(change: LayerChange) -> Details | None:
        if change.type is None:
            return None
        return reader.at(change.path, change.layer - search.top)

    def row(change: LayerChange) -> Document:
        document = change_document(change)
        if wanted & KEYS:
            document |= detail_fields(details(change), wanted & KEYS)
        return document

    def human() -> None:
        if not print_changes(found, output.color):
            note("no changes")

    if listing is CHANGES:
        return map(row, found), human
    if listing is CHANGE_STATS:
        counted = _diffs(search, found)
        return map(stat_document, counted), lambda: print_stats(counted, output.color)

    def size(change: LayerChange) -> int:
        known = details(change) if "size" in wanted else None
        return 0 if known is None else known.status.st_size

    return sum_documents(found, size), None


def _diffs(search: Changes | Differences, found: Iterable[LayerChange]) -> Iterator[FileDiff]:
    by_path = sorted(found, key=lambda change: change.path)
    return diffs(by_path, search.was, search.now, top=search.top)


def _patch(search: Changes | Differences, found: Iterable[LayerChange], output: Output) -> None:
    with paged():
        if not print_patch(_diffs(search, found), output.color):
            note("no changes")

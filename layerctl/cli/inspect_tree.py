"""The listing of `layerctl inspect merged`: entries or their sums."""

from __future__ import annotations

from typing import Any

from layerctl.cli.inspect_common import end
from layerctl.cli.inspect_stream import streams, write_stream
from layerctl.inspecting.details import Reader
from layerctl.inspecting.filters import Filter
from layerctl.inspecting.listing import Listing
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.tree import EntryKind, MergedDir
from layerctl.inspecting.summary import summarise
from layerctl.inspecting.usage import measure
from layerctl.render.details import KEYS, ORIGINS, detail_fields
from layerctl.render.entries import JsonEntries, entry_documents, unknown_fields, write_paths
from layerctl.render.json import Document
from layerctl.render.output import Format, Output, write
from layerctl.render.progress import watched
from layerctl.render.stream import separator
from layerctl.render.summary import summary_documents
from layerctl.render.tables import ENTRIES, SUMMARY
from layerctl.render.tree import print_tree


def write_tree(
    view: Opened,
    path: str,
    output: Output,
    *,
    summary: bool,
    max_depth: int | None,
    **narrowing: Any,
) -> int:
    """Write the entries, or how much of them each layer provides; return the exit code."""
    search = Listing(view.resolver, path, max_depth, Filter(**narrowing))
    search.root().close()  # refuse what is not a directory before writing anything
    if summary:
        _write_summary(view, search, output)
    elif streams(output):
        lines = JsonEntries(view.layers, separator(as_document=output.as_json)).lines
        write_stream(view, ENTRIES, search, lines, output)
    else:
        _write_entries(view, search, output)
    return end(view)


def _write_entries(view: Opened, search: Listing, output: Output) -> None:
    shown = output.sort is None and not output.reverse
    chunks = watched(search, lambda chunk: len(chunk.entries), shown_as_found=shown)
    if output.format is Format.NUL and output.whole:
        write_paths(chunks)
        return
    wanted = output.wanted(ENTRIES) & KEYS
    reader = Reader(view.resolver, origins=bool(wanted & ORIGINS))

    def more(directory: MergedDir, name: str, kind: EntryKind) -> Document:
        if not wanted:
            return {}
        return detail_fields(reader.of(directory, name, kind.layer, kind.alias), wanted)

    write(
        ENTRIES,
        entry_documents(chunks, view.layers, more),
        output,
        human=lambda: print_tree(chunks, view.layers, output.color),
        beside=lambda: unknown_fields(view),
    )


def _write_summary(view: Opened, search: Listing, output: Output) -> None:
    counted = watched(search, lambda chunk: len(chunk.entries), shown_as_found=False)
    rows = summary_documents(summarise(view, counted), view.layers)
    if "hidden" in output.wanted(SUMMARY) and search.is_whole:
        for row, sums in zip(rows, measure(view).tally.by_layer(), strict=True):
            row["hidden"] = sums.hidden
    write(SUMMARY, rows, output)

"""Writing what is found while it is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.sharing import shared
from layerctl.inspecting.walk import Search
from layerctl.render import stream
from layerctl.render.columns import Listing
from layerctl.render.entries import unknown_fields
from layerctl.render.output import Format, Output
from layerctl.render.progress import lines_of, watched

T = TypeVar("T")


def streams(output: Output) -> bool:
    """Tell whether rows are written as they are found, by `write_stream`."""
    return output.whole and output.format in (Format.JSON, Format.JSONL)


def write_stream(
    view: Opened,
    listing: Listing,
    search: Search[T],
    spell: Callable[[T], list[str]],
    output: Output,
) -> None:
    """Write what is found as JSON, at once, with a second process where that pays."""
    batches = watched(
        shared(search, spell, stream.separator(as_document=output.as_json)),
        lines_of,
        shown_as_found=True,
    )
    if output.as_json:
        stream.write_document(listing.key, batches, lambda: unknown_fields(view))
    else:
        stream.write_lines(batches)

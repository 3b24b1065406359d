"""Whiteouts and opaque directories, for scripts and for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from layerctl.codecs.escape import printable
from layerctl.render.json import Document, path_fields

if TYPE_CHECKING:
    from layerctl.inspecting.whiteouts import Whiteout


def whiteout_document(whiteout: Whiteout) -> Document:
    """Return one whiteout in its published shape."""
    document: Document = path_fields("path", whiteout.path)
    document |= path_fields("marker", whiteout.marker)
    document["layer"] = whiteout.layer
    document["kind"] = whiteout.kind
    document["hides"] = list(whiteout.hides)
    document["effective"] = whiteout.effective
    document["reason"] = whiteout.reason
    if whiteout.by is not None:
        document["by"] = whiteout.by
    return document


def print_whiteouts(whiteouts: Iterable[Whiteout]) -> int:
    """Print a table; return how many there were."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerctl.render.human import console

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("LAYER", "KIND", "EFFECT"):
        table.add_column(title, no_wrap=True)
    for title in ("PATH", "WHY"):
        table.add_column(title, overflow="fold")
    count = 0
    for whiteout in whiteouts:
        count += 1
        table.add_row(
            str(whiteout.layer),
            whiteout.kind,
            whiteout.effective,
            Text(printable(whiteout.path) or "."),
            Text(printable(whiteout.reason)),
        )
    if count:
        console().print(table)
    return count

"""What each layer provides, as a table or a document."""

from __future__ import annotations

from collections.abc import Sequence

from layerctl.codecs.escape import printable
from layerctl.inspecting.summary import Share
from layerctl.render.json import Document, path_fields


def summary_document(shares: Sequence[Share], layers: Sequence[str]) -> Document:
    """Return the shares; `share` is that of the entries, from 0 to 1, `bytes` of files."""
    total = sum(share.entries for share in shares)
    return {
        "summary": [
            {
                "index": index,
                **path_fields("path", layers[index]),
                "entries": share.entries,
                "bytes": share.size,
                "share": round(share.entries / total, 4) if total else 0.0,
            }
            for index, share in enumerate(shares)
        ]
    }


def print_summary(shares: Sequence[Share], layers: Sequence[str]) -> None:
    """Print a table: layer, entries, bytes, share of the entries."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerctl.render.human import console

    total = sum(share.entries for share in shares)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("LAYER", "ENTRIES", "BYTES", "SHARE"):
        table.add_column(title, justify="right")
    table.add_column("DIRECTORY", overflow="fold")
    for index, share in enumerate(shares):
        part = f"{100 * share.entries / total:.1f}%" if total else "-"
        table.add_row(
            str(index), str(share.entries), str(share.size), part, Text(printable(layers[index]))
        )
    console().print(table)

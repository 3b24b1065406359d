"""What each layer provides, as rows."""

from __future__ import annotations

from collections.abc import Sequence

from layerctl.inspecting.summary import Share
from layerctl.render.json import Document, path_fields


def summary_documents(shares: Sequence[Share], layers: Sequence[str]) -> list[Document]:
    """Return what each layer provides, and its part of all entries and of all bytes."""
    entries = sum(share.entries for share in shares)
    size = sum(share.size for share in shares)
    return [
        {
            "index": index,
            **path_fields("path", layers[index]),
            "entries": share.entries,
            "share": round(share.entries / entries, 4) if entries else 0.0,
            "bytes": share.size,
            "bytes_share": round(share.size / size, 4) if size else 0.0,
        }
        for index, share in enumerate(shares)
    ]

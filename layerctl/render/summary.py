"""What each layer provides, as rows."""

from __future__ import annotations

from collections.abc import Sequence

from layerctl.inspecting.summary import Share
from layerctl.render.json import Document, path_fields


def summary_documents(shares: Sequence[Share], layers: Sequence[str]) -> list[Document]:
    """Return the shares; `share` is that of the entries, from 0 to 1, `bytes` of files."""
    total = sum(share.entries for share in shares)
    return [
        {
            "index": index,
            **path_fields("path", layers[index]),
            "entries": share.entries,
            "bytes": share.size,
            "share": round(share.entries / total, 4) if total else 0.0,
        }
        for index, share in enumerate(shares)
    ]

"""Whiteouts and opaque directories, as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from layerctl.inspecting.resolvers.markers import Whiteout
from layerctl.render.json import Document, path_fields


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


def sum_documents(whiteouts: Iterable[Whiteout]) -> list[Document]:
    """Return a row for each layer, kind and effect of markers: how many there are."""
    sums = Counter((one.layer, one.kind, one.effective) for one in whiteouts)
    return [
        {"layer": layer, "kind": kind, "effective": effective, "count": count}
        for (layer, kind, effective), count in sorted(sums.items())
    ]

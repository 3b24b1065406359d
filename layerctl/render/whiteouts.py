"""Whiteouts and opaque directories, for scripts and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

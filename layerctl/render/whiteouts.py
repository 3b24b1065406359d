"""Whiteouts and opaque directories, for scripts and for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from layerctl.render.json import Document, dumps, path_fields
from layerctl.render.stream import shared_batches

if TYPE_CHECKING:
    from layerctl.inspecting.resolvers.markers import Whiteout


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


def json_batches(whiteouts: Iterable[Whiteout | list[str]]) -> Iterator[list[str]]:
    """Turn whiteouts into batches of JSON text; common parts are encoded once."""
    ends: dict[tuple[object, ...], str] = {}

    def spell(whiteout: Whiteout) -> str:
        path, marker, *rest = whiteout
        if not path.isascii() or not marker.isascii():
            return dumps(whiteout_document(whiteout), indent=None)
        key = tuple(rest)
        end = ends.get(key)
        if end is None:
            document = whiteout_document(whiteout)
            del document["path"], document["marker"]
            end = ends[key] = ", " + dumps(document, indent=None)[1:]
        return f'{{"path": {encode_basestring(path)}, "marker": {encode_basestring(marker)}{end}'

    return shared_batches(whiteouts, spell)

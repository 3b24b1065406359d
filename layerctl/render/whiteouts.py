"""Whiteouts and opaque directories, for scripts and for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from layerctl.render.json import Document, dumps, path_fields

if TYPE_CHECKING:
    from layerctl.inspecting.whiteouts import Whiteout


#: How many objects are gathered before they are written.
_BATCH = 1000


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
    """Turn whiteouts into batches of JSON text; what many have in common is spelled once."""
    ends: dict[tuple[object, ...], str] = {}
    batch: list[str] = []
    for whiteout in whiteouts:
        if isinstance(whiteout, list):  # a mark of a shared walk
            yield batch
            yield whiteout
            batch = []
            continue
        path, marker, *rest = whiteout
        if path.isascii() and marker.isascii():
            key = tuple(rest)
            end = ends.get(key)
            if end is None:
                document = whiteout_document(whiteout)
                del document["path"], document["marker"]
                end = ends[key] = ", " + dumps(document, indent=None)[1:]
            batch.append(
                f'{{"path": {encode_basestring(path)}, "marker": {encode_basestring(marker)}{end}'
            )
        else:
            batch.append(dumps(whiteout_document(whiteout), indent=None))
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    yield batch

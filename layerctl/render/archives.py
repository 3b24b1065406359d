"""What was written to archives and read from them: documents, and lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from layerctl.codecs.escape import printable
from layerctl.kernel.streams import Digests
from layerctl.render.json import Document, path_fields
from layerctl.rules.words import size_of
from layerctl.working.archives.entries import Archive
from layerctl.working.archives.unpacking import Unpacked

_MEDIA = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}


def _digests(digests: Digests) -> Document:
    return {
        "diff_id": digests.diff,
        "digest": digests.blob,
        "compression": digests.compression,
        "size": digests.size,
    }


def packed_document(archive: Archive) -> Document:
    """Return what was packed."""
    return {
        **path_fields("path", archive.path),
        **_digests(archive.digests),
        "media_type": "application/vnd.oci.image.layer.v1.tar"
        + _MEDIA[archive.digests.compression],
        "entries": archive.entries,
        "notes": list(archive.notes),
    }


def packed_lines(archive: Archive) -> Iterator[str]:
    """Yield what was packed, for people."""
    digests = archive.digests
    yield f"diff id  {digests.diff}"
    yield f"digest   {digests.blob}"
    yield f"{archive.entries:,} entries, {size_of(digests.size)}"


def unpacked_document(path: str, layers: Sequence[Unpacked], *, is_image: bool) -> Document:
    """Return what was unpacked: the layers are those of an image, or the only one."""
    rows = [
        {
            **path_fields("path", layer.path),
            **_digests(layer.digests),
            "entries": layer.entries,
            "notes": list(layer.notes),
        }
        for layer in layers
    ]
    return {**path_fields("path", path), "is_image": is_image, "layers": rows}


def unpacked_lines(layers: Sequence[Unpacked]) -> Iterator[str]:
    """Yield what was unpacked, for people."""
    for layer in layers:
        yield f"diff id  {layer.digests.diff}"
        yield f"digest   {layer.digests.blob}"
        yield f"{layer.entries:,} entries in {printable(layer.path)}"

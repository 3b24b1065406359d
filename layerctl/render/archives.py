"""What was written to archives and read from them: documents, and lines for people."""

from __future__ import annotations

from collections.abc import Iterator

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


def unpacked_document(unpacked: Unpacked) -> Document:
    """Return what was unpacked."""
    return {
        **path_fields("path", unpacked.path),
        **_digests(unpacked.digests),
        "entries": unpacked.entries,
        "notes": list(unpacked.notes),
    }


def unpacked_lines(unpacked: Unpacked) -> Iterator[str]:
    """Yield what was unpacked, for people."""
    yield f"diff id  {unpacked.digests.diff}"
    yield f"digest   {unpacked.digests.blob}"
    yield f"{unpacked.entries:,} entries in {printable(unpacked.path)}"

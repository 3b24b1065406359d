"""Paths of a mount that were copied from one file: what they show, and how to say it. Pure."""

from __future__ import annotations

from enum import StrEnum


class Aliasing(StrEnum):
    """How a path is affected by another path to the same lower file.

    Overlay has one inode for two copies of one lower file, created when the first is looked up.
    FIRST is that path; STALE is the other if its lookup then fails, SHARED if it shows the first
    one's file. INDEXED is a lower file that was changed through another of its names, which the
    index records; BAD_INDEX is a name whose lookup fails because of a wrong entry in the index;
    ABSENT is a name that the mount treats as absent because its layers were changed while it was
    mounted. In aufs, PSEUDO_LINK is a name of a hard-linked file that shows the copy made for
    another name.
    """

    FIRST = "first-path"
    STALE = "second-path"
    SHARED = "shared-inode"
    INDEXED = "indexed"
    BAD_INDEX = "bad-index"
    ABSENT = "remembered-absent"
    PSEUDO_LINK = "pseudo-link"


_ALIASING = {
    Aliasing.FIRST: "'{other}' was copied from the same file: the one that is looked up first is "
    "shown",
    Aliasing.STALE: "'{other}' was copied from the same file: after a lookup of that, a lookup "
    "here fails with ESTALE",
    Aliasing.SHARED: "'{other}' was copied from this file: after a lookup of that, this shows it "
    "as well",
    Aliasing.INDEXED: "it was changed under another of its names, and the index has the changed "
    "file",
    Aliasing.BAD_INDEX: "the index has something else in its place, so a lookup fails with EIO",
    Aliasing.ABSENT: "the layers were changed while mounted, and the mount remembers that the name "
    "did not exist",
    Aliasing.PSEUDO_LINK: "it was changed under another of its names, and the copy is shown until "
    "unmounted (a pseudo-link)",
}


def aliasing(what: Aliasing, other: str) -> str:
    """Return how another path to the same file affects a path of an overlay."""
    return _ALIASING[what].format(other=other)

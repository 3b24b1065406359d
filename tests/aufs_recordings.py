"""Recordings of real aufs: what the kernel showed, beside the branches it showed it from."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from tests.support import SHARED

AUFS = SHARED / "aufs"


def recording(name: str) -> dict[str, Any]:
    """Return one recording."""
    document: dict[str, Any] = json.loads((AUFS / f"{name}.json").read_text())
    return document


def snapshot(name: str, label: str) -> dict[str, Any]:
    """Return one snapshot of a recording."""
    (found,) = [
        step
        for step in recording(name)["steps"]
        if step["kind"] == "snapshot" and step["label"] == label
    ]
    assert isinstance(found, dict)
    return found


def unpack(name: str, label: str, target: Path) -> None:
    """Unpack a recording's branches."""
    with tarfile.open(AUFS / f"{name}.{label}.tar") as archive:
        # Not by the parameter `filter`, which came with Python 3.11.4.
        archive.extraction_filter = lambda member, _: member
        archive.extractall(target)


def shown(snapshot: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the merged tree as the kernel showed it, by path."""
    return {entry["path"]: entry for entry in snapshot["merged"]}

"""What came with the project to test against: recordings of kernels, and reports of failures.

`data/aufs` holds what a real aufs 6.1 showed, `data/overlay` what five kernels answered to the
same mounts, `data/failures` texts of people whose mount failed, each with its cause.
"""

from __future__ import annotations

import io
import json
import lzma
import shlex
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"


def names(room: str) -> list[str]:
    """Return the names of the recordings of a directory."""
    return sorted(file.name.removesuffix(".json.xz") for file in (DATA / room).glob("*.json.xz"))


def text(name: str) -> str:
    """Return a file as text, unpacked where it is kept so."""
    packed = DATA / f"{name}.xz"
    return lzma.open(packed, "rt").read() if packed.exists() else (DATA / name).read_text()


def recording(name: str) -> dict[str, Any]:
    """Return one recording, `aufs/objects` or `overlay/6.18`."""
    document: dict[str, Any] = json.loads(text(f"{name}.json"))
    return document


def snapshot(name: str, label: str) -> dict[str, Any]:
    """Return one snapshot of a recording of aufs."""
    (found,) = [
        step
        for step in recording(f"aufs/{name}")["steps"]
        if step["kind"] == "snapshot" and step["label"] == label
    ]
    assert isinstance(found, dict)
    return found


def unpack(name: str, label: str, target: Path) -> None:
    """Unpack the branches of a recording of aufs."""
    raw = lzma.decompress((DATA / "aufs" / f"{name}.{label}.tar.xz").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        # Not by the parameter `filter`, which came with Python 3.11.4.
        archive.extraction_filter = lambda member, _: member
        archive.extractall(target)


def shown(snapshot: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the merged tree as the kernel showed it, by path."""
    return {entry["path"]: entry for entry in snapshot["merged"]}


def aufs_calls(step: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield `(options, target)` of every aufs mount or remount of a step."""
    if step["kind"] == "mount-syscall":
        yield step["data"], "./merged"
        return
    lexer = shlex.shlex(step["command"], posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set(";&|"):
            if command[:1] == ["mount"] and ("aufs" in command or "remount" in " ".join(command)):
                options = command[command.index("-o") + 1] if "-o" in command else ""
                yield options, command[-1]
            command = []
        else:
            command.append(word)

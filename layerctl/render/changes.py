"""Changes, for scripts, for people and in the format of `docker diff`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from layerctl.codecs.escape import printable
from layerctl.inspecting.changes import LayerChange
from layerctl.render.human import WORDS, paint, wants_colour
from layerctl.render.json import Document, path_fields
from layerctl.render.tree import write_lines

_LETTERS = {"added": "A", "deleted": "D", "renamed": "A"}


def change_document(change: LayerChange) -> Document:
    """Return one change in its published shape."""
    document: Document = path_fields("path", change.path)
    document["change"] = change.change
    document["type"] = change.type
    document["was"] = change.was
    document["layer"] = change.layer
    document["differs"] = list(change.differs)
    if change.source is not None:
        document |= path_fields("from", change.source)
    return document


def sum_documents(
    changes: Iterable[LayerChange], size_of: Callable[[LayerChange], int]
) -> list[Document]:
    """Return one row per kind of change: the number of changes, and the size of their files."""
    sums: dict[str, list[int]] = {}
    for change in changes:
        one = sums.setdefault(change.change, [0, 0])
        one[0] += 1
        one[1] += size_of(change) if change.type == "file" else 0
    words = [word for word in WORDS if word in sums]
    return [{"change": word, "count": sums[word][0], "size": sums[word][1]} for word in words]


def docker_lines(changes: Iterable[LayerChange]) -> list[str]:
    """Return `docker diff`'s lines: A, C or D and the path, sorted, parents of changes as C."""
    letters: dict[str, str] = {}
    for change in changes:
        if change.source is not None:
            letters[change.source] = "D"
            if change.change == "deleted":
                continue
        letters[change.path] = _LETTERS.get(change.change, "C")
    for path in list(letters):
        while "/" in path:
            path = path.rpartition("/")[0]  # noqa: PLW2901 - up to the root
            letters.setdefault(path, "C")
    return [f"{letters[path]} /{printable(path)}" for path in sorted(letters)]


def print_changes(changes: Iterable[LayerChange], color: str) -> int:
    """Print one line per change, sorted by path; return their number."""
    found = sorted(changes, key=lambda change: change.path)
    colour = wants_colour(color)
    write_lines([change_line(change, colour=colour) for change in found])
    return len(found)


def change_line(change: LayerChange, *, colour: bool = False) -> str:
    """Return one change in words."""
    word = paint(f"{change.change:<9}", WORDS[change.change], colour=colour)
    path = printable(change.path) + ("/" if change.type == "dir" else "")
    return f"{word}  {path}{_remark(change)}"


def _remark(change: LayerChange) -> str:
    if change.source is not None:
        return f"  (from {printable(change.source)})"
    if change.change == "replaced":
        return f"  (a {change.type} in place of a {change.was})"
    if change.change == "unchanged":
        return "  (copied up, unchanged)"
    if change.differs:
        return f"  ({', '.join(change.differs)})"
    return ""

"""A run: its plan, and what became of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from layerctl.codecs.escape import printable
from layerctl.inspecting.changes import LayerChange
from layerctl.kernel.sandbox import How, Point, Tree
from layerctl.render import json
from layerctl.render.changes import change_document
from layerctl.render.json import Document, path_fields

_WORDS = {
    How.LAYER: "layered",
    How.SAME: "the same layer",
    How.BIND: "not layered",
    How.COPY: "a copy, dropped",
    How.PROC: "a new one",
}


def point_document(point: Point) -> Document:
    """Return one mount point as a row."""
    return {**path_fields("target", point.target), "how": _WORDS[point.how],
            "why": point.why or _why(point), "flags": list(point.flags)}  # fmt: skip


def _why(point: Point) -> str:
    if point.skeleton:
        return "in parts, because of what is mounted in it"
    if point.how is How.COPY:
        return "a file that is a mount point"
    if point.how is How.PROC:
        return "of the run's own processes"
    return ""


def show_plan(tree: Tree, *, as_json: bool) -> None:
    """Show what is layered and what is not, and why."""
    rows = [point_document(point) for point in tree.points]
    if as_json:
        json.write({"points": rows})
        return
    width = max(len(printable(point.target)) for point in tree.points)
    for point, row in zip(tree.points, rows, strict=True):
        flags = "read-only" if "ro" in point.flags else ""
        remarks = ", ".join(filter(None, (row["why"], flags)))
        line = f"{printable(point.target):<{width}}  {row['how']:<15}  {remarks}".rstrip()
        sys.stdout.write(f"{line}\n")
    if tree.user:
        sys.stdout.write("files of other users cannot be written: they have no number in the user "
                         "namespace\n")  # fmt: skip
    if tree.whole:
        rest = "read-only" if tree.read_only else "as it is, and writes there are real"
        sys.stdout.write(f"everything else is {rest}\n")


def result_document(
    command: Sequence[str], code: int, result: str, kept: str | None, tree: Tree
) -> Document:
    """Return what became of a run, without its changes."""
    bare = [one for one in tree.points if one.how in (How.BIND, How.COPY)]
    return {
        **json.path_list_fields("command", command),
        "exit_code": code,
        "result": result,
        **path_fields("kept", kept),
        "not_layered": [point_document(one) for one in bare],
    }


def write_result(document: Document, found: Iterable[LayerChange], notes: Iterable[str]) -> None:
    """Write the JSON document of a run."""
    changes = [change_document(one) for one in found]
    json.write({**document, "changes": changes, "notes": list(map(printable, notes))})

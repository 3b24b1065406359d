"""What changed inside files: as a patch, or counted by file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from layerctl.codecs.escape import printable
from layerctl.inspecting.texts import FileDiff, Side
from layerctl.render.changes import change_line
from layerctl.render.human import paint, wants_colour
from layerctl.render.json import Document, path_fields
from layerctl.render.tree import write_lines
from layerctl.rules.words import size_of

_COLOURS = {"+": "32", "-": "31", "@": "36"}
#: The maximum number of signs for the lines of a file.
_SIGNS = 40


def stat_document(diff: FileDiff) -> Document:
    """Return how much of a file changed, in its published shape."""
    change, before, after = diff.change, diff.before, diff.after
    document: Document = path_fields("path", change.path)
    document["change"] = change.change
    is_text = not diff.is_binary and (before is not None or after is not None)
    document["added"] = diff.added if is_text else None
    document["removed"] = diff.removed if is_text else None
    document["size"] = None if after is None else after.size
    document["was_size"] = None if before is None else before.size
    if after is not None:
        document["digest"] = f"sha256:{after.digest}"
    if before is not None:
        document["was_digest"] = f"sha256:{before.digest}"
    return document


def print_stats(diffs: Iterable[FileDiff], color: str) -> None:
    """Print how much of each file changed, as git diff --stat does, and all together."""
    found = [diff for diff in diffs if not diff.is_same]
    colour = wants_colour(color)
    names = [printable(diff.change.path) for diff in found]
    most = max((diff.added + diff.removed for diff in found), default=0)
    width = max(map(len, names), default=0)
    lines = []
    for name, diff in zip(names, found, strict=True):
        if diff.is_binary:
            lines.append(f" {name:<{width}} | binary {_size(diff.before)} -> {_size(diff.after)}")
            continue
        scale = min(1.0, _SIGNS / most) if most else 1.0
        signs = [
            paint(sign * min(number, max(1, round(number * scale))), code, colour=colour)
            for sign, number, code in (("+", diff.added, "32"), ("-", diff.removed, "31"))
            if number
        ]
        number = diff.added + diff.removed
        lines.append(f" {name:<{width}} | {number:>{len(str(most))}} {''.join(signs)}".rstrip())
    added, removed = sum(diff.added for diff in found), sum(diff.removed for diff in found)
    lines.append(f" files: {len(found)}, lines added: {added}, removed: {removed}")
    write_lines(lines)


def print_patch(diffs: Iterable[FileDiff], color: str) -> int:
    """Print a patch for patch(1), with a comment for what no patch can do; return its length.

    On a terminal what is not printable is escaped, as everywhere.
    """
    colour, terminal = wants_colour(color), sys.stdout.isatty()
    count = 0
    for diff in diffs:
        for line in _patch(diff):
            shown = "\t".join(map(printable, line.split("\t"))) if terminal else line
            text = paint(shown, _COLOURS.get(line[:1], ""), colour=colour and line[0] in _COLOURS)
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
            count += 1
    return count


def _patch(diff: FileDiff) -> Iterator[str]:
    """Yield the lines of one file's patch."""
    change, before, after = diff.change, diff.before, diff.after
    if (before is None and after is None) or diff.is_same:
        yield f"# {change_line(change)}"
        return
    if diff.is_binary:
        yield f"# {change_line(change)}"
        for word, side in (("was", before), ("is", after)):
            if side is not None:
                yield f"#   {word:<3} {side.size} bytes, sha256:{side.digest}"
        return
    yield "--- " + (
        "/dev/null" if before is None else f"a/{printable(change.source or change.path)}"
    )
    yield "+++ " + ("/dev/null" if after is None else f"b/{printable(change.path)}")
    for line in diff.hunks:
        yield from line.removesuffix("\n").split("\n")


def _size(side: Side | None) -> str:
    return "nothing" if side is None else size_of(side.size)

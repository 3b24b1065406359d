"""What changed inside files: unified diffs of texts, sizes and digests of everything else."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from layerctl.errors import NotFoundError
from layerctl.inspecting.changes import LayerChange
from layerctl.inspecting.contents import open_file
from layerctl.inspecting.resolvers.resolver import Resolver
from layerctl.kernel import layers

#: A larger file counts as binary, since difflib takes quadratic time.
_LONGEST = 1 << 20
#: The words for what leaves a file as it was.
_SAME = ("unchanged", "metadata")


class Side(NamedTuple):
    """The contents of a file; `lines` is None for binary files, and empty for long ones."""

    size: int
    digest: str
    lines: list[str] | None


class FileDiff(NamedTuple):
    """What one change did inside a file; a side is None if there was, or is, no regular file.

    `hunks` are the lines of a unified diff without its first two, each with its end of line.
    """

    change: LayerChange
    before: Side | None
    after: Side | None
    hunks: tuple[str, ...] = ()

    @property
    def is_binary(self) -> bool:
        """Whether there is no diff by lines."""
        return any(side is not None and side.lines is None for side in (self.before, self.after))

    @property
    def is_same(self) -> bool:
        """Whether the contents are the same, or nothing has any."""
        if self.before is None or self.after is None:
            return self.before is self.after
        return self.before.digest == self.after.digest

    @property
    def added(self) -> int:
        """How many lines were added."""
        return sum(line.startswith("+") for line in self.hunks)

    @property
    def removed(self) -> int:
        """How many lines were removed."""
        return sum(line.startswith("-") for line in self.hunks)


def diffs(
    changes: Iterable[LayerChange], was: Resolver, now: Resolver, *, top: int = 0
) -> Iterator[FileDiff]:
    """Yield what each change did inside a file; `top` is the layer that `now` begins with."""
    for change in changes:
        before = after = None
        if change.was == "file" and change.change not in _SAME:
            before = _side(was, change.source or change.path, change.layer - top)
        if change.type == "file" and change.change not in _SAME:
            after = _side(now, change.path, change.layer - top)
        yield FileDiff(change, before, after, _hunks(before, after))


def _side(resolver: Resolver, path: str, layer: int) -> Side | None:
    """Read one version of a file, None if it cannot be read, which is noted."""
    digest, size, kept = hashlib.sha256(), 0, bytearray()
    try:
        for block in layers.blocks(open_file(resolver, path)):
            digest.update(block)
            size += len(block)
            if size <= _LONGEST:
                kept += block
    except NotFoundError:
        return None
    except OSError as error:
        resolver.reasons.add(layer, path, error)
        return None
    return Side(size, digest.hexdigest(), _lines(bytes(kept)) if size <= _LONGEST else None)


def _lines(data: bytes) -> list[str] | None:
    """Return a text as lines with newlines; None if it is binary."""
    if b"\0" in data:
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()
    return lines if last == "\n" else [*lines, last[:-1]]


def _hunks(before: Side | None, after: Side | None) -> tuple[str, ...]:
    old = [] if before is None else before.lines
    new = [] if after is None else after.lines
    if old is None or new is None or old == new:
        return ()
    hunks = list(difflib.unified_diff(old, new))[2:]
    return tuple(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in hunks
    )

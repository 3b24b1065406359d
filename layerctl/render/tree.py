"""The merged tree, drawn for people, with a colour per layer and a legend."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from layerctl.codecs.escape import printable
from layerctl.inspecting.resolvers.tree import EntryKind
from layerctl.render.human import layer_code, paint, signs, wants_colour

if TYPE_CHECKING:
    from layerctl.inspecting.listing import Chunk

_SUFFIXES = {"d": "/", "l": "@", "p": "|", "s": "=", "c": "%", "b": "%", "w": "%"}


class Tree:
    """Draws chunks of a walk, line by line; a directory appears once something in it does."""

    def __init__(self, layers: Sequence[str], *, colour: bool) -> None:
        self._layers = layers
        self._colour = colour
        self._signs = signs()
        self._more: list[bool] = []  # for each open directory, whether siblings follow it

    def legend(self) -> list[str]:
        """Return one line per layer."""
        width = len(str(len(self._layers) - 1))
        return [
            self._paint(f"{index:>{width}}  {printable(path)}", index)
            for index, path in enumerate(self._layers)
        ]

    def lines(self, chunk: Chunk) -> list[str]:
        """Return the lines of one chunk."""
        del self._more[chunk.depth - 1 :]
        stem = "".join(self._signs.trunk if more else "    " for more in self._more)
        lines = []
        final = len(chunk.entries) - 1
        for position, (name, kind) in enumerate(chunk.entries):
            end = chunk.ended and position == final
            sign = self._signs.last if end else self._signs.branch
            lines.append(f"{stem}{sign}{self._label(name, kind)}")
            if position == final:
                self._more.append(not end)
        return lines

    def _label(self, name: str, kind: EntryKind) -> str:
        text = printable(name) + _SUFFIXES.get(kind.letter, "")
        origin = ",".join(map(str, kind.merged)) if kind.merged else str(kind.layer)
        label = self._paint(text, kind.layer) + f"  [{origin}]"
        if not kind.reachable:
            label += f"  (not reachable: {printable(kind.why)})"
        if kind.reachable and kind.why:
            label += f"  ({printable(kind.why)})"
        if kind.uncertain:
            label += "  (uncertain)"
        return label

    def _paint(self, text: str, layer: int) -> str:
        return paint(text, layer_code(layer), colour=self._colour)


def print_tree(chunks: Iterable[Chunk], layers: Sequence[str], color: str) -> None:
    """Print the legend and the tree; `color` is auto, always or never."""
    tree = Tree(layers, colour=wants_colour(color))
    write_lines(tree.legend())
    for chunk in chunks:
        write_lines(tree.lines(chunk))


def write_lines(lines: Sequence[str]) -> None:
    """Write lines to standard output; escape what its encoding lacks."""
    if lines:
        text = "\n".join(lines) + "\n"
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, "backslashreplace"))

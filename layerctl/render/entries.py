"""Merged entries and path stories, for scripts and for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from json.encoder import encode_basestring
from operator import itemgetter
from typing import TYPE_CHECKING

from layerctl.codecs.escape import is_text
from layerctl.inspecting.resolvers.tree import TYPES, Alias, EntryKind, MergedDir
from layerctl.render.details import KEYS, detail_fields
from layerctl.render.json import Document, dumps, path_fields, path_list_fields

if TYPE_CHECKING:
    from layerctl.inspecting.listing import Chunk
    from layerctl.inspecting.opening import Opened
    from layerctl.inspecting.story import Story


def story_document(story: Story, layers: Sequence[str]) -> Document:
    """Return a path's story in its published shape."""
    document: Document = path_fields("path", story.path)
    document["visible"] = story.visible
    document["type"] = None if story.letter is None else TYPES[story.letter]
    document["layer"] = story.provider
    document |= path_fields("provider", None if story.provider is None else layers[story.provider])
    document["reachable"] = story.reachable
    if story.alias is not None:
        document |= alias_fields(story.alias)
        if story.alias.by_order:
            document["uncertain"] = True
    if story.link is not None:
        document |= path_fields("link", story.link)
    if story.data is not None:
        document["data"] = {"layer": story.data[0], **path_fields("path", story.data[1])}
    document["layers"] = [
        {
            "index": layer.index,
            **path_fields("path", layer.directory),
            "state": layer.state,
            "reason": layer.reason,
            **path_fields("file", layer.file),
            "type": layer.type,
            **detail_fields(layer.details, KEYS),
        }
        for layer in story.layers
    ]
    document["story"] = list(story.lines)
    return document


def alias_fields(alias: Alias) -> Document:
    """Return the published fields of another path to the same file: id, path and reason."""
    document: Document = {"cause": alias.what.value}
    if alias.of_two:
        document |= path_fields("other", alias.other)
    document["why"] = alias.why
    return document


def entry_fields(kind: EntryKind, layers: Sequence[str]) -> Document:
    """Return all published fields of an entry except its path."""
    document: Document = {"type": TYPES[kind.letter], "layer": kind.layer}
    document |= path_fields("provider", layers[kind.layer])
    document["reachable"] = kind.reachable
    if kind.merged:
        document |= path_list_fields("merged_from", [layers[index] for index in kind.merged])
    if kind.alias is not None:
        document |= alias_fields(kind.alias)
    elif kind.why:
        document["why"] = kind.why
    if kind.uncertain:
        document["uncertain"] = True
    return document


#: Adds fields to an entry's document while its directory is open.
More = Callable[[MergedDir, str, EntryKind], Document]


def entry_documents(
    chunks: Iterable[Chunk], layers: Sequence[str], more: More
) -> Iterator[Document]:
    """Yield every entry in its published shape."""
    for chunk in chunks:
        for name, kind in chunk.entries:
            path = path_fields("path", chunk.directory.child_path(name))
            yield path | entry_fields(kind, layers) | more(chunk.directory, name, kind)


def unknown_fields(opened: Opened) -> Document:
    """Return the limits of an answer: `notes`, and in `unknown` what could not be read."""
    document: Document = {"notes": list(opened.notes)} if opened.notes else {}
    reasons = opened.resolver.reasons
    if reasons.kept:
        document["unknown"] = [
            {"layer": one.layer, **path_fields("path", one.path), "reason": one.reason}
            for one in reasons.kept
        ]
        document["unknown_more"] = reasons.more
    return document


_NAME, _KIND = itemgetter(0), itemgetter(1)


class JsonEntries:
    """Turns chunks of a walk into JSON text, one object per entry.

    Parts common to a kind of entry, or to a directory, are encoded once. `separator` is written
    between two objects.
    """

    def __init__(self, layers: Sequence[str], separator: str) -> None:
        self._layers = layers
        self._separator = separator
        self._ends: dict[EntryKind, str] = {}

    def lines(self, chunk: Chunk) -> list[str]:
        """Return one JSON object per entry, without newlines, or all of them in one string."""
        directory, entries = chunk.directory, chunk.entries
        if not is_text(directory.path):
            return [self._slowly(directory, name, kind) for name, kind in entries]
        head = '{"path": ' + encode_basestring(directory.path and directory.path + "/")[:-1]
        names = list(map(_NAME, entries))
        together = "".join(names)
        if not is_text(together):
            return [self._line(directory, head, name, kind) for name, kind in entries]
        if encode_basestring(together) != f'"{together}"':
            names = [encode_basestring(name)[1:-1] for name in names]
        kinds = list(map(_KIND, entries))
        ends = [self._end(kind) for kind in dict.fromkeys(kinds)]
        if len(ends) == 1:
            end = ends[0]
            return [head + f'"{end}{self._separator}{head}'.join(names) + f'"{end}']
        known = self._ends
        return [f'{head}{name}"{known[kind]}' for name, kind in zip(names, kinds, strict=True)]

    def _line(self, directory: MergedDir, head: str, name: str, kind: EntryKind) -> str:
        if is_text(name):
            return head + encode_basestring(name)[1:] + self._end(kind)
        return self._slowly(directory, name, kind)

    def _end(self, kind: EntryKind) -> str:
        end = self._ends.get(kind)
        if end is None:
            end = ", " + dumps(entry_fields(kind, self._layers), indent=None)[1:]
            self._ends[kind] = end
        return end

    def _slowly(self, directory: MergedDir, name: str, kind: EntryKind) -> str:
        path = path_fields("path", directory.child_path(name))
        return dumps(path | entry_fields(kind, self._layers), indent=None)


def write_paths(chunks: Iterable[Chunk]) -> None:
    """Write the path of every entry, each followed by a NUL, as raw bytes."""
    for chunk in chunks:
        above = chunk.directory.path and chunk.directory.path + "/"
        names = ("\0" + above).join([name for name, _ in chunk.entries])
        sys.stdout.buffer.write(os.fsencode(f"{above}{names}\0"))

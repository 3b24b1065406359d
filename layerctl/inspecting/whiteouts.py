"""Whiteouts and opaque directories: where they are, what they hide, whether they have an effect.

First the merged tree is walked, which finds every marker that can have an effect. Directories that
the merged tree does not show are searched afterwards, layer by layer. The readers of overlay and
aufs decide what a marker is, and whether it has an effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from layerctl.inspecting.filters import Paths
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import Aufs
from layerctl.inspecting.resolvers.aufs_markers import AufsMarkers
from layerctl.inspecting.resolvers.markers import Hidden, MarkerReader, Places, Whiteout
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.overlay_markers import OverlayMarkers
from layerctl.inspecting.resolvers.resolver import Reasons
from layerctl.inspecting.resolvers.tree import MergedDir, Part
from layerctl.inspecting.walk import Node, Search
from layerctl.kernel import layers


class Whiteouts(Search[list[Whiteout]]):
    """Every whiteout and opaque directory of a stack, those of the merged tree first.

    With `wanted`, only those that hide one of these paths.
    """

    def __init__(self, opened: Opened, *, thorough: bool, wanted: Paths | None = None) -> None:
        resolver = opened.resolver
        super().__init__(resolver.reasons, layers.directories_at_once(len(resolver.roots)))
        self.resolver = resolver
        self.markers = _markers(opened, thorough=thorough)
        self._wanted = wanted
        self._hidden: list[Hidden] = []
        self._moved: set[tuple[int, str]] = set()

    def root(self) -> Node[list[Whiteout]]:
        """Return the root of the merged tree."""
        return _Marked(self, self.resolver.root())

    def told(self, whiteouts: Iterable[Whiteout]) -> list[Whiteout]:
        """Return the whiteouts that are wanted."""
        wanted = self._wanted
        if wanted is None:
            return list(whiteouts)
        return [one for one in whiteouts if wanted.wants(one.path) or wanted.lie_in(one.path)]

    def state(self) -> tuple[object, ...]:
        """Return, in the second process of a shared walk, the state that the first needs."""
        return (*super().state(), self._hidden, self._moved)

    def merge(self, reasons: Reasons, *rest: Any) -> None:
        """Take, in the first process, the `state` of the second."""
        super().merge(reasons)
        hidden, moved = rest
        known = {(one.layer, one.path) for one in self._hidden}
        self._hidden += [one for one in hidden if (one.layer, one.path) not in known]
        self._moved |= moved

    def note(self, directory: MergedDir, name: str, below: MergedDir | None) -> None:
        """Record which layers a merged directory excludes, and which of its parts were moved."""
        merged: list[int] = []
        if below is not None:
            merged = [part.layer for part in below.parts]
            for part in self.markers.moved(directory, name, below):
                self._moved.add((part.layer, part.path))
        for part in directory.parts:
            if part.layer in merged:
                continue
            kind = part.names.get(name)
            if kind is None or kind.letter != "d":
                continue
            cause, by = self.markers.hider(directory, name, part.layer) or _end(merged)
            place = f"{part.path}/{name}" if part.path else name
            self._hidden.append(Hidden(part.layer, place, cause, by))

    def note_hidden(self, directory: MergedDir, shown: set[str]) -> None:
        """Record the directories of lower layers that the merged one does not show at all."""
        lower = {name for part in directory.parts[1:] for name in self.markers.directories(part)}
        for name in lower - shown:
            self.note(directory, name, None)

    def rest(self) -> Iterator[list[Whiteout]]:
        """Yield the markers in what the merged tree does not show, after the walk."""
        for hidden in sorted(self._hidden, key=lambda one: (one.layer, one.path)):
            yield from self._unseen(hidden)

    def _unseen(self, hidden: Hidden) -> Iterator[list[Whiteout]]:
        """Yield the markers below a directory that is not shown: none has an effect."""
        layer = hidden.layer
        root, reasons = self.resolver.roots[layer], self.resolver.reasons
        reason = f"inside a directory that {hidden.cause} hides"
        pending = [hidden.path]
        while pending:
            path = pending.pop()
            if (layer, path) in self._moved:
                continue
            try:
                fd = layers.open_path(path, root)
            except OSError as error:
                reasons.add(layer, path, error)
                continue
            part = Part(layer, fd, path)
            try:
                yield self.told(self.markers.unseen(part, reason, hidden.by))
            finally:
                os.close(fd)
            names = self.markers.directories(part)
            pending += [f"{path}/{name}" for name in sorted(names, reverse=True)]


class _Marked(Node[list[Whiteout]]):
    """A directory of the merged tree, whose markers are found."""

    __slots__ = ("_directory", "_entries", "_search")

    def __init__(self, search: Whiteouts, directory: MergedDir) -> None:
        super().__init__()
        self._search = search
        self._directory = directory

    def _find(self) -> Iterator[list[Whiteout] | Node[list[Whiteout]]]:
        search, directory = self._search, self._directory
        markers = search.markers
        entries = self._entries = markers.read(directory)
        if not directory.path:
            yield search.told(markers.on_root(directory))
        if found := markers.inside(directory):
            yield search.told(found)
        several = len(directory.parts) > 1
        for name, kind in entries:
            _, below = search.resolver.enter(directory, name, kind)
            if below is None or several or markers.may_bear(below):
                search.note(directory, name, below)
                yield search.told(markers.on_directory(directory, name, below))
            if below is not None:
                yield _Marked(search, below)
        if several:
            search.note_hidden(directory, {name for name, _ in entries})

    def close(self) -> None:
        self._directory.close()

    def reopen(self, above: _Marked | None) -> None:
        self._search.resolver.reopen(self._directory, None if above is None else above._directory)

    def width(self) -> int:
        return len(self._entries)


def _end(merged: list[int]) -> tuple[str, int | None]:
    """Return what excludes a directory, unless something prevents it."""
    if merged:
        return f"the directory in layer {merged[-1]}", merged[-1]
    return "a lookup that is denied", None


def _markers(opened: Opened, *, thorough: bool) -> MarkerReader:
    places = Places(opened.layers)
    resolver = opened.resolver  # only the readers of its type are imported
    if isinstance(resolver, Aufs):
        return AufsMarkers(resolver, opened.stack, places)
    assert isinstance(resolver, Overlay)  # noqa: S101 - there is no third kind
    return OverlayMarkers(resolver, places, thorough=thorough)

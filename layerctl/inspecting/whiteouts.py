"""Whiteouts and opaque directories: where they stand, what they hide, whether they matter.

First the merged tree is walked, which meets every marker that can have an effect. What lies in
directories that the merged tree does not show is searched afterwards, layer by layer. What a
marker is, and whether it counts, is told by the marks of overlay or aufs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from layerctl.inspecting.marks import BEGIN, END, HOLE
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.parallel import Team
from layerctl.inspecting.resolvers.aufs import META, Aufs
from layerctl.inspecting.resolvers.markers import Hidden, Marks, Places, Whiteout
from layerctl.inspecting.resolvers.tree import MergedDir, Part
from layerctl.inspecting.walk import Step, descent
from layerctl.kernel import layers

#: What reading a directory costs, in entries, where only few of its names are kept.
_DIRECTORY = 20


class Finder:
    """Finds the markers of one stack."""

    def __init__(self, opened: Opened, *, thorough: bool) -> None:
        self._resolver = opened.resolver
        self._marks = _marks(opened, thorough=thorough)
        self._hidden: list[Hidden] = []
        self._moved: set[tuple[int, str]] = set()

    def report(self) -> object:
        """Return, in the second process of a shared walk, what the first must know of it."""
        return self._hidden, self._moved, self._resolver.reasons

    def merge(self, report: Any) -> None:
        """Take what the second process reports."""
        hidden, moved, reasons = report
        known = {(one.layer, one.path) for one in self._hidden}
        self._hidden += [one for one in hidden if (one.layer, one.path) not in known]
        self._hidden.sort(key=lambda one: (one.layer, one.path))
        self._moved |= moved
        self._resolver.reasons.merge(reasons)

    def merged(self, team: Team) -> Iterator[Whiteout | list[str]]:
        """Yield every marker in the merged tree, and the marks of a shared walk."""
        resolver, marks = self._resolver, self._marks
        root = resolver.root()
        first = marks.read(root)
        team.divide(len(first))
        yield from marks.on_root(root)
        way = descent(resolver)
        way.push(Step(root, iter(first)))
        yield from marks.inside(root)
        while way:
            directory, entries = way.last
            below: MergedDir | None = None
            for name, kind in entries:
                _, below = resolver.enter(directory, name, kind)
                if below is None or len(directory.parts) > 1 or marks.may_mark(below):
                    self._note(directory, name, below)
                    yield from marks.on_directory(directory, name, below)
                if below is not None:
                    break
            if below is None:
                way.pop()
                if len(way) == team.depth:
                    yield END
                continue
            if len(way) == team.depth:
                if not team.mine():
                    below.close()
                    yield HOLE
                    continue
                yield BEGIN
            way.push(Step(below, iter(marks.read(below))))
            team.worked(sum(len(part.names) for part in below.parts) + _DIRECTORY)
            yield from marks.inside(below)

    def _note(self, directory: MergedDir, name: str, below: MergedDir | None) -> None:
        """Note which layers a merged directory leaves out, and which of its parts were moved."""
        merged: list[int] = []
        if below is not None:
            merged = [part.layer for part in below.parts]
            for part in self._marks.moved(directory, name, below):
                self._moved.add((part.layer, part.path))
        for part in directory.parts:
            if part.layer in merged:
                continue
            kind = part.names.get(name)
            if kind is None or kind.letter != "d":
                continue
            cause, by = self._marks.hider(directory, name, part.layer) or _end(merged)
            place = f"{part.path}/{name}" if part.path else name
            self._hidden.append(Hidden(part.layer, place, cause, by))

    def unseen(self) -> Iterator[Whiteout]:
        """Yield the markers in what the merged tree does not show, once that was walked."""
        for hidden in self._hidden:
            yield from self._unseen(hidden)

    def _unseen(self, hidden: Hidden) -> Iterator[Whiteout]:
        """Yield the markers below a directory that is not shown: none has an effect."""
        layer = hidden.layer
        root, reasons = self._resolver.roots[layer], self._resolver.reasons
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
                yield from self._marks.unseen(part, reason, hidden.by)
            finally:
                os.close(fd)
            names = [name for name, kind in part.names.items() if kind.letter == "d"]
            pending += [
                f"{path}/{n}" for n in sorted(names, reverse=True) if not n.startswith(META)
            ]


def _end(merged: list[int]) -> tuple[str, int | None]:
    """Return what leaves a directory out if nothing prevents it."""
    if merged:
        return f"the directory in layer {merged[-1]}", merged[-1]
    return "a lookup that is denied", None


def _marks(opened: Opened, *, thorough: bool) -> Marks:
    places = Places(opened.layers)
    resolver = opened.resolver
    if isinstance(resolver, Aufs):
        from layerctl.inspecting.resolvers.aufs_markers import AufsMarks

        return AufsMarks(resolver, opened.stack, places)
    from layerctl.inspecting.resolvers.overlay import Overlay
    from layerctl.inspecting.resolvers.overlay_markers import OverlayMarks

    assert isinstance(resolver, Overlay)  # noqa: S101 - there is no third kind
    return OverlayMarks(resolver, places, thorough=thorough)


def find(opened: Opened, *, thorough: bool) -> Iterator[Whiteout]:
    """Yield every whiteout and opaque directory of a stack, those of the merged tree first."""
    finder = Finder(opened, thorough=thorough)
    for one in finder.merged(Team(finder.report, finder.merge, alone=True)):
        if isinstance(one, Whiteout):
            yield one
    yield from finder.unseen()

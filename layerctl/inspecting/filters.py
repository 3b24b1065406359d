"""Narrowing a walk of the merged tree: by layer, by type, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from layerctl.inspecting.resolvers.tree import Entry, EntryKind, MergedDir


class Filter:
    """What of a merged tree is wanted. Without arguments, all of it.

    A `glob` with a slash in it is matched against the whole path, else against the name alone;
    `*` matches anything, including a slash.
    """

    def __init__(
        self,
        *,
        layer: int | None = None,
        types: Iterable[str] = (),
        glob: str | None = None,
    ) -> None:
        self._layer = layer
        self._types = frozenset(types)
        self._whole_path = glob is not None and "/" in glob
        self._glob = None if glob is None else re.compile(translate(glob.lstrip("/")))
        self._kinds: dict[EntryKind, bool] = {}

    @property
    def wants_all(self) -> bool:
        """Whether nothing is left out."""
        return self._layer is None and not self._types and self._glob is None

    def apply(self, directory: MergedDir, entries: list[Entry]) -> list[Entry]:
        """Return those entries of a directory that are wanted."""
        return [
            (name, kind)
            for name, kind in entries
            if self._wants(kind) and self._matches(directory, name)
        ]

    def _wants(self, kind: EntryKind) -> bool:
        wanted = self._kinds.get(kind)
        if wanted is None:
            layers = kind.merged or (kind.layer,)
            wanted = (self._layer is None or self._layer in layers) and (
                not self._types or kind.type in self._types
            )
            self._kinds[kind] = wanted
        return wanted

    def _matches(self, directory: MergedDir, name: str) -> bool:
        if self._glob is None:
            return True
        text = directory.child_path(name) if self._whole_path else name
        return self._glob.match(text) is not None

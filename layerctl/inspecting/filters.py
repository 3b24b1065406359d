"""Filters for the merged tree: by layer, by type, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from layerctl.inspecting.resolvers.tree import Entry, EntryKind, MergedDir


class Paths:
    """The wanted paths: those from `path` down that match `glob`; by default all.

    A `glob` with a slash in it is matched against the whole path, else against the name alone;
    `*` matches anything, including a slash.
    """

    def __init__(self, path: str = "", glob: str | None = None) -> None:
        self._path = path
        self._inside = f"{path}/" if path else ""
        self._whole = glob is not None and "/" in glob
        self._glob = None if glob is None else re.compile(translate(glob.lstrip("/")))

    def wants(self, path: str) -> bool:
        """Tell whether a path is wanted."""
        return self.matches(path) and (path == self._path or path.startswith(self._inside))

    def lie_in(self, path: str) -> bool:
        """Tell whether all wanted paths are below a path."""
        return self._glob is None and self._path.startswith(f"{path}/")

    def matches(self, path: str) -> bool:
        """Tell whether a path matches the pattern, wherever it lies."""
        if self._glob is None:
            return True
        return self._glob.match(path if self._whole else path.rpartition("/")[2]) is not None


class Filter:
    """The wanted part of a merged tree; by default all of it.

    A `glob` is that of `Paths`.
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
        self._paths = None if glob is None else Paths(glob=glob)
        self._kinds: dict[EntryKind, bool] = {}

    @property
    def wants_all(self) -> bool:
        """Whether nothing is left out."""
        return self._layer is None and not self._types and self._paths is None

    def apply(self, directory: MergedDir, entries: list[Entry]) -> list[Entry]:
        """Return those entries of a directory that are wanted."""
        return [
            (name, kind)
            for name, kind in entries
            if self._wants(kind)
            and (self._paths is None or self._paths.matches(directory.child_path(name)))
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

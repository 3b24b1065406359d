"""Size, dates, owner and other details of entries: one stat per requested entry."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from layerctl.errors import NotFoundError
from layerctl.inspecting.resolvers.resolver import Found, Resolver
from layerctl.inspecting.resolvers.tree import Alias, MergedDir
from layerctl.inspecting.subtree import open_at
from layerctl.kernel import layers
from layerctl.rules.aliasing import Aliasing


class Details(NamedTuple):
    """What one object is like in the layer that provides it.

    `link` is the target of a symbolic link, `data` the layer and path of a metacopy file's data,
    `redirect` the path for the lookup in lower layers instead of its own.
    """

    status: os.stat_result
    link: str | None = None
    data: tuple[int, str] | None = None
    redirect: str | None = None


class Reader:
    """Reads details in a merged tree; with `origins` also the places of data and lower parts.

    What cannot be read is recorded in the resolver's reasons.
    """

    def __init__(self, resolver: Resolver, *, origins: bool) -> None:
        self._resolver = resolver
        self._origins = origins
        self._path = ""
        self._directory: MergedDir | None = None

    def close(self) -> None:
        """Close what is open."""
        if self._directory is not None:
            self._directory.close()
            self._directory = None

    def at(self, path: str, layer: int) -> Details | None:
        """Return the details of a path of the merged tree that `layer` provides."""
        above, _, name = path.rpartition("/")
        if self._directory is None or self._path != above:
            self.close()
            try:
                self._directory = open_at(self._resolver, above)
            except NotFoundError:
                return None
            self._path = above
        return self.of(self._directory, name, layer)

    def of(
        self, directory: MergedDir, name: str, layer: int, alias: Alias | None = None
    ) -> Details | None:
        """Return the details of a name in an open directory, None if they cannot be read.

        `alias` means that the mount shows another path's file in its place.
        """
        try:
            if alias is not None and alias.what is Aliasing.INDEXED:
                return self._read(self._resolver.index, alias.other, directory, name)
            if alias is not None and alias.what is Aliasing.SHARED:
                return self._shown_instead(directory, name)
            for part in directory.parts:
                if part.layer == layer and part.fd >= 0:
                    return self._read(part.fd, name, directory, name)
        except OSError as error:
            self._resolver.reasons.add(layer, directory.child_path(name), error)
        return None

    def _shown_instead(self, directory: MergedDir, name: str) -> Details | None:
        found = self._resolver.lookup(directory, name)
        found.close()
        if not found.parts:
            return None
        part = found.parts[0]
        above, _, base = part.path.rpartition("/")
        fd = layers.open_path(above, self._resolver.roots[part.layer])
        try:
            return self._read(fd, base, directory, name)
        finally:
            os.close(fd)

    def _read(self, fd: int, base: str, directory: MergedDir, name: str) -> Details | None:
        status = layers.status(base, fd)
        if status is None:
            return None
        link = os.readlink(base, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else None
        may_have = self._origins and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))
        found = self._resolver.lookup(directory, name) if may_have else Found()
        found.close()
        redirect = found.redirects[0][1] if found.redirects else None
        return Details(status, link, found.data, redirect)

"""Which paths of an overlay share an inode, and which lookups fail because of that.

The kernel keeps an inode for a copied-up file or directory under its origin in the lower layers
(ovl_get_inode and ovl_hash_bylower in inode.c). A second path to the same origin from another upper
file finds that inode, which is not its own, and gets ESTALE (ovl_verify_inode). So the path that is
looked up first is shown while its inode is in memory. The result is that of a walk: each directory
is listed, then its names are looked up in order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from layerctl.inspecting.resolvers.origins import Origins
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import Found, look_up
from layerctl.inspecting.resolvers.tree import Alias, Aliases, EntryKind, MergedDir, Part
from layerctl.kernel import layers
from layerctl.rules.aliasing import Aliasing

Identity = tuple[int, int]


class _Inode(NamedTuple):
    """One inode in the kernel's memory: what it was first looked up as."""

    path: str
    upper: Identity | None
    lower: Identity | None


def find(overlay: Overlay) -> Aliases:
    """Return the paths whose lookup fails, or shows another path, because of an earlier inode.

    A live mount is asked which path was first.
    """
    origins = overlay.origins
    if origins is None or overlay.blind or not overlay.settings.has_upper:
        return {}
    wanted = _wanted(overlay, origins)
    if wanted is None and not origins.names:
        return {}
    table = _Lookups(overlay, origins, wanted or set()).table()
    if overlay.mount >= 0:
        _settle(table, overlay.mount)
    return table


def _settle(table: Aliases, mount: int) -> None:
    """Ask a live mount, open at `mount`, what it has in memory, and so which path was first."""
    groups: dict[str, list[str]] = {}
    for directory, names in table.items():
        for name, alias in names.items():
            if alias.what in (Aliasing.STALE, Aliasing.SHARED):
                path = f"{directory}/{name}" if directory else name
                groups.setdefault(alias.other, []).append(path)
    for first, others in groups.items():
        if layers.cached(mount, first):
            for path in (first, *others):
                _put(table, path, _get(table, path)._replace(certain=True))
            continue
        shown = next((path for path in others if layers.cached(mount, path)), None)
        if shown is not None:
            for path in (first, *others):
                _put(table, path, Alias(Aliasing.STALE, shown, certain=True))
            _put(table, shown, Alias(Aliasing.FIRST, first, certain=True))


def _get(table: Aliases, path: str) -> Alias:
    above, _, name = path.rpartition("/")
    return table[above][name]


def _put(table: Aliases, path: str, alias: Alias) -> None:
    above, _, name = path.rpartition("/")
    table[above][name] = alias


class _Copies(NamedTuple):
    """What upper files say of where they were copied from.

    `numbers` are the inode numbers of those lower files, `again` those of them that have another
    path, too, `renamed` tells that an upper directory has a redirect.
    """

    numbers: set[int]
    again: frozenset[Identity]
    renamed: bool


def moved_copies(overlay: Overlay) -> frozenset[Identity]:
    """Return the lower files that an upper one was copied from, and that have another path.

    If what hides one there is removed, that path shows the upper file.
    """
    origins = overlay.origins
    return frozenset() if origins is None else _copies(overlay, origins, every=True).again


def _wanted(overlay: Overlay, origins: Origins) -> set[int] | None:
    """Search the upper layer for files that can have a second path.

    Returns None if there are none, else the inode numbers of lower files that could appear again.
    """
    found = _copies(overlay, origins, every=overlay.thorough)
    if found.again or found.renamed or (overlay.thorough and _lower_renames(overlay)):
        return found.numbers
    return None


def _lower_renames(overlay: Overlay) -> bool:
    """Tell whether a lower directory has a redirect, so that two paths can lead to one below."""
    return any(
        "redirect" in overlay.attribute_names(fd, path)
        for root in overlay.roots[overlay.first_lower :]
        for fd, path in layers.directories(root, lambda _, __: None)
    )


def _copies(overlay: Overlay, origins: Origins, *, every: bool) -> _Copies:
    """Read where upper files were copied from; without `every`, as far as the kernel notes it."""

    def unread(path: str, error: OSError) -> None:
        overlay.reasons.add(0, path, error)

    def unread_in(path: str) -> Callable[[str, OSError], None]:
        return lambda name, error: unread(f"{path}/{name}" if path else name, error)

    metacopy, origin = (overlay.settings.prefix + name for name in ("metacopy", "origin"))
    seen: set[Identity] = set()
    again: set[Identity] = set()
    renamed = False
    if every and not overlay.marks.first.keys() & {"metacopy", "origin", "redirect"}:
        return _Copies(set(), frozenset(), renamed)
    for fd, path in layers.directories(overlay.roots[0], unread):
        attributes = overlay.attribute_names(fd, path)
        renamed = renamed or "redirect" in attributes
        if not (overlay.marks.in_files(path) if every else "impure" in attributes):
            continue
        found = layers.with_attributes(fd, os.listdir(fd), (metacopy, origin), unread_in(path))
        for name, present in found.items():
            status = layers.status(name, fd)
            if status is None or layers.letter_of(status) in "dw":
                continue
            lower = None
            if metacopy in present:
                lower = _metadata_of(overlay, f"{path}/{name}")
            lower = lower or origins.of_file(fd, name, status)
            if lower is not None:
                identity = (lower.st_dev, lower.st_ino)
                if identity in seen or not stays(overlay, path, name, lower):
                    again.add(identity)
                seen.add(identity)
    return _Copies({number for _, number in seen}, frozenset(again), renamed)


def _metadata_of(overlay: Overlay, path: str) -> os.stat_result | None:
    """Return the lower file whose metadata an upper metacopy file changes, found by its path."""
    found = look_up(overlay, path)
    found.close()
    if found.origin is None:
        return None
    layer, place = found.origin
    return _status_of(overlay.roots[layer], place)


def stays(overlay: Overlay, path: str, name: str, lower: os.stat_result) -> bool:
    """Tell whether a lower file is found at the path of its copy, so that it is hidden by it."""
    for root in overlay.roots[overlay.first_lower :]:
        try:
            fd = layers.open_path(path, root)
        except OSError:
            continue
        try:
            status = layers.status(name, fd)
        finally:
            os.close(fd)
        if status is not None and os.path.samestat(status, lower):
            return True
    return False


class _Lookups:
    """Lookups of every name in the order of a walk through the mount, and their inodes."""

    def __init__(self, overlay: Overlay, origins: Origins, wanted: set[int]) -> None:
        self._overlay = overlay
        self._origins = origins
        self._wanted = wanted
        self._inodes: dict[Identity, _Inode] = {}
        self._table: Aliases = {}

    def table(self) -> Aliases:
        root = self._overlay.root()
        self._down(root)
        root.close()
        return self._table

    def _down(self, directory: MergedDir) -> None:
        entries = self._overlay.read(directory)
        kinds = dict(entries)
        below: dict[str, MergedDir] = {}
        self._list(directory, kinds, below)
        for name, kind in entries:
            if name not in below:
                self._meet(directory, name, kind, below)
            child = below.pop(name, None)
            if child is not None:
                self._down(child)
                child.close()

    def _list(
        self,
        directory: MergedDir,
        kinds: dict[str, EntryKind],
        below: dict[str, MergedDir],
    ) -> None:
        """Look up the names that a listing looks up, in its order (ovl_dir_read_merged).

        Names of the lowest layer come first, in its order. In a directory of only the upper layer,
        names that may be copies are looked up (ovl_dir_read_impure), and the first failure ends it.
        Otherwise a failure ends it if no name was listed since the previous failure, which
        getdents(2) then returns.
        """
        overlay, parts = self._overlay, directory.parts
        if directory.whiteouts:
            asking = [part for part in parts if overlay.looks_up(directory, part)]
        else:
            (part,) = parts
            impure = overlay.is_upper(part.layer) and "impure" in part.attributes
            asking = [part] if impure and (overlay.same_fs or overlay.xino) else []
        if not asking:
            return
        asked = {name for part in asking for name in part.names}
        listed = directory.whiteouts
        for name in dict.fromkeys(name for part in (parts[-1], *parts[:-1]) for name in part.names):
            kind = kinds.get(name)
            if kind is None and (name not in asked or not self._is_denied(asking, name)):
                continue  # a whiteout
            if kind is not None and (name not in asked or self._meet(directory, name, kind, below)):
                listed = True
            elif not listed:
                return
            else:
                listed = False

    @staticmethod
    def _is_denied(parts: list[Part], name: str) -> bool:
        """Tell whether a name is not listed because its lookup fails, not because of a whiteout."""
        for part in parts:
            if name in part.names:
                status = layers.status(name, part.fd)
                return status is not None and layers.letter_of(status) != "w"
        return False

    def _meet(
        self,
        directory: MergedDir,
        name: str,
        kind: EntryKind,
        below: dict[str, MergedDir],
    ) -> bool:
        """Look a name up; return whether that succeeds."""
        if not kind.reachable:
            return False
        path = directory.child_path(name)
        known = self._table.get(directory.path, {}).get(name)
        if known is not None:
            return known.what not in (Aliasing.STALE, Aliasing.BAD_INDEX)
        if kind.letter == "d":
            whole, child = self._overlay.enter(directory, name, kind)
            if whole is None or child is None:
                return False
            if not self._admit_directory(directory, name, path, child):
                child.close()
                return False
            below[name] = child
        elif self._matters(directory, name, kind):
            found = self._overlay.lookup(directory, name)
            if found.misplaced:
                alias = Alias(Aliasing.BAD_INDEX, "")
                self._table.setdefault(directory.path, {})[name] = alias
            elif not found.error and found.parts:
                self._admit_file(directory, name, path, found)
            found.close()
            if found.error:
                return False
            known = self._table.get(directory.path, {}).get(name)
            return known is None or known.what is not Aliasing.STALE
        return True

    def _matters(self, directory: MergedDir, name: str, kind: EntryKind) -> bool:
        """Tell whether a file can appear twice: an upper one, or the origin of one."""
        if self._overlay.is_upper(kind.layer):
            return True
        part = next(part for part in directory.parts if part.layer == kind.layer)
        status = layers.status(name, part.fd)
        return status is not None and (bool(self._origins.names) or status.st_ino in self._wanted)

    def _admit_directory(
        self, directory: MergedDir, name: str, path: str, child: MergedDir
    ) -> bool:
        upper = lower = None
        for part in child.parts:
            status = os.fstat(part.fd)
            identity = (status.st_dev, status.st_ino)
            if self._overlay.is_upper(part.layer):
                upper = identity
            else:
                lower = identity
                break
        key = lower if self._by_lower(upper, lower, links=1, indexed=child.indexed) else upper
        if key is None:
            return True
        known = self._inodes.setdefault(key, _Inode(path, upper, lower))
        if known.path == path or (known.upper, known.lower) == (upper, lower):
            return True
        if lower is None and known.lower is None and known.upper == upper:
            return True
        self._note(directory, name, Alias(Aliasing.STALE, known.path), known.path)
        return False

    def _admit_file(self, directory: MergedDir, name: str, path: str, found: Found) -> None:
        overlay = self._overlay
        part = found.parts[0]
        base = next(one for one in directory.parts if one.layer == part.layer)
        status = layers.status(name, base.fd) if overlay.is_upper(part.layer) else None
        upper = lower = None
        below: os.stat_result | None
        if status is not None:
            upper = (status.st_dev, status.st_ino)
            below = self._below(found) or self._origins.of_file(base.fd, name, status)
        else:
            below = _status_of(overlay.roots[part.layer], part.path)
        if upper is None and found.copied is not None:
            # The index has the copy of another name of the file.
            kept = layers.status(found.copied, self._origins.index)
            if kept is not None:
                upper = (kept.st_dev, kept.st_ino)
            alias = Alias(Aliasing.INDEXED, found.copied)
            self._table.setdefault(directory.path, {})[name] = alias
        if below is not None:
            lower = (below.st_dev, below.st_ino)
        links = 1 if below is None else below.st_nlink
        key = upper
        if self._by_lower(upper, lower, links=links, indexed=found.indexed):
            key = lower
        if key is None:
            return
        known = self._inodes.setdefault(key, _Inode(path, upper, lower))
        if known.path == path:
            return
        if (lower is not None and known.lower != lower) or (
            upper is not None and known.upper != upper
        ):
            self._note(directory, name, Alias(Aliasing.STALE, known.path), known.path)
        elif upper is None and known.upper is not None:
            self._note(directory, name, Alias(Aliasing.SHARED, known.path), known.path)

    def _below(self, found: Found) -> os.stat_result | None:
        """Return the lower file of a metacopy file, by its path."""
        if found.origin is None:
            return None
        layer, path = found.origin
        return _status_of(self._overlay.roots[layer], path)

    def _by_lower(
        self, upper: Identity | None, lower: Identity | None, *, links: int, indexed: bool
    ) -> bool:
        """Tell whether the kernel finds the inode by the lower file (ovl_hash_bylower)."""
        settings = self._overlay.settings
        if lower is None:
            return False
        if indexed or not settings.has_upper:
            return True
        if (upper is not None or not settings.indexed) and links > 1:
            return False
        return not (settings.verify and upper is not None)

    def _note(self, directory: MergedDir, name: str, alias: Alias, first: str) -> None:
        self._table.setdefault(directory.path, {})[name] = alias
        above, _, base = first.rpartition("/")
        path = directory.child_path(name)
        self._table.setdefault(above, {}).setdefault(base, Alias(Aliasing.FIRST, path))


def _status_of(root: int, path: str) -> os.stat_result | None:
    above, _, name = path.rpartition("/")
    try:
        fd = layers.open_path(above, root)
    except OSError:
        return None
    try:
        return layers.status(name, fd)
    finally:
        os.close(fd)

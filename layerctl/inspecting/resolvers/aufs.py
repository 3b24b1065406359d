"""The resolver of aufs: lookup and listing as in fs/aufs.

A lookup follows `au_lkup_dentry` and `au_do_lookup` in dentry.c, a listing `au_do_read_vdir` and
`fillvdir` in vdir.c, whiteouts whout.c (aufs 6.1). Unlike overlay, aufs skips a lower entry of
another type than the topmost one and continues below it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple

from layerctl.inspecting.resolvers.resolver import (
    Found,
    LowerReasons,
    Marker,
    Reasons,
    Stop,
    reopen,
)
from layerctl.inspecting.resolvers.tree import (
    Alias,
    Aliases,
    Entry,
    EntryKind,
    EntryKinds,
    MergedDir,
    Part,
)
from layerctl.kernel import layers
from layerctl.kernel.plinks import DIRECTORY, Copies, Copy
from layerctl.rules.aliasing import Aliasing

PREFIX = ".wh."
#: Marks the directory it is in as opaque (AUFS_WH_DIROPQ).
OPAQUE = ".wh..wh..opq"
#: How the names of aufs's own files start: .wh..wh.aufs, .wh..wh.plnk ...
META = ".wh..wh."
_CONFLICT = "a branch contains both it and its whiteout"


class AufsSettings(NamedTuple):
    """How one aufs reads its branches: whose whiteouts count, and whether they are shown.

    `links` are the branches in which it may keep the copy of a hard-linked file for all its names.
    """

    honours: tuple[bool, ...]
    shows_whiteouts: bool = False
    links: tuple[int, ...] = ()


def is_whiteout(name: str) -> bool:
    """Tell whether a name is that of a whiteout."""
    return name.startswith(PREFIX) and not name.startswith(META)


class Aufs:
    """One aufs's branches, opened: what it shows, name by name."""

    def __init__(self, roots: Sequence[int], settings: AufsSettings) -> None:
        self.roots = list(roots)
        self.settings = settings
        self.reasons = Reasons()
        # Attributes are nothing to aufs.
        self.thorough = self.metacopies = self.blind = False
        self.marker_prefix = PREFIX
        self.kinds = EntryKinds()
        #: The copies that a live mount shows for all names of a hard-linked file.
        self.copies = Copies((), -1)

    @property
    def aliases(self) -> Aliases:
        """No table: the mount is asked for each name (see `copies`)."""
        return {}

    @property
    def index(self) -> int:
        """No index: -1."""
        return -1

    def ask(self, mount: int) -> None:
        """Let a live mount, open at `mount`, tell which names show the copy of a file."""
        self.copies = Copies([(index, self.roots[index]) for index in self.settings.links], mount)

    def close(self) -> None:
        """Close what was opened besides the branches: nothing."""

    def below(self, since: int) -> Aufs:
        """Return a resolver for the branches from `since` down alone."""
        honours, shows, _ = self.settings
        lower = Aufs(self.roots[since:], AufsSettings(honours[since:], shows))
        lower.reasons = LowerReasons(self.reasons, since)
        return lower

    def root(self) -> MergedDir:
        """Return the root; an opaque marker in a branch's own directory is not asked for."""
        return MergedDir("", [Part(index, os.dup(fd), "") for index, fd in enumerate(self.roots)])

    def reopen(self, directory: MergedDir, above: MergedDir | None = None) -> None:
        """Open what was closed; `above` is an open directory that it is in."""
        reopen(self.roots, self.reasons, directory, above)

    def acts_on(self, part: Part, name: str) -> bool:
        """Tell whether a part that was read has a name, or a whiteout for it."""
        return name in part.names or PREFIX + name in part.names

    def marker(
        self, layer: int, fd: int, name: str, _status: os.stat_result | None
    ) -> Marker | None:
        """Return the whiteout for a name; where it counts, it must be a regular file."""
        status = layers.status(PREFIX + name, fd)
        if status is None:
            return None
        if not self.settings.honours[layer]:
            return Marker.IGNORED
        return Marker.NAME if layers.letter_of(status) == "f" else Marker.INVALID

    def is_metacopy(self, _part: Part, _name: str) -> bool:
        """Tell that no file has only metadata."""
        return False

    def lookup(self, directory: MergedDir, name: str) -> Found:
        """Look one name up in a merged directory."""
        found = Found()
        if name.startswith(PREFIX) and not self.settings.shows_whiteouts:
            found.error = errno.EPERM
            found.refused = f"aufs reserves names that start with '{PREFIX}'"
            return found
        try:
            self._lookup(directory, name, found)
            self._end_at_opaque(found)
            if self.copies and found.parts and not found.error and found.letter != "d":
                self._follow(directory, name, found)
        except OSError as error:
            found.error = error.errno or errno.EIO
            found.refused = error.strerror or "it cannot be read"
            self.reasons.add(directory.parts[0].layer, directory.child_path(name), error)
        return found

    def _lookup(self, directory: MergedDir, name: str, found: Found) -> None:
        for part in directory.parts:
            path = f"{part.path}/{name}" if part.path else name
            whited = self._whiteout(part, PREFIX + name, found)
            status = layers.status(name, part.fd)
            letter = None if status is None else layers.letter_of(status)
            if whited:
                found.stop = Stop("aufs", part.layer, path)
                if letter is not None and not found.parts:
                    found.error, found.refused = errno.EIO, _CONFLICT
                return
            if found.error:
                return
            if letter is None or (found.parts and letter != found.letter):
                continue  # another type than above: skipped, the search continues
            fd = layers.open_dir(name, part.fd) if letter == "d" else -1
            found.letter = letter
            found.parts.append(Part(part.layer, fd, path))
            if letter != "d":
                found.stop = Stop(letter, part.layer, path)
                return
            if self._whiteout(found.parts[-1], OPAQUE, found):
                found.opaque = part.layer

    def _copy_of(self, directory: MergedDir, name: str, layer: int) -> Copy | None:
        """Return the copy that is shown for a name which a lower branch holds (aufs's plink.c)."""
        part = next(part for part in directory.parts if part.layer == layer)
        status = layers.status(name, part.fd)
        if status is None or status.st_nlink < 2:
            return None
        return self.copies.shown(directory.child_path(name), layer)

    def _follow(self, directory: MergedDir, name: str, found: Found) -> None:
        copy = self._copy_of(directory, name, found.parts[0].layer)
        if copy is not None:
            found.parts = [Part(copy.layer, -1, f"{DIRECTORY}/{copy.name}")]
            found.alias = Alias(Aliasing.PSEUDO_LINK, copy.name)

    def _follow_all(self, directory: MergedDir, merged: dict[str, EntryKind]) -> None:
        """Follow the pseudo-links in a listing."""
        for name, kind in merged.items():
            if kind.letter == "d" or not kind.reachable or kind.layer <= self.copies.topmost:
                continue
            copy = self._copy_of(directory, name, kind.layer)
            if copy is not None:
                alias = Alias(Aliasing.PSEUDO_LINK, copy.name)
                merged[name] = EntryKind(kind.letter, copy.layer, why=alias.why, alias=alias)

    @staticmethod
    def _end_at_opaque(found: Found) -> None:
        """Leave out what is below an opaque directory; of several the lowest counts.

        The first lookup continues below an opaque directory and remembers the last one
        (di_bdiropq), so of two opaque directories both are merged, as observed on aufs 6.1.
        """
        if found.opaque is None:
            return
        kept = [part for part in found.parts if part.layer <= found.opaque]
        for part in found.parts[len(kept) :]:
            os.close(part.fd)
        found.parts = kept
        found.stop = Stop("opaque", kept[-1].layer, kept[-1].path)

    def _whiteout(self, part: Part, marker: str, found: Found) -> bool:
        """Tell whether a branch has a marker that counts (au_wh_test)."""
        if not self.settings.honours[part.layer]:
            return False
        status = layers.status(marker, part.fd)
        if status is None:
            return False
        if layers.letter_of(status) == "f":
            return True
        found.error, found.refused = errno.EIO, f"'{marker}' is not a regular file"
        return False

    def read(self, directory: MergedDir) -> list[Entry]:
        """Return what a listing of a directory shows, sorted by name."""
        merged: dict[str, EntryKind] = {}
        gone: set[str] = set()
        shown: dict[str, EntryKind] = {}
        shows = self.settings.shows_whiteouts
        for part in directory.parts:
            last = part is directory.parts[-1]
            names = part.names = self._scan(part, directory)
            counts = shows or (self.settings.honours[part.layer] and not last)
            fresh: set[str] = set()
            for name, kind in names.items():
                if name.startswith(PREFIX):
                    if counts:
                        fresh.add(name[len(PREFIX) :])
                        shown.setdefault(name, kind)
                elif name not in gone and name not in merged:
                    merged[name] = kind
            if self.settings.honours[part.layer]:
                for name in names:
                    if name.startswith(PREFIX) and merged.get(name[4:]) is names.get(name[4:], 0):
                        merged[name[4:]] = self._conflict(merged[name[4:]])
            gone |= fresh
        if self.copies:
            self._follow_all(directory, merged)
        if shows:
            merged.update(shown)
        return sorted(merged.items())

    def _conflict(self, kind: EntryKind) -> EntryKind:
        return self.kinds.get(kind.letter, kind.layer, reachable=False, why=_CONFLICT)

    def _scan(self, part: Part, directory: MergedDir) -> dict[str, EntryKind]:
        if part.fd < 0:
            return {}
        try:
            return layers.scan(part.fd, self.kinds.table(part.layer))
        except OSError as error:
            self.reasons.add(part.layer, directory.path, error)
            return {}

    def enter(
        self, directory: MergedDir, name: str, kind: EntryKind
    ) -> tuple[EntryKind | None, MergedDir | None]:
        """Find the branches from which a directory that was just listed is merged."""
        found = self.lookup(directory, name)
        if found.error or found.letter != "d":
            found.close()
            why = found.refused or "a lookup does not find a directory here"
            return self.kinds.get(kind.letter, kind.layer, reachable=False, why=why), None
        child = self.directory(directory, name, found)
        if len(child.parts) == 1:
            return kind, child
        return self.kinds.get("d", kind.layer, tuple(p.layer for p in child.parts)), child

    def directory(self, directory: MergedDir, name: str, found: Found) -> MergedDir:
        """Return the merged directory for the result of a lookup."""
        child = MergedDir(directory.child_path(name), found.parts)
        child.opaque = found.opaque
        return child

"""The resolver of overlay: lookup and listing as in fs/overlayfs.

A lookup follows `ovl_lookup` and its helpers in namei.c (as of 6.18), a listing
`ovl_dir_read_merged` and `ovl_iterate` in readdir.c. The two can disagree: an entry that a listing
shows and a lookup refuses is not reachable.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from operator import itemgetter

from layerctl.inspecting.resolvers import marks
from layerctl.inspecting.resolvers.marks import Marks
from layerctl.inspecting.resolvers.origins import Origins
from layerctl.inspecting.resolvers.overlay_layers import OverlayLayers
from layerctl.inspecting.resolvers.overlay_lookup import OverlayLookup
from layerctl.inspecting.resolvers.resolver import Found, LowerReasons, look_up, reopen
from layerctl.inspecting.resolvers.tree import (
    Alias,
    Aliases,
    Entry,
    EntryKind,
    EntryKinds,
    MergedDir,
    Part,
    aliased,
)
from layerctl.kernel import layers
from layerctl.rules.aliasing import Aliasing
from layerctl.rules.overlay import Settings

_NAME = itemgetter(0)


class Overlay(OverlayLayers):
    """One overlay's layers, opened: what it shows, name by name.

    `thorough` means that the attributes of every file are read. Until `origins` and `find_aliases`
    are set, the index and other paths to the same inode are ignored.
    """

    def __init__(
        self,
        roots: Sequence[int],
        settings: Settings,
        *,
        thorough: bool = False,
        blind: bool = False,
        traps: frozenset[tuple[int, int]] = frozenset(),
        same_fs: bool = True,
        decodes: bool = True,
    ) -> None:
        super().__init__(
            roots, settings, blind=blind, traps=traps, same_fs=same_fs, decodes=decodes
        )
        self.thorough = thorough
        self.xino = settings.xino and not same_fs
        self.kinds = EntryKinds()
        #: Whether attributes are read even if a lookup does not need them.
        self.reads_all = False
        self.origins: Origins | None = None
        self.find_aliases: Callable[[Overlay], Aliases] = lambda _: {}
        self._aliases: Aliases | None = None
        self._marks: Marks | None = None
        #: The open root of the live mount, -1 without one.
        self.mount = -1

    @property
    def aliases(self) -> Aliases:
        """Paths that share an inode with another; computed on first use, by a walk."""
        if self._aliases is None:
            self._aliases = {}  # lookups meanwhile ignore them
            self._aliases = self.find_aliases(self)
        return self._aliases

    @property
    def marks(self) -> Marks:
        """Where the first layer has markers; computed on first use, by reading all of it."""
        if self._marks is None:
            self._marks = marks.read(self.roots[0], self.settings.prefix)
            for path, error in self._marks.unread:
                self.reasons.add(0, path, error)
        return self._marks

    def forget(self) -> None:
        """Forget where the markers are, after they were changed."""
        self._marks = None

    @property
    def index(self) -> int:
        """The open index, -1 without one."""
        return -1 if self.origins is None else self.origins.index

    def ask(self, mount: int) -> None:
        """Use a live mount, open at `mount`, to find out what it has in memory."""
        self.mount = mount
        self._aliases = None

    def close(self) -> None:
        """Close what was opened besides the layers."""
        if self.origins is not None:
            self.origins.close()

    def below(self, since: int) -> Overlay:
        """Return a resolver for the layers from `since` down alone."""
        lower = Overlay(
            self.roots[since:],
            self.settings._replace(has_upper=False),
            blind=self.blind,
            traps=self.traps,
            same_fs=self.same_fs,
        )
        lower.reasons = LowerReasons(self.reasons, since)
        return lower

    def following(self) -> Overlay:
        """Return a resolver that follows redirects and looks for data, whatever the options say."""
        settings = self.settings._replace(redirect="on", metacopy=True)
        if settings == self.settings:
            return self
        found = Overlay(
            self.roots, settings, thorough=self.thorough, blind=self.blind, traps=self.traps,
            same_fs=self.same_fs, decodes=self.decodes,
        )  # fmt: skip
        found.reasons = self.reasons
        found.origins, found.find_aliases = self.origins, self.find_aliases
        return found

    # Directories

    def root(self) -> MergedDir:
        """Return the root, which merges every layer except data-only ones."""
        parts = []
        for index in range(self.last_lower + 1):
            parts.append(self.part(index, os.dup(self.roots[index]), ""))
        directory = MergedDir("", parts)
        directory.whiteouts = True
        for part in parts:
            lowest = part.layer == self.last_lower
            if not lowest and self.note_opaque(part, self.opaque(part)):
                directory.xattr_whiteouts = True
        return directory

    def reopen(self, directory: MergedDir, above: MergedDir | None = None) -> None:
        """Open what was closed; `above` is an open directory that it is in."""
        reopen(self.roots, self.reasons, directory, above)

    def acts_on(self, part: Part, name: str) -> bool:
        """Tell whether a part that was read has a name, or a whiteout for it."""
        return name in part.names

    # Lookup

    def lookup(self, directory: MergedDir, name: str) -> Found:
        """Look one name up in a merged directory."""
        found = OverlayLookup(self, self.origins, name).run(directory)
        if self.aliases and not found.error and found.parts:
            self._alias(directory, name, found)
        if not found.error and self._is_remembered_absent(directory, name, found.parts):
            found.alias = Alias(Aliasing.ABSENT, "")
            found.error, found.refused = errno.ENOENT, found.alias.why
        return found

    def _alias(self, directory: MergedDir, name: str, found: Found) -> None:
        """Record how another path to the same file affects the result."""
        alias = self.aliases.get(directory.path, {}).get(name)
        if alias is None:
            return
        if alias.what is Aliasing.SHARED:
            other = look_up(self, alias.other)
            found.parts, found.data, found.metacopy = other.parts, other.data, other.metacopy
        elif alias.what is Aliasing.INDEXED:
            self._from_index(alias.other, found)
        elif alias.what is Aliasing.STALE:
            found.error, found.refused = errno.ESTALE, alias.why
        found.alias = alias

    def _from_index(self, name: str, found: Found) -> None:
        """Replace a lower file by its copy in the index."""
        lower = found.parts[0]
        found.parts = [Part(0, -1, lower.path)]
        if self.index >= 0 and self.value("metacopy", self.index, name) is not None:
            found.metacopy, found.data = True, found.data or (lower.layer, lower.path)

    # Listing

    def _unsure(self, directory: MergedDir, position: int) -> bool:
        """Tell whether what one part of a directory shows depends on unreadable attributes."""
        return directory.uncertain or (self.blind and position > 0 and directory.path != "")

    def read(self, directory: MergedDir) -> list[Entry]:
        """Return what a listing of a directory shows, sorted by name."""
        parts = directory.parts
        devices = not directory.whiteouts
        merged: dict[str, EntryKind] = {}
        for position in range(len(parts) - 1, -1, -1):
            self.scan(directory, position)
        if self.thorough or directory.xattr_whiteouts:
            self._read_files(directory)
        for part in reversed(parts):
            if len(parts) == 1:
                merged = part.names
            else:
                merged.update(part.names)
        if self.aliases:
            self._apply_aliases(directory, merged)
        if self.mount >= 0 and (self.thorough or not directory.path):
            self._apply_absent(directory, merged)
        if not devices and any(kind.letter == "w" for kind in set(merged.values())):
            return sorted([item for item in merged.items() if item[1].letter != "w"], key=_NAME)
        return sorted(merged.items(), key=_NAME)

    def _is_remembered_absent(self, directory: MergedDir, name: str, parts: list[Part]) -> bool:
        """Tell whether a live mount still treats a lower name as absent, as under a whiteout.

        Negative lookups are cached; removing a whiteout in the layer itself does not change that.
        """
        if self.mount < 0 or not parts or self.is_upper(parts[0].layer):
            return False
        return layers.cached(self.mount, directory.child_path(name)) is False

    def _apply_absent(self, directory: MergedDir, merged: dict[str, EntryKind]) -> None:
        if not self.is_upper(directory.parts[0].layer):
            return
        for name, kind in merged.items():
            if (
                kind.reachable
                and kind.letter != "w"
                and not self.is_upper(kind.layer)
                and layers.cached(self.mount, directory.child_path(name)) is False
            ):
                merged[name] = aliased(kind, Alias(Aliasing.ABSENT, ""))

    def _apply_aliases(self, directory: MergedDir, merged: dict[str, EntryKind]) -> None:
        for name, alias in self.aliases.get(directory.path, {}).items():
            if name in merged:
                merged[name] = aliased(merged[name], alias)

    def scan(self, directory: MergedDir, position: int) -> None:
        """Read the names of one part of a directory."""
        part = directory.parts[position]
        if part.fd < 0:
            return
        table = self.table(directory, position)
        if part.twin is not None:
            part.names = {name: table[kind.letter] for name, kind in part.twin.names.items()}
            return
        try:
            part.names = layers.scan(part.fd, table)
        except OSError as error:
            self.reasons.add(part.layer, part.path, error)

    def table(self, directory: MergedDir, position: int) -> dict[str, EntryKind]:
        """Return the kinds for the scan of one part of a directory."""
        return self.kinds.table(
            directory.parts[position].layer,
            uncertain=self._unsure(directory, position),
            devices=not directory.whiteouts,
        )

    def _honours(self, directory: MergedDir, part: Part) -> bool:
        """Tell whether a listing looks for whiteouts by attribute in this part.

        The kernel records per layer that an `opaque=x` was found in it.
        """
        return (
            directory.xattr_whiteouts
            and directory.whiteouts
            and not self.is_upper(part.layer)
            and part.layer in self.xwhiteout_layers
        )

    def looks_up(self, directory: MergedDir, part: Part) -> bool:
        """Tell whether a listing looks up each name of this part, to give it an inode number.

        If the lookup fails, the name is omitted (ovl_calc_d_ino, ovl_cache_update).
        """
        if not directory.whiteouts:
            return False
        if self.xino:
            return True
        return self.same_fs and self.is_upper(part.layer) and "impure" in part.attributes

    def _read_files(self, directory: MergedDir) -> None:
        """Read the attributes of files, and correct their kinds."""
        honours = [self._honours(directory, part) for part in directory.parts]
        for part, honoured in zip(directory.parts, honours, strict=True):
            if (self.thorough or honoured) and part.fd >= 0:
                hides = honoured or self.looks_up(directory, part)
                self._read_files_of(directory, part, hides=hides)

    def _read_files_of(self, directory: MergedDir, part: Part, *, hides: bool) -> None:
        files = [name for name, kind in part.names.items() if kind.letter == "f"]
        whiteout, metacopy = self.settings.prefix + "whiteout", self.settings.prefix + "metacopy"
        found = layers.with_attributes(part.fd, files, (whiteout, metacopy), self.unread(part))
        for name, attributes in found.items():
            kind = part.names[name]
            if whiteout in attributes and self.is_xattr_whiteout(name, part.fd):
                part.names[name] = self.xattr_whiteout(part, kind, hides=hides)
            elif metacopy in attributes:
                part.names[name] = self._metacopy(directory, name, kind, hides=hides)

    def unread(self, part: Part) -> Callable[[str, OSError], None]:
        """Return a function that records that attributes of a file in a directory are unknown."""
        inside = f"{part.path}/" if part.path else ""
        return lambda name, error: self.reasons.add(part.layer, inside + name, error)

    def xattr_whiteout(self, part: Part, kind: EntryKind, *, hides: bool) -> EntryKind:
        """Return the kind of a whiteout by attribute in a listing, which may look it up or not."""
        if hides:
            return self.kinds.get("w", part.layer, by_attribute=True)
        return self.kinds.get(
            "f", part.layer, reachable=False, uncertain=kind.uncertain,
            why="an xattr whiteout: a listing shows the marker, but a lookup finds nothing",
        )  # fmt: skip

    def _metacopy(
        self, directory: MergedDir, name: str, kind: EntryKind, *, hides: bool
    ) -> EntryKind:
        found = self.lookup(directory, name)
        found.close()
        if not found.error:
            return kind
        if hides:
            return self.kinds.table(kind.layer)["w"]
        return self.kinds.get(
            "f", kind.layer, reachable=False, uncertain=kind.uncertain, why=found.refused
        )

    def enter(
        self, directory: MergedDir, name: str, kind: EntryKind
    ) -> tuple[EntryKind | None, MergedDir | None]:
        """Find the layers from which a directory that was just listed is merged."""
        if not kind.reachable:
            return kind, None
        try:
            found = self._merge(directory, name)
        except OSError as error:
            self.reasons.add(kind.layer, directory.child_path(name), error)
            return kind, None
        if found is None:
            found = self.lookup(directory, name)
        if found.error or found.letter != "d":
            found.close()
            if any(p.layer == kind.layer and self.looks_up(directory, p) for p in directory.parts):
                return None, None
            why = found.refused or "a lookup does not find a directory here"
            return (
                self.kinds.get(
                    kind.letter, kind.layer, reachable=False, uncertain=kind.uncertain, why=why
                ),
                None,
            )
        child = self.directory(directory, name, found)
        child.uncertain = kind.uncertain
        if len(child.parts) == 1:
            return kind, child
        merged = tuple(part.layer for part in child.parts)
        if kind.alias is not None:
            return aliased(kind, kind.alias, merged), child
        return self.kinds.get("d", kind.layer, merged, uncertain=kind.uncertain), child

    def directory(self, directory: MergedDir, name: str, found: Found) -> MergedDir:
        """Return the merged directory for the result of a lookup."""
        child = MergedDir(directory.child_path(name), found.parts)
        # ovl_get_inode: an origin on the topmost part means a copy-up, hence whiteouts.
        child.whiteouts = len(found.parts) > 1 or "origin" in found.parts[0].attributes
        child.xattr_whiteouts = found.xattr_whiteouts
        child.opaque = found.opaque
        first = found.parts[0].layer
        child.uncertain = (self.blind or directory.uncertain) and any(
            part.layer == first and self._unsure(directory, position)
            for position, part in enumerate(directory.parts)
        )
        child.indexed = found.indexed
        return child

    def _merge(self, directory: MergedDir, name: str) -> Found | None:
        """Like `lookup` for a directory that was just listed, from the result of the scan.

        Returns None if a redirect, a trap or an origin to verify needs the full `lookup`.
        """
        if self.verifies:
            return None
        found = Found(letter="d")
        for position, part in enumerate(directory.parts):
            kind = part.names.get(name)
            if kind is None:
                continue
            if kind.letter != "d":
                break
            if self.traps and self._is_trap(part.fd, name):
                found.close()
                return None
            last = self._is_last(directory, position, found)
            below = self._part_below(part, name, found, last=last)
            if below is None:
                continue
            found.parts.append(below)
            if last or not below.attributes:
                continue
            if "redirect" in below.attributes:
                found.close()
                return None
            opaque = self.opaque(below)
            if opaque == b"y":
                found.opaque = part.layer
                break
            if self.note_opaque(below, opaque):
                found.xattr_whiteouts = True
        return found if found.parts else None

    def _is_last(self, directory: MergedDir, position: int, found: Found) -> bool:
        """Tell whether a lookup ends at this part, without reading its attributes."""
        parts, part = directory.parts, directory.parts[position]
        upper = self.is_upper(part.layer)
        if not self.checks_redirects:
            return len(parts) == 1 if upper else position == len(parts) - 1
        # With data-only layers a name might still be a file with its data there.
        return (
            not upper
            and part.layer == self.last_lower
            and (bool(found.parts) or not self.settings.data_layers)
        )

    def _part_below(self, part: Part, name: str, found: Found, *, last: bool) -> Part | None:
        """Open a directory in a part; None, with a reason, where parts above it are had already."""
        path = f"{part.path}/{name}" if part.path else name
        try:
            fd = layers.open_dir(name, part.fd)
        except OSError as error:
            if not found.parts:
                raise
            self.reasons.add(part.layer, path, error)
            return None
        if last and found.parts and not self.reads_all:
            return Part(part.layer, fd, path)
        return self.part(part.layer, fd, path)

    def _is_trap(self, fd: int, name: str) -> bool:
        status = layers.status(name, fd)
        return status is not None and (status.st_dev, status.st_ino) in self.traps

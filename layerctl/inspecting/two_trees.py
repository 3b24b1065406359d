"""What differs between the merged trees of two stacks; what they share is not looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from layerctl.inspecting.changes import LayerChange, part_of
from layerctl.inspecting.comparing import (
    Verdict,
    attributes_differ,
    compare_files,
    owner_and_mode,
    special_differs,
    what_differs,
)
from layerctl.inspecting.contents import open_file
from layerctl.inspecting.filters import Paths
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.resolver import Reasons
from layerctl.inspecting.resolvers.tree import EntryKind, MergedDir, Part
from layerctl.inspecting.walk import Node, Search
from layerctl.kernel import beneath, layers

Identities = dict[Part, tuple[int, int] | None]


class _FirstReasons(Reasons):
    """Adds to the reasons of the second of two stacks what cannot be read of the first."""

    def __init__(self, both: Reasons) -> None:
        super().__init__()
        self._both = both

    def add(self, layer: int, path: str, error: OSError) -> None:
        """Note a failure in the first stack."""
        words = f"{error.strerror or error} (in the first of the two)"
        self._both.add(layer, path, OSError(error.errno, words))


class Differences(Search[list[LayerChange]]):
    """What is to be changed in the tree `was` to make the tree `now` of it.

    The layer of a change is one of `now`, of what is only in `was` one of that. Contents are
    compared whatever the times say: two stacks need have no history in common. `wanted` are the
    paths to compare.
    """

    heavy = True
    #: The layer that `now` begins with.
    top = 0

    def __init__(self, was: Opened, now: Opened, wanted: Paths | None = None) -> None:
        self.was, self.now = was.resolver, now.resolver
        count = len(self.was.roots) + len(self.now.roots)
        super().__init__(self.now.reasons, max(2, layers.directories_at_once(count)))
        self.was.reasons = _FirstReasons(self.now.reasons)
        self.metacopies = self.was.metacopies or self.now.metacopies
        self._wanted = wanted
        self.alike = was.stack.fstype == now.stack.fstype and was.prefix == now.prefix
        self._below = [
            [beneath.identity(fd) for fd in resolver.roots] for resolver in (self.was, self.now)
        ]

    def root(self) -> Node[list[LayerChange]]:
        """Return the roots of both trees."""
        return _Two(self, self.was.root(), self.now.root())

    def told(self, changes: list[LayerChange]) -> list[LayerChange]:
        """Return the changes that are wanted."""
        wanted = self._wanted
        if wanted is None:
            return changes
        return [
            one
            for one in changes
            if wanted.wants(one.path) or (one.change == "deleted" and wanted.lie_in(one.path))
        ]

    def is_shared(self, was: list[Part], now: list[Part], known: Identities) -> bool:
        """Tell whether two lists of directories of layers show the same, whatever is in them.

        They are the same directories; and since a redirect in them may lead to any layer further
        down, those are the same too.
        """
        if not self.alike or not was or [known[one] for one in was] != [known[one] for one in now]:
            return False
        old, new = self._below
        return old[was[0].layer :] == new[now[0].layer :]

    def compare(self, path: str, name: str, was: Part, now: Part, letter: str) -> Verdict:
        """Compare what two layers have of one name and type. Raises OSError."""
        if letter == "f" and not self.metacopies:
            verdict = compare_files(name, now.fd, was.fd, content=True)
            if verdict is not None:
                return verdict
        one = os.stat(name, dir_fd=now.fd, follow_symlinks=False)
        other = os.stat(name, dir_fd=was.fd, follow_symlinks=False)
        what = ""
        if not stat.S_ISREG(one.st_mode):
            what = special_differs(name, now, was, one, other)
        elif one.st_size != other.st_size:
            what = "size"
        elif one.st_size and not self._same_content(path, one.st_size):
            what = "content"
        differs = what_differs(one, other)
        if what:
            return "modified", (what, *differs)
        if not differs and attributes_differ(now.fd, name, was.fd, name):
            differs = ("xattrs",)
        return ("metadata" if differs else "unchanged"), differs

    def _same_content(self, path: str, size: int) -> bool:
        one = open_file(self.now, path)
        try:
            other = open_file(self.was, path)
            try:
                return layers.same_open(one, other, size)
            finally:
                os.close(other)
        finally:
            os.close(one)


class _Two(Node[list[LayerChange]]):
    """A directory in both trees; `was` is None if only `now` has it."""

    __slots__ = ("_known", "_names", "_search", "now", "was")

    def __init__(self, search: Differences, was: MergedDir | None, now: MergedDir) -> None:
        super().__init__()
        self._search = search
        self.was = was
        self.now = now
        self._known: Identities = {}

    def _find(self) -> Iterator[list[LayerChange] | Node[list[LayerChange]]]:
        search = self._search
        entries = self._names = dict(search.now.read(self.now))
        before: dict[str, EntryKind] = {}
        if self.was is not None:
            self._know(self.was)
            before = dict(search.was.read(self.was))
        found: list[LayerChange] = []
        for name in sorted(entries.keys() | before.keys()):
            below = None
            if self.was is None or not self._shares(name):
                change, below = self._compare(name, before.get(name), entries.get(name))
                found += [] if change is None or change.change == "unchanged" else [change]
            if below is not None:
                yield search.told(found)
                found = []
                yield below
        yield search.told(found)

    def _know(self, was: MergedDir) -> None:
        """Find out which directories the two have in common; they need no second reading."""
        for part in (*was.parts, *self.now.parts):
            self._known[part] = beneath.identity(part.fd) if part.fd >= 0 else None
        if self.now.xattr_whiteouts or not self._search.alike:
            return
        read = {self._known[part]: part for part in self.now.parts}
        for part in was.parts:
            part.twin = None if self._known[part] is None else read.get(self._known[part])

    def _shares(self, name: str) -> bool:
        """Tell whether both trees have a name from the same directories of the same layers."""
        search, was = self._search, self.was
        assert was is not None  # noqa: S101 - the caller has asked
        old = [part for part in was.parts if search.was.acts_on(part, name)]
        new = [part for part in self.now.parts if search.now.acts_on(part, name)]
        return search.is_shared(old, new, self._known)

    def _compare(
        self, name: str, was: EntryKind | None, now: EntryKind | None
    ) -> tuple[LayerChange | None, _Two | None]:
        path = self.now.child_path(name)
        was_type = None if was is None else was.type
        if now is None:
            layer = 0 if was is None else was.layer
            return LayerChange(path, "deleted", None, was_type, layer), None
        if now.letter == "d":
            return self._directory(name, was, now)
        if was is None or was.letter != now.letter:
            word = "added" if was is None else "replaced"
            return LayerChange(path, word, now.type, was_type, now.layer), None
        one, other = part_of(self.now, now.layer), part_of(self.was, was.layer)
        if one is None or other is None:
            return None, None
        try:
            change, differs = self._search.compare(path, name, other, one, now.letter)
        except OSError as error:
            self._search.now.reasons.add(now.layer, path, error)
            return None, None
        return LayerChange(path, change, now.type, was_type, now.layer, differs), None

    def _directory(
        self, name: str, was: EntryKind | None, now: EntryKind
    ) -> tuple[LayerChange | None, _Two | None]:
        search, path = self._search, self.now.child_path(name)
        _, below = search.now.enter(self.now, name, now)
        if was is None or was.letter != "d" or self.was is None:
            word, was_type = ("added", None) if was is None else ("replaced", was.type)
            change = LayerChange(path, word, "dir", was_type, now.layer)
            return change, None if below is None else _Two(search, None, below)
        if below is None:
            return None, None
        _, old = search.was.enter(self.was, name, was)
        if old is None:
            return None, _Two(search, None, below)
        one, other = below.parts[0].fd, old.parts[0].fd
        try:
            differs = owner_and_mode(os.fstat(one), os.fstat(other))
            if not differs and attributes_differ(one, None, other, None):
                differs = ("xattrs",)
        except OSError as error:
            search.now.reasons.add(now.layer, path, error)
            differs = ()
        change = LayerChange(path, "metadata", "dir", "dir", now.layer, differs)
        return change if differs else None, _Two(search, old, below)

    def close(self) -> None:
        self.now.close()
        if self.was is not None:
            self.was.close()

    def reopen(self, above: _Two | None) -> None:
        self._search.now.reopen(self.now, None if above is None else above.now)
        if self.was is not None:
            self._search.was.reopen(self.was, None if above is None else above.was)

    def width(self) -> int:
        return sum(kind.letter == "d" for kind in self._names.values())

"""Decide for each mount point whether it gets a layer of its own. Pure.

Everything that keeps files is layered; what the kernel makes up (/proc, /sys, /dev), what runs now
(/run) and what another machine keeps is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from layerctl.kernel.sandbox import How, Point
from layerctl.model import MountEntry
from layerctl.rules.filesystems import IN_MEMORY, PSEUDO, family

#: The flags of a mount that its layer keeps.
_KEPT = ("ro", "nosuid", "nodev", "noexec")
_MADE_UP = ("/proc", "/sys", "/dev")
#: The names of the directories in a directory; none if it cannot be read.
Listing = Callable[[str], Collection[str]]
#: Whether a path is a directory.
IsDirectory = Callable[[str], bool]
#: The names of the directories in a directory that belong to others and that the caller may write
#: to. The kernel cannot copy them up in a user namespace, where their owner has no number.
Shared = Callable[[str], Collection[str]]


def visible(entries: Sequence[MountEntry], root: int) -> list[MountEntry]:
    """Return the mounts that paths lead to, in order, the one with the id `root` first.

    A mount on top of another one, or of a directory above it, covers it.
    """
    children: dict[int, list[MountEntry]] = {}
    for entry in entries:
        if entry.mount_id != entry.parent_id:
            children.setdefault(entry.parent_id, []).append(entry)
    found = []
    todo = [entry for entry in entries if entry.mount_id == root]
    while todo:
        entry = todo.pop(0)
        below = children.get(entry.mount_id, [])
        over = [one for one in below if one.target == entry.target]
        if over:
            todo.insert(0, over[-1])
            continue
        found.append(entry)
        todo = [one for one in below if not _is_covered(one, below)] + todo
    return found


def _is_covered(entry: MountEntry, siblings: Iterable[MountEntry]) -> bool:
    return any(one is not entry and is_in(entry.target, one.target) and one.target != entry.target
               for one in siblings)  # fmt: skip


def is_in(path: str, directory: str) -> bool:
    """Tell whether a path is a directory, or in it."""
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")


def not_layered(entry: MountEntry) -> str:
    """Return why a mount gets no layer; empty if it gets one."""
    kind = family(entry.fstype)
    if any(is_in(entry.target, one) for one in _MADE_UP):
        return "the kernel's"
    if entry.fstype in PSEUDO - IN_MEMORY:
        return "the kernel's"
    if entry.target == "/":
        return ""
    if is_in(entry.target, "/run") and (entry.fstype in IN_MEMORY or kind == "fuse"):
        return "what is running"
    if kind in ("nfs", "virtiofs") or (kind == "fuse" and entry.fstype != "fuseblk"):
        return "another machine's or program's"
    return ""


class Planner:
    """Makes the points of a run over some directories, of all visible mounts.

    `locked` means that the kernel takes no directory as a layer in which something is mounted, as
    in a user namespace. `known` are the numbers of layers that exist, by their targets.
    """

    def __init__(
        self,
        mounts: Sequence[MountEntry],
        listing: Listing,
        is_directory: IsDirectory,
        shared: Shared,
        *,
        locked: bool,
        read_only: bool,
        known: Mapping[str, int],
    ) -> None:
        self._mounts = mounts
        self._targets = {entry.target for entry in mounts}
        self._listing = listing
        self._is_directory = is_directory
        self._shared = shared
        self._locked = locked
        self._read_only = read_only
        self._numbers = dict(known)
        self._next = max(known.values(), default=-1) + 1

    def points(self, over: Sequence[str]) -> list[Point]:
        """Return the points, parents before what is in them."""
        wanted: list[tuple[MountEntry, bool]] = []
        points: list[Point] = []
        for root in over:
            wanted += self._wanted(root)
        layered = [(one, bone) for one, bone in wanted
                   if one.target in over or not not_layered(one)]  # fmt: skip
        first = self._first(layered)
        for entry, bone in wanted:
            points += self._point(entry, over, first, skeleton=bone)
        return points

    def _wanted(self, root: str) -> Iterator[tuple[MountEntry, bool]]:
        """Yield what may get a layer below a directory, and whether that is a skeleton."""
        holder = max((one for one in self._mounts if is_in(root, one.target)),
                     key=lambda one: len(one.target))  # fmt: skip
        yield from self._split(self._inside(holder, root))
        for entry in self._mounts:
            if is_in(entry.target, root) and entry.target != root:
                if not_layered(entry):
                    yield entry, False
                else:
                    yield from self._split(entry)

    @staticmethod
    def _inside(holder: MountEntry, path: str) -> MountEntry:
        """Return a directory of a mount as if it were a mount."""
        if holder.target == path:
            return holder
        rest = path[len(holder.target.rstrip("/")) :]
        return holder._replace(root=f"{holder.root.rstrip('/')}{rest}", target=path)

    def _split(self, entry: MountEntry) -> Iterator[tuple[MountEntry, bool]]:
        inside = [one for one in self._targets
                  if one != entry.target and is_in(one, entry.target)]  # fmt: skip
        skeleton = self._locked and bool(inside)
        yield entry, skeleton
        if skeleton:
            for name in sorted(self._listing(entry.target)):
                path = f"{entry.target.rstrip('/')}/{name}"
                if path not in self._targets:
                    yield from self._split(self._inside(entry, path))
        elif self._locked:
            for name in sorted(self._shared(entry.target)):
                path = f"{entry.target.rstrip('/')}/{name}"
                if path not in self._targets:
                    yield self._inside(entry, path), False

    def _first(
        self, layered: Sequence[tuple[MountEntry, bool]]
    ) -> dict[str, tuple[MountEntry, str]]:
        """Return, by target, the mount that shows the same files, and where in it they are."""
        found: dict[str, tuple[MountEntry, str]] = {}
        whole = [entry for entry, skeleton in layered
                 if not skeleton and self._is_directory(entry.target)]  # fmt: skip
        for number, (entry, skeleton) in enumerate(layered):
            if skeleton:
                continue
            same = [one for one in whole if one.device == entry.device and one is not entry
                    and one.fstype == entry.fstype and is_in(entry.root, one.root)
                    and entry.target != _shown(one, entry)]  # fmt: skip
            best = min(same, key=lambda one: len(one.root), default=None)
            if best is None or (best.root == entry.root and self._index(layered, best) > number):
                continue
            found[entry.target] = best, entry.root[len(best.root.rstrip("/")) :]
        return found

    @staticmethod
    def _index(layered: Sequence[tuple[MountEntry, bool]], entry: MountEntry) -> int:
        return next(number for number, (one, _) in enumerate(layered) if one is entry)

    def _point(
        self,
        entry: MountEntry,
        over: Sequence[str],
        first: Mapping[str, tuple[MountEntry, str]],
        *,
        skeleton: bool,
    ) -> Iterator[Point]:
        target = entry.target
        flags = self._flags(entry)
        why = "" if target in over else not_layered(entry)
        if target == "/proc":
            yield Point(target, How.PROC)
        elif why:
            if not self._within_bound(target):
                yield Point(target, How.BIND, why=why, flags=("ro",) if self._read_only
                            and family(entry.fstype) else ())  # fmt: skip
        elif target in first:
            other, inside = first[target]
            yield Point(target, How.SAME, self._number(other.target), inside, flags=flags)
        elif not self._is_directory(target):
            yield Point(target, How.COPY)
        else:
            must = target in over or target == "/"
            yield Point(target, How.LAYER, self._number(target), "", skeleton, flags, "", must)

    def _within_bound(self, target: str) -> bool:
        """Tell whether a mount is in another one that is not layered, which brings it along."""
        return any(one.target != target and is_in(target, one.target) and not_layered(one)
                   for one in self._mounts)  # fmt: skip

    def _flags(self, entry: MountEntry) -> tuple[str, ...]:
        found = [flag for flag in _KEPT if flag in entry.mount_options]
        if self._read_only or "ro" in entry.super_options.split(","):
            found.append("ro")
        return tuple(dict.fromkeys(found))

    def _number(self, target: str) -> int:
        number = self._numbers.get(target)
        if number is None:
            number = self._numbers[target] = self._next
            self._next += 1
        return number


def _shown(one: MountEntry, entry: MountEntry) -> str:
    """Return where a mount shows the files of another one, by their roots."""
    return f"{one.target.rstrip('/')}{entry.root[len(one.root.rstrip('/')) :]}"

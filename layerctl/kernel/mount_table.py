"""The mounts of this namespace at the time of a mount, and which cover a path since then."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence

from layerctl.kernel import mounts
from layerctl.model import MountEntry


def is_at_or_above(path: str, other: str) -> bool:
    """Tell whether one path is another, or leads to it."""
    return path in (other, "/") or other.startswith(path + "/")


class MountTable:
    """The mounts of this namespace at the time of the mount `entry`, as far as known."""

    def __init__(self, entry: MountEntry, entries: Sequence[MountEntry] | None = None) -> None:
        self.entries = mounts.entries() if entries is None else entries
        self._order = {one.mount_id: number for number, one in enumerate(self.entries)}
        self._children: dict[int, list[MountEntry]] = {}
        for one in self.entries:
            self._children.setdefault(one.parent_id, []).append(one)
        self._own = self._with_all_inside(entry)
        self._below = self._ancestors(entry)
        self._since = self._order.get(entry.mount_id, len(self.entries))
        root = mounts.mount_id("/")
        device = os.stat("/").st_dev
        # In a root that is not a mount point, mountinfo has no line for the mount of the root.
        self._root = next(
            (one for one in self.entries if one.mount_id == root),
            MountEntry(root, 0, f"{os.major(device)}:{os.minor(device)}", "", "/", (), "", "", ""),
        )

    def _with_all_inside(self, entry: MountEntry) -> frozenset[int]:
        """Return the ids of a mount and of all mounts on it, which are younger."""
        found = {entry.mount_id}
        todo = [entry.mount_id]
        while todo:
            for one in self._children.get(todo.pop(), ()):
                if one.mount_id not in found:
                    found.add(one.mount_id)
                    todo.append(one.mount_id)
        return frozenset(found)

    def _ancestors(self, entry: MountEntry) -> frozenset[int]:
        """Return the ids of the mounts that a mount is on, which are older."""
        by_id = {one.mount_id: one for one in self.entries}
        found: set[int] = set()
        while entry.parent_id in by_id and entry.parent_id not in found:
            entry = by_id[entry.parent_id]
            found.add(entry.mount_id)
        return frozenset(found - self._own)

    def is_younger(self, one: MountEntry) -> bool:
        """Tell whether a mount is younger than ours: mountinfo lists mounts in order."""
        return one.mount_id in self._own or self._order[one.mount_id] > self._since

    def walk(self, path: str, allowed: Callable[[MountEntry], bool]) -> MountEntry:
        """Return the mount that a path led to when there were only the allowed mounts."""
        here = self._root
        while below := self._step(path, here, allowed):
            here = below
        return here

    def _step(
        self, path: str, here: MountEntry, allowed: Callable[[MountEntry], bool]
    ) -> MountEntry | None:
        """Return the mount that a path enters from another, or None."""
        inside = [
            one
            for one in self._children.get(here.mount_id, ())
            if is_at_or_above(one.target, path)
            and is_at_or_above(here.target, one.target)
            and one.mount_id != here.mount_id
            and allowed(one)
        ]
        return min(reversed(inside), key=lambda one: len(one.target), default=None)

    def then(self, path: str) -> MountEntry | None:
        """Return the mount that a path led to before ours; None if the root was another."""
        mount = self.walk(path, lambda one: not self.is_younger(one))
        return None if mount.mount_id in self._own else mount

    def cover(self, path: str) -> MountEntry | None:
        """Return a younger mount that may cover a path, or None."""
        if self._root.mount_id in self._own:  # what is older was moved to it, with its name
            moved = self.walk(path, lambda _: True)
            older = self._order.get(moved.mount_id, self._since) < self._since
            return None if older else self._root
        then = self.walk(path, lambda one: not self.is_younger(one))
        now = self.walk(path, lambda _: True)
        return None if then.mount_id == now.mount_id else now

    def reached(self, fd: int, path: str) -> bool:
        """Tell whether an open directory is on the mount that its path led to before ours."""
        then = self.walk(os.path.realpath(path), lambda one: not self.is_younger(one))
        return mounts.mount_id_of(fd) == then.mount_id

    def beneath(self, path: str) -> Iterator[tuple[bool, list[str]]]:
        """Yield what to unmount to get beneath: first the mounts younger than ours.

        The order is not proof, since a copy of a mount namespace copies its mounts as a tree. So
        all others that cover the path follow, one by one.
        """
        if self._root.mount_id in self._own:
            return
        yield True, self.without(path, self.is_younger)
        hidden = set(self._own)
        while True:
            mount = self.walk(path, lambda one: one.mount_id not in hidden)
            if mount.mount_id == self._root.mount_id or mount.mount_id in self._below:
                return
            hidden.add(mount.mount_id)
            yield False, self.without(path, lambda one: one.mount_id in hidden)

    def without(
        self, path: str, unwanted: Callable[[MountEntry], bool], gone: set[int] | None = None
    ) -> list[str]:
        """Return the targets to unmount, in order, until no unwanted mount is over a path.

        A mount is unmounted with everything mounted in it, as by MNT_DETACH.
        """
        gone = set() if gone is None else gone
        targets: list[str] = []
        if self._root.mount_id in self._own:
            return targets
        while True:
            first = next((one for one in self._chain(path, gone) if unwanted(one)), None)
            if first is None:
                return targets
            topmost = self._chain(first.target, gone)[-1]
            gone |= self._with_all_inside(topmost)
            targets.append(first.target)

    def _chain(self, path: str, gone: Collection[int]) -> list[MountEntry]:
        """Return the mounts that a path leads through, the root first, without the removed ones."""
        chain = [self._root]
        while mount := self._step(path, chain[-1], lambda one: one.mount_id not in gone):
            chain.append(mount)
        return chain

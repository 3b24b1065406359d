"""What of the topmost branch cannot be merged down: nothing is changed then."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import META, OPAQUE, PREFIX, Aufs, is_whiteout
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import changing, layers
from layerctl.kernel.plinks import DIRECTORY
from layerctl.working import lower
from layerctl.working.aufs.branch import directory_below, names_of, pseudo_links
from layerctl.working.scanning import demand_room

#: What aufs writes about renamed directories (dirren.c).
_RENAMED = ".wh..wh..dr."

#: A path in the branch, and the problem.
_Problem = tuple[str, str]


def demand_movable(view: Opened, aufs: Aufs, *, same: bool) -> None:
    """Raise RefusedError where the topmost branch holds what cannot be merged down.

    `same` tells that files are renamed, not copied to another filesystem.
    """
    for link in pseudo_links(aufs.roots[0]):
        if link.alone:
            raise RefusedError(
                "layer-not-movable",
                f"{view.layers[0]}/{DIRECTORY}/{link.name}: no other name has this file",
                why="aufs left it behind when it was not unmounted properly",
                hint="look at it, then move it out of the branch",
                commands=(
                    "layerctl check --repair=aufs-pseudo-link-left "
                    f"-b {shlex.quote(view.layers[0])}=rw",
                ),
            )
    scan = _Scan(view, aufs, same=same)
    for path, what in scan.problems():
        raise RefusedError(
            "layer-not-movable",
            f"{view.layers[0]}/{path}: {what}",
            why="the merged tree would not stay the same",
            hint="mend that, or make one new branch of both with --into",
        )
    if scan.has_markers and not aufs.settings.honours[1] and len(aufs.roots) > 2:
        raise RefusedError(
            "layer-not-movable",
            f"{view.layers[1]} is read-only without +wh, so its whiteouts would not count",
            why="the topmost branch has whiteouts or opaque directories, and there are branches "
            "below both",
            hint=f"name it as {view.layers[1]}=ro+wh here and in the mount",
        )
    if not same:
        demand_room(aufs.roots[1], view.layers[1], scan.size, scan.count)


class _Scan:
    """A walk over the topmost branch: what is wrong, whether it has markers, how much it holds."""

    def __init__(self, view: Opened, aufs: Aufs, *, same: bool) -> None:
        self._view = view
        self._aufs = aufs
        self._same = same
        self.has_markers = False
        self.size = self.count = 0

    def problems(self) -> Iterator[_Problem]:
        """Yield what cannot be merged down, directory by directory."""
        waiting = [self._aufs.root()]
        while waiting:
            directory = waiting.pop()
            self._aufs.reopen(directory)
            try:
                yield from self._directory(directory, waiting)
            finally:
                directory.close()

    def _directory(self, directory: MergedDir, waiting: list[MergedDir]) -> Iterator[_Problem]:
        fd = directory.parts[0].fd
        for name in layers.scan(fd, layers.LETTER_OF):
            place = directory.child_path(name)
            if name.startswith(_RENAMED):
                yield place, "aufs notes a renamed directory there (dirren)"
            elif name == OPAQUE:
                self.has_markers = self.has_markers or bool(directory.path)
            elif name.startswith(META) and directory.path:
                yield place, "aufs does not create such a name here"
        for name, letter in names_of(fd):
            place = directory.child_path(name)
            if is_whiteout(name):
                self.has_markers = True
                if letter != "f":
                    yield place, "it is named as a whiteout and is not a regular file"
                continue
            yield from self._name(fd, name, letter, place)
            found = self._aufs.lookup(directory, name)
            if found.error or not found.parts or found.parts[0].layer:
                found.close()
                yield place, f"a lookup fails: {found.refused}"
            elif letter == "d":
                child = self._aufs.directory(directory, name, found)
                if self._is_cut_above_opaque(directory, child, name):
                    yield place, "two branches below it have what an opaque directory cannot hide"
                child.close()
                waiting.append(child)
            else:
                found.close()

    def _name(self, fd: int, name: str, letter: str, place: str) -> Iterator[_Problem]:
        if letter in "df" and changing.flags(fd, name) & changing.LOCKED:
            yield place, "it is immutable or append-only"
        status = None if self._same else layers.status(name, fd)
        if status is not None:
            self.size += status.st_blocks * 512
            self.count += 1
            if status.st_nlink > 1 and letter != "d":
                yield place, "it has several names, which would become separate files elsewhere"

    def _is_cut_above_opaque(self, directory: MergedDir, child: MergedDir, name: str) -> bool:
        """Tell whether a whiteout hides an opaque directory, which a marker could not do.

        Of two opaque directories aufs merges both: the lower one counts.
        """
        part = lower.part_of(directory, 1)
        if part is None or [one.layer for one in child.parts] != [0]:
            return False
        if not self._aufs.settings.honours[1] or layers.status(PREFIX + name, part.fd) is None:
            return False
        found = directory_below(self._aufs, lower.rest(directory, 1), name)
        found.close()
        return found.opaque is not None

"""Undo what the topmost branch of an aufs did at some paths: what lies below shows there again.

Each path changes in one step: an unlink, an rmdir, or a rename that moves a whole tree into the
directory in which aufs itself keeps what was removed while it was open.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from layerctl.errors import RefusedError, RequestError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import PREFIX
from layerctl.inspecting.resolvers.resolver import descend, look_up
from layerctl.inspecting.resolvers.tree import MergedDir, noun
from layerctl.kernel import changing, layers
from layerctl.model import Stack
from layerctl.working import lower
from layerctl.working.aufs.branch import demand as demand_branches
from layerctl.working.aufs.branch import resolver_of
from layerctl.working.emptying import remove_tree
from layerctl.working.references import is_in
from layerctl.working.sites import Wish
from layerctl.working.steps import Folder, Step, Verb

#: Where aufs moves what is removed while it is open (AUFS_WH_ORPHDIR), and what names are ours.
_ASIDE = ".wh..wh.orph"
_OURS = "layerctl-"


class _Site(NamedTuple):
    """A name in a directory of the topmost branch, and what shows there without it."""

    folder: Folder
    name: str
    status: os.stat_result
    why: str


def demand(stack: Stack, wish: Wish) -> None:
    """Raise LayerctlError if there is nothing to restore from, or a copy was asked for."""
    demand_branches(stack)
    if wish.layer is not None:
        raise RequestError(
            "usage",
            "--layer does not work on an aufs",
            hint="leave it out to restore what the branches below have, or copy it with cat",
        )
    if "" in wish.paths:
        raise RequestError(
            "usage",
            "the root of the merged tree cannot be restored",
            hint="name paths below it, with -r for directories",
        )


class Restoring:
    """The plan for some paths; `missing` are those that no branch has.

    Raises LayerctlError, before anything is changed, for what cannot be restored.
    """

    def __init__(self, view: Opened, wish: Wish, closing: ExitStack) -> None:
        self._aufs = resolver_of(view)
        self._wish = wish
        self._closing = closing
        self._top = Folder(self._aufs.roots[0], view.layers[0].rstrip("/"), "")
        self._folders: dict[str, Folder] = {"": self._top}
        self.missing: list[str] = []
        paths = [p for p in wish.paths if not any(p != q and is_in(p, q) for q in wish.paths)]
        self._sites = [site for path in dict.fromkeys(paths) for site in self._find(path)]

    def steps(self) -> Iterator[Step]:
        """Yield the steps, each to be done before the next one is asked for."""
        for site in self._sites:
            yield from self._one(site)
        for path in sorted(self._folders, reverse=True):
            yield from self._folders[path].restore() if path else ()
        yield from self._remove_aside()
        yield from self._top.restore()

    def _one(self, site: _Site) -> Iterator[Step]:
        letter = layers.letter_of(site.status)
        if letter != "d":
            yield site.folder.remove(site.name, site.status, site.why)
        elif not self._count(site):
            yield site.folder.rmdir(site.name, site.why)
        else:
            yield from self._move_aside(site)

    def _move_aside(self, site: _Site) -> Iterator[Step]:
        if layers.status(_ASIDE, self._top.fd) is None:
            path = self._top.inside(_ASIDE)
            yield self._top.step(Verb.CREATE, _ASIDE, "aufs's own",
                                 lambda: changing.mkdir(_ASIDE, self._top.fd),
                                 ("mkdir", "-m", "700", "--", path))  # fmt: skip
        spare = f"{_OURS}{site.status.st_ino}"

        def run() -> None:
            aside = layers.open_dir(_ASIDE, self._top.fd)
            try:
                changing.rename(site.name, site.folder.fd, spare, aside)
            finally:
                os.close(aside)

        to = f"{self._top.inside(_ASIDE)}/{spare}"
        move = ("mv", "-T", "--", site.folder.inside(site.name), to)
        yield site.folder.step(Verb.MOVE, site.name, site.why, run, move)

    def _remove_aside(self) -> Iterator[Step]:
        """Yield the steps that remove what was moved aside, by an interrupted run as well."""
        try:
            fd = layers.open_dir(_ASIDE, self._top.fd)
        except OSError:
            return
        try:
            aside = Folder(fd, self._top.inside(_ASIDE), "")
            for name, letter in sorted(layers.scan(fd, layers.LETTER_OF).items()):
                if name.startswith(_OURS) and letter == "d":
                    yield from remove_tree(aside, name, "it was dropped")
        finally:
            os.close(fd)

    def _count(self, site: _Site) -> int:
        fd = layers.open_dir(site.name, site.folder.fd)
        try:
            return len(os.listdir(fd))
        finally:
            os.close(fd)

    # What is there

    def _find(self, path: str) -> Iterator[_Site]:
        above, _, name = path.rpartition("/")
        directory, at, found = descend(self._aufs, above)
        try:
            if found is not None:
                found.close()
                self._demand_absent(path, directory.child_path(at))
                return
            yield from self._of_name(directory, name, path)
        finally:
            directory.close()

    def _of_name(self, directory: MergedDir, name: str, path: str) -> Iterator[_Site]:
        looked = self._aufs.lookup(directory, name)
        looked.close()
        if looked.error:
            raise _refused(path, f"the merged tree denies a lookup of '{path}'", looked.refused)
        under = lower.look(self._aufs, lower.rest(directory, 0), name)
        under.close()
        if under.error:
            raise _refused(path, f"'{path}' is an error in the branches below", under.refused)
        part = directory.parts[0]
        present = [
            (one, status)
            for one in ((PREFIX + name, name) if part.layer == 0 else ())
            if (status := layers.status(one, part.fd)) is not None
        ]
        if under.letter is None and self._exists(path):
            raise _refused(
                path, f"'{path}' cannot be restored while '{directory.path}' is opaque",
                "the topmost branch hides all that the branches below have in it",
                f"restore '{directory.path}', with all that it holds",
            )  # fmt: skip
        if not present and under.letter is None:
            self.missing.append(path)
        what = noun(under.letter) if under.letter else ""
        below = f"branch {under.parts[0].layer} has a {what}" if what else "no branch below has it"
        folder = self._folder(directory) if part.layer == 0 else self._top
        for one, status in present:
            is_whiteout = one != name
            kind = "whiteout" if is_whiteout else noun(layers.letter_of(status))
            site = _Site(folder, one, status, f"a {kind}; {below}")
            self._demand_possible(site, path)
            yield site

    def _folder(self, directory: MergedDir) -> Folder:
        path = directory.parts[0].path
        if path not in self._folders:
            fd = os.dup(directory.parts[0].fd)
            self._closing.callback(os.close, fd)
            self._folders[path] = Folder(fd, self._top.inside(path), "")
        return self._folders[path]

    def _exists(self, path: str) -> bool:
        found = look_up(self._aufs.below(1), path)
        found.close()
        return found.letter is not None

    def _demand_absent(self, path: str, at: str) -> None:
        """Note a path that no branch has; raise RefusedError if the topmost one hides it."""
        if self._exists(path):
            raise _refused(
                path, f"'{path}' cannot be restored while '{at}' is hidden",
                "the directory that it was in would have to show again as well",
                f"restore '{at}', with all that it holds",
            )  # fmt: skip
        self.missing.append(path)

    def _demand_possible(self, site: _Site, path: str) -> None:
        letter = layers.letter_of(site.status)
        if letter in "df" and changing.flags(site.folder.fd, site.name) & changing.LOCKED:
            raise _refused(path, f"'{path}' is immutable or append-only", "it cannot be removed",
                           "use chattr -ia on it")  # fmt: skip
        if letter == "d" and not self._wish.recursive and self._count(site):
            raise RefusedError(
                "holds-changes",
                f"'{path}' is a directory with changes inside",
                why="what the topmost branch has in it would be dropped",
                hint="use -r to drop that, or name the paths below it",
            )


def _refused(path: str, message: str, why: str, hint: str = "name another path") -> RefusedError:
    return RefusedError("not-restorable", message, why=why, hint=hint)

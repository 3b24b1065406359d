"""Put what the topmost branch has into the next one, unseen: the topmost one still covers it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from layerctl.inspecting.resolvers.aufs import OPAQUE, PREFIX, Aufs, is_whiteout
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import changing, layers
from layerctl.working import copying, lower
from layerctl.working.aufs.branch import WHITEOUT, directory_below, names_of
from layerctl.working.emptying import remove_tree
from layerctl.working.sameness import File, same_file
from layerctl.working.steps import Folder, Later, Step, Verb, move, own_prefix, unlink

_HIDDEN = "the topmost branch hides it"


class Placer:
    """Moves on one filesystem, copies to another."""

    def __init__(self, aufs: Aufs, *, same: bool) -> None:
        self._aufs = aufs
        self._prefix = own_prefix()
        self._same = same

    def whiteout(
        self, source: Folder, target: Folder, hidden: str, *, needed: bool
    ) -> Iterator[Step]:
        """Yield the steps that do in the next branch what a whiteout does above it."""
        name = PREFIX + hidden
        yield from self._clear(target, hidden)
        there = layers.status(name, target.fd)
        if there is not None and not (needed and layers.letter_of(there) == "f"):
            yield from self._clear(target, name)
            there = None
        if needed and there is None:
            # Not where one is: both may be links to one file, which rename(2) leaves as they are.
            yield move(source, target, name) if self._same else self._create(target, name)
        elif self._same:
            above = layers.status(name, source.fd)
            if above is not None:
                why = "the next branch has it" if needed else "nothing is left to hide"
                yield source.remove(name, above, why)

    def file(self, source: Folder, target: Folder, name: str) -> Iterator[Step]:
        """Yield the steps that put a file that is not a directory in its place."""
        yield from self._uncover(target, name)
        status = layers.status(name, target.fd)
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield from remove_tree(target, name, _HIDDEN)
            status = None
        if self._same:
            if status is not None and _is_one_file(status, layers.status(name, source.fd)):
                yield unlink(target, name, _HIDDEN)
            yield move(source, target, name)
            return
        if status is not None:
            if self._is_copied(source, target, name, status):
                return
            yield unlink(target, name, _HIDDEN)
        yield copying.copy_step(source, target, name, self._prefix)

    def directory(
        self, source: Folder, target: Folder, name: str, below: MergedDir
    ) -> Iterator[Step]:
        """Yield the steps for a directory that is not merged with one of the next branch.

        It must be opaque there if branches below have the name, and it hid them or the next branch
        did.
        """
        fd = layers.open_dir(name, source.fd)
        try:
            inner = Folder(fd, source.inside(name), "")
            opaque = layers.status(OPAQUE, fd)
            cut = self._aufs.settings.honours[1] and self._has(target, PREFIX + name)
            needed = lower.hides(self._aufs, below, name) and (opaque is not None or cut)
            if needed and opaque is None:
                create = self._create(inner, OPAQUE)
                yield inner.step(Verb.CREATE, OPAQUE, create.why, create.run, *create.words)
            yield from self._clear(target, name)
            yield from self._uncover(target, name)
            with self._beneath(below, name, opaque=needed) as deeper:
                if not self._same:
                    yield from self._copy_tree(source, target, name, deeper, opaque=needed)
                else:
                    yield from self._clean(inner, deeper, opaque=needed)
            yield from inner.restore()
        finally:
            os.close(fd)
        if self._same:
            yield move(source, target, name)

    # Steps

    def _has(self, folder: Folder, name: str) -> bool:
        return layers.status(name, folder.fd) is not None

    def _clear(self, target: Folder, name: str) -> Iterator[Step]:
        """Yield the steps that remove a name from the next branch."""
        status = layers.status(name, target.fd)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            yield from remove_tree(target, name, _HIDDEN)
        else:
            yield unlink(target, name, _HIDDEN)

    def _uncover(self, target: Folder, name: str) -> Iterator[Step]:
        """Yield the step that removes a whiteout from the next branch."""
        if self._has(target, PREFIX + name):
            yield unlink(target, PREFIX + name, _HIDDEN)

    def _create(self, folder: Folder, name: str) -> Step:
        path = folder.inside(name)
        words = ("install", "-m", "444", "-T", "--", "/dev/null", path)
        return Step(Verb.CREATE, path, "lower branches have the name",
                    lambda: changing.mknod(name, folder.fd, WHITEOUT), (words,))  # fmt: skip

    def _is_copied(self, source: Folder, target: Folder, name: str, status: os.stat_result) -> bool:
        """Tell whether an earlier run has copied a file already."""
        one = os.stat(name, dir_fd=source.fd, follow_symlinks=False)
        ours, theirs = File(name, source.fd, one), File(name, target.fd, status)
        return same_file(ours, theirs, self._prefix)

    # Whole trees

    @contextmanager
    def _beneath(self, below: MergedDir, name: str, *, opaque: bool) -> Iterator[MergedDir]:
        """Yield what branches below merge with a directory: nothing where that is opaque.

        Of two opaque directories the lower one counts.
        """
        found = directory_below(self._aufs, below, name)
        cut = found.error or (opaque and found.opaque is None)
        try:
            yield MergedDir(below.child_path(name), [] if cut else found.parts)
        finally:
            found.close()

    def _stays(self, folder: Folder, name: str, below: MergedDir) -> bool:
        """Tell whether a directory is opaque and hides what branches below have."""
        fd = layers.open_dir(name, folder.fd)
        try:
            return layers.status(OPAQUE, fd) is not None and lower.hides(self._aufs, below, name)
        finally:
            os.close(fd)

    def _clean(self, folder: Folder, below: MergedDir, *, opaque: bool) -> Iterator[Step]:
        """Yield the steps that remove markers without effect from a tree that is moved whole."""
        marker = layers.status(OPAQUE, folder.fd)
        if marker is not None and not opaque:
            yield folder.remove(OPAQUE, marker, "no lower branch has the directory")
        for name, letter in names_of(folder.fd):
            if is_whiteout(name):
                status = layers.status(name, folder.fd)
                hidden = name.removeprefix(PREFIX)
                if status is not None and not lower.hides(self._aufs, below, hidden):
                    yield folder.remove(name, status, "no lower branch has the name")
            elif letter == "d":
                stays = self._stays(folder, name, below)
                fd = layers.open_dir(name, folder.fd)
                try:
                    inner = Folder(fd, folder.inside(name), "")
                    with self._beneath(below, name, opaque=stays) as deeper:
                        yield from self._clean(inner, deeper, opaque=stays)
                    yield from inner.restore()
                finally:
                    os.close(fd)

    def _copy_tree(
        self, source: Folder, target: Folder, name: str, below: MergedDir, *, opaque: bool
    ) -> Iterator[Step]:
        """Yield the steps that copy a directory with all that it holds."""
        path = target.inside(name)
        yield Step(Verb.CREATE, path, f"as {source.inside(name)}",
                   lambda: changing.mkdir(name, target.fd), (("mkdir", "--", path),))  # fmt: skip
        fd = layers.open_dir(name, source.fd)
        made = Later(target, name)
        try:
            inner, new = Folder(fd, source.inside(name), ""), made.folder("")
            if opaque:
                yield self._create(new, OPAQUE)
            for one, letter in names_of(fd):
                yield from self._copy_one(inner, new, one, letter, below)
            places = (name, source.fd), (name, target.fd)
            yield Step(
                Verb.ATTRIBUTES, path, f"as those of {inner.path}",
                lambda: copying.copy_attributes(*places, self._prefix, inner.times),
                copying.attribute_words(*places, path, self._prefix, inner.times),
            )  # fmt: skip
        finally:
            os.close(fd)
            made.close()

    def _copy_one(
        self, source: Folder, target: Folder, name: str, letter: str, below: MergedDir
    ) -> Iterator[Step]:
        if is_whiteout(name):
            if lower.hides(self._aufs, below, name.removeprefix(PREFIX)):
                yield self._create(target, name)
        elif letter == "d":
            stays = self._stays(source, name, below)
            with self._beneath(below, name, opaque=stays) as deeper:
                yield from self._copy_tree(source, target, name, deeper, opaque=stays)
        else:
            yield copying.copy_step(source, target, name, self._prefix)


def _is_one_file(one: os.stat_result, other: os.stat_result | None) -> bool:
    """Tell whether two names are of one file: rename(2) then leaves both."""
    return other is not None and os.path.samestat(one, other)

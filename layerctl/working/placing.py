"""Put what an upper layer has into the lower one, unseen: the upper one still covers it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from layerctl.errors import RefusedError
from layerctl.inspecting.resolvers.marks import Marks
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.inspecting.resolvers.resolver import Found
from layerctl.inspecting.resolvers.tree import MergedDir
from layerctl.kernel import changing, layers
from layerctl.working import copying, lower
from layerctl.working.emptying import remove_tree, strip
from layerctl.working.sameness import File, same_file
from layerctl.working.steps import Folder, Later, Step, Verb, move, unlink


class Placer:
    """Moves on one filesystem, copies to another.

    `planned` are paths that are whole and opaque only after steps that a dry run does not do;
    `root` is the layer in which it puts everything. `marks` tell where the upper layer has markers,
    None if they may be anywhere.
    """

    def __init__(
        self,
        resolver: Overlay,
        planned: Collection[str],
        root: Folder,
        marks: Marks | None,
        *,
        same: bool,
    ) -> None:
        self._resolver = resolver
        self._root = root
        #: Where the first name of a file with several was copied to.
        self._links: dict[tuple[int, int], str] = {}
        self._planned = planned
        self._marks = marks
        self._prefix = resolver.settings.prefix
        self._same = same

    def whiteout(
        self, source: Folder, target: Folder, name: str, *, needed: bool
    ) -> Iterator[Step]:
        """Yield the steps that do in the lower layer what a whiteout does above it."""
        status = layers.status(name, target.fd)
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield from remove_tree(target, name, "it is hidden by a whiteout")
            status = None
        if needed and self._same:
            yield move(source, target, name)
            return
        if status is not None and not (needed and layers.letter_of(status) == "w"):
            yield unlink(target, name, "it is hidden by a whiteout")
            status = None
        if needed and status is None:
            yield self._create_device(target, name)
        if self._same:
            above = layers.status(name, source.fd)
            if above is not None:
                yield source.remove(name, above, "nothing is left to hide")

    def scan(self, folder: Folder, path: str) -> dict[str, str]:
        """Return the letters of the names in a directory of the upper layer.

        That of a whiteout by attribute is that of a whiteout: it may be moved, but not changed.
        """
        names = layers.scan(folder.fd, layers.LETTER_OF)
        if self.has_marked_files(path):
            files = [name for name, letter in names.items() if letter == "f"]
            wanted = (f"{self._prefix}whiteout",)
            for name in layers.with_attributes(folder.fd, files, wanted, _unread):
                if self._resolver.is_xattr_whiteout(name, folder.fd):
                    names[name] = "w"
        return names

    def has_marked_files(self, path: str) -> bool:
        """Tell whether a directory of the upper layer may have files with markers."""
        return self._marks is None or self._marks.in_files(path)

    def file(
        self, source: Folder, target: Folder, name: str, there: str | None, *, marked: bool
    ) -> Iterator[Step]:
        """Yield the steps that put a file that is not a directory in its place.

        `there` is the letter of what has the name, `marked` whether the file may have markers.
        """
        if there == "d":
            yield from remove_tree(target, name, "it is hidden by a file")
        if self._same:
            if marked:
                yield from self._strip(source, name)
            yield move(source, target, name)
            return
        if there not in (None, "d"):
            if self._is_copied(source, target, name):
                return
            yield unlink(target, name, "it is hidden by a file")
        yield self._copy(source, target, name)

    def directory(
        self, source: Folder, target: Folder, name: str, below: MergedDir
    ) -> Iterator[Step]:
        """Yield the steps for a directory that is not merged with one of the lower layer.

        It must be opaque there if layers below have the name, and it hid them or the lower layer
        did.
        """
        status = layers.status(name, target.fd)
        attribute = f"{self._prefix}opaque"
        value = self._opaque(source, name)
        is_opaque = value == b"y"
        hidden = lower.hides(self._resolver, below, name)
        needed = hidden and (is_opaque or status is not None)
        if needed and not is_opaque:
            yield self._mark(source, name, attribute)
        if status is not None:
            why = "it is hidden by a directory"
            if stat.S_ISDIR(status.st_mode):
                yield from remove_tree(target, name, why)
            else:
                yield unlink(target, name, why)
        with self._beneath(below, name, opaque=needed) as deeper:
            if not self._same:
                yield from self._copy_tree(source, target, name, deeper, opaque=needed)
                return
            yield from self._strip_tree(source, name, deeper)
        if value is not None and not needed:
            yield self._unmark(source, name, attribute)
        yield move(source, target, name)

    def whole(
        self, source: Folder, target: Folder, name: str, directory: MergedDir
    ) -> Iterator[Step]:
        """Yield the steps for a directory that is merged with an empty one of the lower layer.

        It takes its place in one rename.
        """
        yield from self._strip_tree(source, name, lower.rest(directory, 1))
        if self._opaque(source, name) is not None:  # with another value than y
            yield self._unmark(source, name, f"{self._prefix}opaque")
        yield move(source, target, name)

    def without_devices(self, above: Collection[str], target: Folder) -> Iterator[Step]:
        """Yield the steps that remove whiteouts which a listing would show without the upper.

        `above` are the names that the upper layer had there.
        """
        for name, letter in sorted(layers.scan(target.fd, layers.LETTER_OF).items()):
            if name in above:
                continue
            by_attribute = letter == "f" and self._is_whiteout(target.fd, name)
            if letter == "w" or by_attribute:
                yield unlink(target, name, "a whiteout over nothing")

    def _is_whiteout(self, fd: int, name: str) -> bool:
        status = layers.status(name, fd)
        if status is None or status.st_size:
            return False
        return layers.attribute(f"{self._prefix}whiteout", fd, name) is not None

    def _opaque(self, folder: Folder, name: str) -> bytes | None:
        """Return the value of the opaque attribute, as it is once it is needed."""
        if folder.inside(name) in self._planned:
            return b"y"
        return layers.attribute(f"{self._prefix}opaque", folder.fd, name)

    def _strip(self, folder: Folder, name: str, keep: Collection[str] = ()) -> Iterator[Step]:
        if folder.inside(name) not in self._planned:
            yield from strip(folder, name, self._prefix, keep)
        elif "opaque" not in keep and stat.S_ISDIR(os.lstat(name, dir_fd=folder.fd).st_mode):
            yield self._unmark(folder, name, f"{self._prefix}opaque")

    # Steps

    def _create_device(self, target: Folder, name: str) -> Step:
        path = target.inside(name)
        return Step(
            Verb.CREATE, path, "a whiteout, since lower layers have the name",
            lambda: changing.mknod(name, target.fd, stat.S_IFCHR),
            (("mknod", "--", path, "c", "0", "0"),),
        )  # fmt: skip

    def _mark(self, folder: Folder, name: str, attribute: str) -> Step:
        path = folder.inside(name)
        return Step(
            Verb.MARK, path, attribute,
            lambda: changing.set_attribute(attribute, b"y", folder.fd, name),
            (("setfattr", "-h", "-n", attribute, "-v", "y", "--", path),),
        )  # fmt: skip

    def _unmark(self, folder: Folder, name: str, attribute: str) -> Step:
        path = folder.inside(name)
        return Step(
            Verb.UNMARK, path, attribute,
            lambda: changing.remove_attribute(attribute, folder.fd, name),
            (("setfattr", "-h", "-x", attribute, "--", path),),
        )  # fmt: skip

    def _copy(self, source: Folder, target: Folder, name: str) -> Step:
        first = self._first(source, target, name)
        if first is not None:
            return copying.another_name(first, self._root, target, name)

        return copying.copy_step(source, target, name, self._prefix)

    def _first(self, source: Folder, target: Folder, name: str) -> str | None:
        """Return where another name of the file has been copied to, if there is one."""
        status = os.stat(name, dir_fd=source.fd, follow_symlinks=False)
        if status.st_nlink == 1:
            return None
        path = target.inside(name)
        first = self._links.setdefault((status.st_dev, status.st_ino), path)
        return None if first == path else first

    def _is_copied(self, source: Folder, target: Folder, name: str) -> bool:
        """Tell whether an earlier run has copied a file already.

        One of several names is copied again: which of the others it is a name of is not known.
        """
        one = os.stat(name, dir_fd=source.fd, follow_symlinks=False)
        other = os.stat(name, dir_fd=target.fd, follow_symlinks=False)
        ours, theirs = File(name, source.fd, one), File(name, target.fd, other)
        return one.st_nlink == 1 and same_file(ours, theirs, self._prefix)

    # Whole trees

    @contextmanager
    def _beneath(self, below: MergedDir, name: str, *, opaque: bool) -> Iterator[MergedDir]:
        """Yield what layers below merge with a directory: nothing where that is opaque."""
        found = Found() if opaque else lower.look(self._resolver, below, name)
        parts = found.parts if found.letter == "d" and not found.error else []
        try:
            yield MergedDir(below.child_path(name), parts)
        finally:
            found.close()

    def _strip_tree(self, source: Folder, name: str, below: MergedDir) -> Iterator[Step]:
        """Yield the steps that take the markers off a tree that is moved as a whole.

        A directory in it stays opaque where layers below have the name, a whiteout stays where it
        hides something: the others go before what lets a listing leave them out.
        """
        if self._marks is not None and not self._marks.in_tree(below.path):
            return
        fd = layers.open_dir(name, source.fd)
        try:
            inner = Folder(fd, source.inside(name), self._prefix)
            marked = self.has_marked_files(below.path)
            for one, letter in sorted(self.scan(inner, below.path).items()):
                if letter == "w":
                    yield from self._without_effect(inner, one, below)
                elif letter != "d":
                    if marked:
                        yield from self._strip(inner, one)
                else:
                    yield from self._strip_below(inner, one, below)
            yield from inner.restore()
        finally:
            os.close(fd)
        yield from self._strip(source, name, keep=("opaque",))

    def _strip_below(self, folder: Folder, name: str, below: MergedDir) -> Iterator[Step]:
        opaque = self._stays_opaque(folder, name, below)
        with self._beneath(below, name, opaque=opaque) as deeper:
            yield from self._strip_tree(folder, name, deeper)
        if not opaque:
            yield from self._strip(folder, name)

    def _without_effect(self, folder: Folder, name: str, below: MergedDir) -> Iterator[Step]:
        status = layers.status(name, folder.fd)
        if status is not None and not lower.hides(self._resolver, below, name):
            yield folder.remove(name, status, "nothing is left to hide")

    def _stays_opaque(self, folder: Folder, name: str, below: MergedDir) -> bool:
        return self._opaque(folder, name) == b"y" and lower.hides(self._resolver, below, name)

    def _copy_tree(
        self, source: Folder, target: Folder, name: str, below: MergedDir, *, opaque: bool
    ) -> Iterator[Step]:
        """Yield the steps that copy a directory with all that it holds."""
        path = target.inside(name)
        if source.inside(name) in self._planned:
            raise _unknown(source.inside(name))
        yield Step(Verb.CREATE, path, f"as {source.inside(name)}",
                   lambda: changing.mkdir(name, target.fd), (("mkdir", "--", path),))  # fmt: skip
        if opaque:
            yield self._mark(target, name, f"{self._prefix}opaque")
        fd = layers.open_dir(name, source.fd)
        made = Later(target, name)
        try:
            inner = Folder(fd, source.inside(name), self._prefix)
            for one, letter in sorted(self.scan(inner, below.path).items()):
                yield from self._copy_one(inner, made.folder(self._prefix), one, letter, below)
            yield self._directory_attributes(source, target, name, inner.times)
        finally:
            os.close(fd)
            made.close()

    def _copy_one(
        self, source: Folder, target: Folder, name: str, letter: str, below: MergedDir
    ) -> Iterator[Step]:
        if letter == "d":
            opaque = self._stays_opaque(source, name, below)
            with self._beneath(below, name, opaque=opaque) as deeper:
                yield from self._copy_tree(source, target, name, deeper, opaque=opaque)
        elif letter != "w":
            yield self._copy(source, target, name)
        elif lower.hides(self._resolver, below, name):
            yield self._create_device(target, name)

    def _directory_attributes(
        self, source: Folder, target: Folder, name: str, times: tuple[int, int]
    ) -> Step:
        places = (name, source.fd), (name, target.fd)
        path = target.inside(name)
        return Step(
            Verb.ATTRIBUTES, path, f"as those of {source.inside(name)}",
            lambda: copying.copy_attributes(*places, self._prefix, times),
            copying.attribute_words(*places, path, self._prefix, times),
        )  # fmt: skip


def _unknown(path: str) -> RefusedError:
    return RefusedError(
        "steps-unknown",
        f"the steps for {path} are not known before earlier ones are done",
        why="a redirect leads to what it holds, and the lower layer is on another filesystem",
        hint="run it without -n and --print, or create a layer without redirects first with "
        "layerctl deref",
    )


def _unread(_: str, error: OSError) -> None:
    raise error

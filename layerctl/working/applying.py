"""Apply what a run wrote to the directories that its layers were over, which are in use.

Unlike commit, nothing covers what is changed, so a name leads to the old file or to the whole new
one at any time: a file is copied to another name, then renamed over the old one. The layers stay as
they are, so that running it again completes what was interrupted: what is done already is skipped.

What must not be lost is what the host changed since the run began: each file and directory that
would be replaced or removed is looked at before anything is changed. The kernel sets a file's
change time (st_ctime) for every change, also of a rename, and no program can set it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from layerctl.kernel import beneath, changing, handles, layers
from layerctl.working import copying
from layerctl.working.sameness import File, same_content, same_metadata
from layerctl.working.steps import Folder, Step, Verb


class Conflict(NamedTuple):
    """A path that the host changed since the run began, and how."""

    path: str
    what: str


class Since(NamedTuple):
    """When the host was as the run saw it: what changed later is a conflict.

    `resumed` means that applying was interrupted, so that directories were changed by that;
    `temporary` is what a file is called before it is whole, which other users cannot guess.
    """

    time: int
    resumed: bool
    temporary: str


#: Whether a path, from the root, is to be applied, or something in it is.
Wanted = Callable[[str], bool]


class Applier:
    """Applies one layer. `path` is that of the directory it was over, `wanted` chooses paths."""

    def __init__(self, prefix: str, since: Since, wanted: Wanted, *, opens: Wanted) -> None:
        self._prefix = prefix
        self._since = since
        self._wanted = wanted
        self._opens = opens
        self._links: dict[tuple[int, int], tuple[int, str]] = {}
        self._held: dict[beneath.Identity, int] = {}

    def close(self) -> None:
        """Close what was kept open for hard links."""
        for fd in self._held.values():
            os.close(fd)
        self._held = {}

    # Conflicts

    def conflicts(self, upper: int, host: int, path: str) -> Iterator[Conflict]:
        """Yield what the host changed of what would be changed in a directory."""
        yield from self._conflicts(upper, host, path.rstrip("/"), opaque=False)

    def _conflicts(self, upper: int, host: int, path: str, *, opaque: bool) -> Iterator[Conflict]:
        names = layers.scan(upper, layers.LETTER_OF)
        for name, letter in sorted(names.items()):
            place = f"{path}/{name}"
            if not self._opens(place):
                continue
            status = layers.status(name, host)
            if letter == "d":
                yield from self._of_directory(upper, host, name, place, status, opaque=opaque)
            elif self._wanted(place):
                yield from self._of_file(upper, host, name, place, status, letter=letter)
        if opaque:
            for name in sorted(layers.scan(host, layers.LETTER_OF)):
                if (
                    name not in names
                    and name != self._since.temporary
                    and self._wanted(f"{path}/{name}")
                ):
                    yield from self._newer(host, name, f"{path}/{name}", "and the run removed it")

    def _of_file(
        self, upper: int, host: int, name: str, place: str, status: os.stat_result | None,
        *, letter: str,
    ) -> Iterator[Conflict]:  # fmt: skip
        if status is None:
            if letter != "w" and self._was_removed(upper, host, name):
                yield Conflict(place, "it was removed, and the run changed it")
            return
        if letter == "w":
            yield from self._newer(host, name, place, "and the run removed it")
        elif not self._same(upper, host, name, status):
            yield from self._newer(host, name, place, "and the run changed it")

    def _of_directory(
        self, upper: int, host: int, name: str, place: str, status: os.stat_result | None,
        *, opaque: bool,
    ) -> Iterator[Conflict]:  # fmt: skip
        if status is None:
            if self._wanted(place) and not opaque and self._was_removed(upper, host, name):
                yield Conflict(place, "it was removed, and the run changed what is in it")
            return
        if not stat.S_ISDIR(status.st_mode):
            if self._wanted(place):
                yield from self._newer(host, name, place, "and the run replaced it")
            return
        inner_opaque = opaque or self._is_opaque(upper, name)
        one, other = layers.open_dir(name, upper), layers.open_dir(name, host)
        try:
            origin = self._origin(upper, name)
            if origin is not None and not inner_opaque and not _is_origin(origin, other):
                yield Conflict(place, "another directory took its place")
                return
            yield from self._conflicts(one, other, place, opaque=inner_opaque)
            if self._wanted(place) and not self._same_look(one, other):
                yield from self._changed(place, status, "and its owner, mode or attributes differ")
        finally:
            os.close(one)
            os.close(other)

    def _newer(self, host: int, name: str, place: str, why: str) -> Iterator[Conflict]:
        """Yield what of a tree on the host was changed since the run began."""
        status = layers.status(name, host)
        if status is None:
            return
        yield from self._changed(place, status, why)
        if not stat.S_ISDIR(status.st_mode):
            return
        fd = layers.open_dir(name, host)
        try:
            for one in sorted(layers.scan(fd, layers.LETTER_OF)):
                yield from self._newer(fd, one, f"{place}/{one}", why)
        finally:
            os.close(fd)

    def _changed(self, place: str, status: os.stat_result, why: str) -> Iterator[Conflict]:
        when = status.st_ctime_ns
        if self._since.resumed:
            # Removing a name changes the times of its directory, and st_ctime of its other names.
            when = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
        if when <= self._since.time:
            return
        yield Conflict(place, f"it was created or changed, {why}")

    def _was_removed(self, upper: int, host: int, name: str) -> bool:
        """Tell whether the host removed what the run changed, rather than the run renamed it."""
        origin = self._origin(upper, name)
        status = layers.status(name, upper)
        if origin is None or status is None or self._since.resumed:
            return False
        if os.fstat(host).st_ctime_ns <= self._since.time:
            return False
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            return False  # the other name is that of the lower file
        handle = handles.parsed(origin)
        try:
            return handle is None or handles.decode(handle, host) is None
        except OSError:
            return True  # only root can know

    def _origin(self, fd: int, name: str) -> bytes | None:
        return layers.attribute(f"{self._prefix}origin", fd, name)

    def _is_opaque(self, fd: int, name: str) -> bool:
        return layers.attribute(f"{self._prefix}opaque", fd, name) == b"y"

    # What is the same already

    def _same(self, upper: int, host: int, name: str, status: os.stat_result) -> bool:
        ours = layers.status(name, upper)
        if ours is None:
            return False
        one, other = File(name, upper, ours), File(name, host, status)
        return same_content(one, other) and same_metadata(one, other, self._prefix)

    def _same_look(self, one: int, other: int) -> bool:
        ours = File(".", one, os.fstat(one))
        return same_metadata(ours, File(".", other, os.fstat(other)), self._prefix, times=False)

    # Steps

    def steps(self, upper: int, host: int, path: str, *, root_changed: bool) -> Iterator[Step]:
        """Yield the steps for a layer, each to be done before the next one is asked for.

        `root_changed` means that the run changed the owner, mode or attributes of its root.
        """
        folder = Folder(upper, path.rstrip("/"), self._prefix)
        target = Folder(host, path.rstrip("/"), self._prefix)
        yield from self._directory(folder, target, opaque=False)
        if root_changed and self._wanted(path):
            yield self._attributes(folder, target, ".", path)

    def _directory(self, source: Folder, target: Folder, *, opaque: bool) -> Iterator[Step]:
        names = layers.scan(source.fd, layers.LETTER_OF)
        there = layers.scan(target.fd, layers.LETTER_OF) if target.fd >= 0 else {}
        if self._since.resumed and self._since.temporary in there:
            yield from self._remove(target, self._since.temporary, "an earlier run was interrupted")
        for name, letter in sorted(names.items()):
            place = target.inside(name)
            if not self._opens(place):
                continue
            if letter == "d":
                yield from self._subdirectory(source, target, name, opaque=opaque)
            elif self._wanted(place):
                if letter != "w":
                    yield from self._file(source, target, name)
                elif name in there:
                    yield from self._remove(target, name, "the run removed it")
        if opaque:
            for name in sorted(there):
                if (
                    name not in names
                    and name != self._since.temporary
                    and self._wanted(target.inside(name))
                ):
                    yield from self._remove(target, name, "the run removed it")

    def _remove(self, target: Folder, name: str, why: str) -> Iterator[Step]:
        """Yield the steps that remove a name with all that is in it, from the bottom up."""
        status = layers.status(name, target.fd)
        if status is None:
            return
        path = target.inside(name)
        if not stat.S_ISDIR(status.st_mode):
            yield Step(Verb.REMOVE, path, why, lambda: changing.unlink(name, target.fd),
                       (("rm", "-f", "--", path),))  # fmt: skip
            return
        fd = layers.open_dir(name, target.fd)
        try:
            inner = Folder(fd, path, self._prefix)
            for one in sorted(layers.scan(fd, layers.LETTER_OF)):
                yield from self._remove(inner, one, why)
        finally:
            os.close(fd)
        yield Step(Verb.REMOVE, path, why, lambda: changing.rmdir(name, target.fd),
                   (("rmdir", "--", path),))  # fmt: skip

    def _subdirectory(
        self, source: Folder, target: Folder, name: str, *, opaque: bool
    ) -> Iterator[Step]:
        path = target.inside(name)
        status = layers.status(name, target.fd) if target.fd >= 0 else None
        new = status is None
        if status is not None and not stat.S_ISDIR(status.st_mode):
            if not self._wanted(path):
                return
            yield from self._remove(target, name, "the run put a directory there")
            new = True
        if new:
            words = (("mkdir", "--", path),)
            yield Step(Verb.CREATE, path, "the run created it",
                       lambda: changing.mkdir(name, target.fd), words)  # fmt: skip
        opaque = opaque or self._is_opaque(source.fd, name)
        one = layers.open_dir(name, source.fd)
        other = _opened(name, target.fd)
        try:
            below = Folder(one, source.inside(name), self._prefix)
            yield from self._directory(below, Folder(other, path, self._prefix), opaque=opaque)
            times = new or self._unchanged(status)
            if new or (self._wanted(path) and not self._same_look(one, other)):
                yield self._attributes(source, target, name, path)
            elif times and self._wanted(path) and other >= 0:
                yield from self._times(one, other, path)
        finally:
            os.close(one)
            if other >= 0:
                os.close(other)

    def _unchanged(self, status: os.stat_result | None) -> bool:
        """Tell whether the host left a directory as it was, so that the run's time counts."""
        if status is None:
            return True
        return self._since.resumed or status.st_ctime_ns <= self._since.time

    def _times(self, one: int, other: int, path: str) -> Iterator[Step]:
        ours, theirs = os.fstat(one), os.fstat(other)
        if ours.st_mtime_ns == theirs.st_mtime_ns:
            return
        times = ours.st_atime_ns, ours.st_mtime_ns
        yield Step(Verb.TIMES, path, "as in the run", lambda: changing.set_times(*times, other), ())

    def _attributes(self, source: Folder, target: Folder, name: str, path: str) -> Step:
        places = (name, source.fd), (name, target.fd)
        status = os.stat(name, dir_fd=source.fd, follow_symlinks=False)
        times = status.st_atime_ns, status.st_mtime_ns
        return Step(
            Verb.ATTRIBUTES, path, "as in the run",
            lambda: copying.copy_attributes(*places, self._prefix, times), (),
        )  # fmt: skip

    def _file(self, source: Folder, target: Folder, name: str) -> Iterator[Step]:
        path = target.inside(name)
        ours = os.stat(name, dir_fd=source.fd, follow_symlinks=False)
        status = layers.status(name, target.fd) if target.fd >= 0 else None
        key = ours.st_dev, ours.st_ino
        first = self._links.get(key) if ours.st_nlink > 1 else None
        one = File(name, source.fd, ours)
        same = status is not None and self._holds(one, File(name, target.fd, status))
        if first is not None:
            if not (same and status is not None and _is_link(first, status)):
                yield from self._cleared(target, name, status)
                yield self._link(first, target, name)
            return
        if same and status is not None:
            if not same_metadata(one, File(name, target.fd, status), self._prefix):
                yield self._attributes(source, target, name, path)
        else:
            yield from self._cleared(target, name, status)
            yield self._copy(source, target, name)
        if ours.st_nlink > 1 and target.fd >= 0:
            self._links[key] = self._held_open(target.fd), name

    def _holds(self, one: File, other: File) -> bool:
        """Tell whether a file on the host holds the same, so that its attributes may be set.

        One with several names is only the same if it is the one that was copied up.
        """
        if one.status.st_rdev != other.status.st_rdev or not same_content(one, other):
            return False
        return other.status.st_nlink == 1 or self._origin(one.fd, one.name) is not None

    def _held_open(self, fd: int) -> int:
        """Return a descriptor of a directory that stays open, one for each directory."""
        identity = beneath.identity(fd)
        if identity not in self._held:
            self._held[identity] = os.dup(fd)
        return self._held[identity]

    def _cleared(self, target: Folder, name: str, status: os.stat_result | None) -> Iterator[Step]:
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield from self._remove(target, name, "the run put a file there")

    def _copy(self, source: Folder, target: Folder, name: str) -> Step:
        def run() -> None:
            copying.copy_file((name, source.fd), (self._since.temporary, target.fd), self._prefix)
            changing.rename(self._since.temporary, target.fd, name, target.fd)

        path = target.inside(name)
        words = (("cp", "-a", "--", source.inside(name), path),)
        return Step(Verb.COPY, path, "the run wrote it", run, words)

    def _link(self, first: tuple[int, str], target: Folder, name: str) -> Step:
        def run() -> None:
            changing.link(first[1], first[0], self._since.temporary, target.fd)
            changing.rename(self._since.temporary, target.fd, name, target.fd)

        return Step(Verb.CREATE, target.inside(name), f"a link to {first[1]}", run, ())


def _opened(name: str, fd: int) -> int:
    """Open a directory that in a dry run may not exist; -1 then."""
    if fd < 0:
        return -1
    try:
        return layers.open_dir(name, fd)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return -1


def _is_link(first: tuple[int, str], status: os.stat_result) -> bool:
    there = layers.status(first[1], first[0])
    return there is not None and os.path.samestat(there, status)


def _is_origin(raw: bytes, fd: int) -> bool:
    """Tell whether a handle in an attribute may be that of an open directory."""
    wanted = handles.parsed(raw)
    found = handles.of(fd)
    if wanted is None or found is None:
        return True  # it is unknown where it was
    return (wanted.type, wanted.handle) == (found.type, found.handle)

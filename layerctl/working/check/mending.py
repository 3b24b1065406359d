"""Mend the faults of layers: each change is a step, and what is removed goes to a quarantine."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from layerctl.errors import RefusedError
from layerctl.inspecting.resolvers.resolver import Found
from layerctl.kernel import beneath, changing, layers
from layerctl.working.copying import copy_attributes
from layerctl.working.steps import Folder, Step, Verb

_NAME = "{}.layerctl-quarantine"


class Mender:
    """Makes the steps that mend: `paths` and `roots` are those of the layers, and of WORK.

    Raises RefusedError if there is no room for the quarantine beside a layer.
    """

    def __init__(
        self, paths: dict[int, str], roots: dict[int, int], prefix: str, *, quarantine: bool
    ) -> None:
        self._paths = paths
        self._roots = roots
        self._prefix = prefix
        self._quarantine = quarantine
        self._opened: dict[int, int] = {}
        self._serial = 0

    def close(self) -> None:
        """Close what was opened."""
        for fd in self._opened.values():
            os.close(fd)
        self._opened.clear()

    def demand_room(self, layer: int) -> None:
        """Raise RefusedError if there can be no quarantine beside a layer, and one is wanted."""
        if self._quarantine:
            os.close(self._above(layer))

    def remove_any(self, layer: int, path: str) -> Iterator[Step]:
        """Move a name out of its layer, a directory with all that it holds."""
        with self._folder(layer, path) as (folder, name):
            status = layers.status(name, folder.fd)
            if status is None:
                return
            is_dir = stat.S_ISDIR(status.st_mode)
            if is_dir and not self._quarantine:
                fd = layers.open_dir(name, folder.fd)
                try:
                    below = sorted(os.listdir(fd))
                finally:
                    os.close(fd)
                for inner in below:
                    yield from self.remove_any(layer, f"{path}/{inner}")

            def run() -> None:
                if not is_dir:
                    folder.expect(name, status)
                self._move_out(layer, folder.fd, name, path, is_dir=is_dir)

            words = ("rm", "-r", "--", folder.inside(name))
            yield folder.step(Verb.REMOVE, name, "it is a fault", run, words)
            yield from folder.restore()

    def whiteout(self, layer: int, path: str) -> Iterator[Step]:
        """Put a whiteout in the place of a file, or where nothing is, in one step."""
        with self._folder(layer, path) as (folder, name):
            status = layers.status(name, folder.fd)

            def run() -> None:
                if status is None:
                    changing.mknod(name, folder.fd, stat.S_IFCHR)
                    return
                folder.expect(name, status)
                beside = self._beside(layer)
                spare = self._spare(beside)
                changing.mknod(spare, beside, stat.S_IFCHR)
                changing.exchange(spare, beside, name, folder.fd)
                if not self._quarantine:
                    changing.unlink(spare, beside)

            target = folder.inside(name)
            words = (("rm", "-f", "--", target), ("mknod", "--", target, "c", "0", "0"))
            yield folder.step(Verb.CREATE, name, "a whiteout belongs there", run, *words)
            yield from folder.restore()

    def cover(self, layer: int, path: str, shown: Callable[[str], Found]) -> Iterator[Step]:
        """Put a whiteout at a path of a layer, which may lack the directories that it is in.

        They are created as `shown` finds them below, and get their name when they are complete.
        """
        names = path.split("/")
        depth = self._depth(layer, names[:-1])
        if depth == len(names) - 1:
            yield from self.whiteout(layer, path)
            return
        missing = "/".join(names[: depth + 1])
        with self._folder(layer, missing) as (folder, name):

            def run() -> None:
                beside = self._beside(layer)
                spare = self._spare(beside)
                self._build(spare, beside, names[depth:], missing, shown)
                changing.rename(spare, beside, name, folder.fd)

            target = f"{self._paths[layer]}/{path}"
            words = (("mkdir", "-p", "--", os.path.dirname(target)),
                     ("mknod", "--", target, "c", "0", "0"))  # fmt: skip
            yield folder.step(Verb.CREATE, name, "a whiteout belongs in it", run, *words)
            yield from folder.restore()

    def _depth(self, layer: int, names: Sequence[str]) -> int:
        """Return how many directories of a path a layer has."""
        here = os.dup(self._roots[layer])
        try:
            for number, name in enumerate(names):
                if layers.status(name, here) is None:
                    return number
                below = layers.open_dir(name, here)
                os.close(here)
                here = below
        finally:
            os.close(here)
        return len(names)

    def _build(
        self, name: str, fd: int, names: Sequence[str], path: str, shown: Callable[[str], Found]
    ) -> None:
        """Create a directory with the attributes of a lower one, and a whiteout below it."""
        changing.mkdir(name, fd)
        made = layers.open_dir(name, fd)
        try:
            if len(names) == 2:
                changing.mknod(names[1], made, stat.S_IFCHR)
            else:
                self._build(names[1], made, names[1:], f"{path}/{names[1]}", shown)
            found = shown(path)
            try:
                source = found.parts[0].fd
                status = os.fstat(source)
                times = status.st_atime_ns, status.st_mtime_ns
                copy_attributes((".", source), (".", made), self._prefix, times)
            finally:
                found.close()
        finally:
            os.close(made)

    def mark(self, layer: int, path: str, attribute: str, value: bytes) -> Iterator[Step]:
        """Set an attribute."""
        with self._folder(layer, path) as (folder, name):

            def run() -> None:
                self._note(layer, folder.fd, name, path, attribute)
                changing.set_attribute(attribute, value, folder.fd, name)

            target = folder.inside(name) if name != "." else folder.path
            words = ("setfattr", "-h", "-n", attribute, "-v", f"0x{value.hex()}", "--", target)
            yield Step(Verb.MARK, target, attribute, run, (words,))

    def unmark(self, layer: int, path: str, attribute: str) -> Iterator[Step]:
        """Remove an attribute."""
        with self._folder(layer, path) as (folder, name):

            def run() -> None:
                if layers.attribute(attribute, folder.fd, name) is not None:  # as of another link
                    self._note(layer, folder.fd, name, path, attribute)
                    changing.remove_attribute(attribute, folder.fd, name)

            target = folder.inside(name) if name != "." else folder.path
            words = ("setfattr", "-h", "-x", attribute, "--", target)
            yield Step(Verb.UNMARK, target, attribute, run, (words,))

    def unlock(self, layer: int, path: str) -> Iterator[Step]:
        """Remove the immutable and the append-only flag."""
        with self._folder(layer, path) as (folder, name):
            target = folder.inside(name) if name != "." else folder.path

            def run() -> None:
                changing.set_flags(
                    changing.flags(folder.fd, name) & ~changing.LOCKED, folder.fd, name
                )

            words = ("chattr", "-ia", "--", target)
            yield Step(Verb.UNMARK, target, "immutable", run, (words,))

    def restore(self, layer: int, path: str) -> Iterator[Step]:
        """Set the times of a directory that an unfinished run has kept."""
        fd = layers.open_path(path, self._roots[layer])
        try:
            folder = Folder(fd, f"{self._paths[layer]}/{path}".rstrip("/"), self._prefix)
            yield from folder.restore()
        finally:
            os.close(fd)

    @contextmanager
    def _folder(self, layer: int, path: str) -> Iterator[tuple[Folder, str]]:
        above, _, name = path.rpartition("/")
        fd = layers.open_path(above, self._roots[layer])
        try:
            place = f"{self._paths[layer]}/{above}".rstrip("/")
            yield Folder(fd, place, self._prefix), name or "."
        finally:
            os.close(fd)

    # What is removed

    def _move_out(self, layer: int, fd: int, name: str, path: str, *, is_dir: bool) -> None:
        if self._quarantine:
            beside = self._beside(layer)
            spare = self._spare(beside)
            changing.rename(name, fd, spare, beside)
            changing.write(f"{spare}.path", beside, os.fsencode(path))
        elif is_dir:
            changing.rmdir(name, fd)
        else:
            changing.unlink(name, fd)

    def _note(self, layer: int, fd: int, name: str, path: str, attribute: str) -> None:
        """Keep the value of an attribute that is about to change."""
        value = layers.attribute(attribute, fd, name)
        if self._quarantine and value is not None:
            beside = self._beside(layer)
            text = f"{attribute}=0x{value.hex()} ".encode() + os.fsencode(path)
            changing.write(f"{self._spare(beside)}.attribute", beside, text)

    def _spare(self, beside: int) -> str:
        """Return a name that is free in the quarantine."""
        taken = set(os.listdir(beside))
        while any(one.partition(".")[0] == str(self._serial) for one in taken):
            self._serial += 1
        self._serial += 1
        return str(self._serial - 1)

    def _beside(self, layer: int) -> int:
        """Return the open quarantine directory beside a layer, which is created where missing."""
        if layer not in self._opened:
            path = self._paths[layer]
            above = self._above(layer)
            try:
                self._opened[layer] = _open_quarantine(_NAME.format(os.path.basename(path)), above)
            except OSError as error:
                raise _no_room(path) from error
            finally:
                os.close(above)
        return self._opened[layer]

    def _above(self, layer: int) -> int:
        """Open the directory that a layer is in, which must be on its filesystem."""
        path = self._paths[layer]
        try:
            above = beneath.open_directory(os.path.dirname(path) or "/")
        except OSError as error:
            raise _no_room(path) from error
        if os.fstat(above).st_dev != os.fstat(self._roots[layer]).st_dev:
            os.close(above)
            raise _no_room(path)
        return above


def _open_quarantine(name: str, above: int) -> int:
    if layers.status(name, above) is None:
        changing.mkdir(name, above)
    fd = layers.open_dir(name, above)
    if os.fstat(fd).st_uid not in (0, os.fstat(above).st_uid):
        os.close(fd)
        raise PermissionError(1, "the quarantine belongs to another user", name)
    return fd


def _no_room(path: str) -> RefusedError:
    return RefusedError(
        "no-quarantine",
        f"no quarantine directory can be created beside {path}",
        why="it must be on the filesystem of the layer, in a directory that is writable",
        hint="use --no-quarantine to remove what is wrong for good",
    )

"""Make a new layer of an old one, with its markers in another form."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerctl.errors import RefusedError
from layerctl.kernel import changing, layers
from layerctl.rules.overlay import TRUSTED
from layerctl.working import copying
from layerctl.working.converting.forms import Form
from layerctl.working.converting.reading import Marked, Task
from layerctl.working.converting.writing import Writer
from layerctl.working.replacing import new_layer
from layerctl.working.sameness import is_marker
from layerctl.working.steps import PART, Folder, Later, Step, Verb, Words


def steps(root: int, path: str, task: Task, above: Folder, name: str) -> Iterator[Step]:
    """Yield the steps that make the layer `name` in a directory of the one open at `root`."""
    _demand_room(root, path, above)
    yield from new_layer(above, name, _Copier(path, task, above).layer(root, name + PART))


def _demand_room(root: int, path: str, above: Folder) -> None:
    blocks = 0
    for fd, _ in layers.directories(root, lambda _, __: None):
        for name, letter in layers.scan(fd, layers.LETTER_OF).items():
            status = layers.status(name, fd) if letter == "f" else None
            blocks += 0 if status is None else status.st_blocks * 512 // status.st_nlink
    room = os.statvfs(above.fd)
    if blocks > room.f_bavail * room.f_frsize:
        raise RefusedError(
            "no-room",
            f"{above.path} has no room for the {blocks:,} bytes of {path}",
            why="everything in the layer is copied",
            hint="free some room there, or convert the layer in place",
        )


class _Copier:
    def __init__(self, path: str, task: Task, above: Folder) -> None:
        self._path = path
        self._task = task
        self._above = above
        self._prefix = task.source.prefix or task.target.prefix or TRUSTED
        #: Where the first name of a file with several went.
        self._links: dict[tuple[int, int], str] = {}

    def layer(self, root: int, name: str) -> Iterator[Step]:
        """Yield the steps that copy the layer, as `name` beside the place that it will have."""
        yield from self._directory(root, "", self._above, name, None, covered=False)

    def _directory(
        self, fd: int, path: str, above: Folder, name: str, writer: Writer | None, *, covered: bool
    ) -> Iterator[Step]:
        one = Marked(fd, path, self._task)
        covered = covered or one.is_opaque
        target = above.inside(name)
        yield Step(Verb.CREATE, target, "a directory",
                   lambda: changing.mkdir(name, above.fd), (("mkdir", "--", target),))  # fmt: skip
        later = Later(above, name)
        try:
            made = later.folder(self._prefix)
            made = _New(made.fd, made.path, self._prefix)
            writer = writer or Writer(made, self._task, has_base=False, fresh=True)
            yield from writer.whiteouts(one, made, covered=covered)
            for entry, letter in sorted(one.entries.items()):
                if letter != "d":
                    yield self._file(one, made, entry)
                    continue
                inner = layers.open_dir(entry, fd)
                try:
                    place = one.place(entry)
                    yield from self._directory(inner, place, made, entry, writer, covered=covered)
                finally:
                    os.close(inner)
            marks = list(writer.opaque(one, made))
            in_listing = self._task.target.form is not Form.OVERLAY
            yield from marks if in_listing else ()
            yield self._attributes(one, above, name)
            yield from () if in_listing else marks  # which the attributes would replace
        finally:
            later.close()

    def _file(self, one: Marked, target: Folder, name: str) -> Step:
        path, source = target.inside(name), f"{self._path}/{one.place(name)}"
        status = os.stat(name, dir_fd=one.fd, follow_symlinks=False)
        if status.st_nlink > 1:
            key = status.st_dev, status.st_ino
            first = self._links.setdefault(key, path)
            if first != path:
                return self._link(first, target, name)
        fd, gone = one.fd, self._gone(one, name)

        def run() -> None:
            copying.copy_file((name, fd), (name, target.fd), self._prefix)
            for attribute in gone:
                changing.remove_attribute(attribute, target.fd, name)

        words = ("cp", "-a", "--reflink=auto", "-T", "--", source, path)
        return Step(Verb.COPY, path, f"from {self._path}", run, (words, *_without(gone, path)))

    def _gone(self, one: Marked, name: str) -> list[str]:
        """Return the attributes of the old form that copying a file keeps."""
        own = one.own.get(name, ())
        return [attribute for attribute in own if not is_marker(attribute, self._prefix)]

    def _link(self, first: str, target: Folder, name: str) -> Step:
        path = target.inside(name)

        def run() -> None:
            above, _, base = first.removeprefix(f"{self._above.path}/").rpartition("/")
            fd = layers.open_path(above, self._above.fd)
            try:
                changing.link(base, fd, name, target.fd)
            finally:
                os.close(fd)

        return Step(Verb.COPY, path, "another name", run, (("ln", "-P", "-T", "--", first, path),))

    def _attributes(self, one: Marked, above: Folder, name: str) -> Step:
        source, target, path = (".", one.fd), (name, above.fd), above.inside(name)
        status = os.fstat(one.fd)
        times = status.st_atime_ns, status.st_mtime_ns
        gone = self._gone(one, ".")

        def run() -> None:
            copying.copy_attributes(source, target, self._prefix, times)
            for attribute in gone:
                changing.remove_attribute(attribute, above.fd, name)

        words = copying.attribute_words(source, (name, -1), path, self._prefix, times)
        where = f"{self._path}/{one.path}".rstrip("/")
        return Step(Verb.ATTRIBUTES, path, f"as those of {where}", run,
                    (*words, *_without(gone, path)))  # fmt: skip


class _New(Folder):
    """A directory that is being made: its times are set when it is whole."""

    def keep(self) -> None:
        """Keep no times."""


def _without(attributes: list[str], path: str) -> tuple[Words, ...]:
    return tuple(("setfattr", "-h", "-x", one, "--", path) for one in attributes)

"""Read the markers of one directory of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from layerctl.errors import RefusedError
from layerctl.inspecting.resolvers.aufs import META, OPAQUE, PREFIX, is_whiteout
from layerctl.kernel import layers
from layerctl.working.converting.forms import Form, Syntax


class Task(NamedTuple):
    """A conversion: from which form to which one; `resumed` if an earlier run was stopped.

    Then the layer holds markers of both, which mean the same.
    """

    source: Syntax
    target: Syntax
    resumed: bool = False

    @property
    def read(self) -> tuple[Syntax, ...]:
        """The forms whose markers count."""
        return (self.source, self.target) if self.resumed else (self.source,)


class Marked:
    """One directory of a layer, open at `fd`: what is in it, without markers, and the markers.

    `whiteouts` are hidden names, each with the names of the files that hide it. `opaque` are the
    attributes, and the name of the file, that make the directory opaque. `own` are the attributes
    of the forms that are read, by name, `.` for those of the directory, `foreign` those that only
    the form reads to which the layer is converted. `housekeeping` are other names of aufs.
    """

    def __init__(self, fd: int, path: str, task: Task) -> None:
        self.fd = fd
        self.path = path
        self.names = layers.scan(fd, layers.LETTER_OF)
        self.entries: dict[str, str] = {}
        self.whiteouts: dict[str, list[str]] = {}
        self.opaque: list[str] = []
        self.housekeeping: list[str] = []
        self.foreign: dict[str, list[str]] = {}
        self.own: dict[str, list[str]] = {}
        self._task = task
        self._read_attributes()
        for name, letter in self.names.items():
            self._sort(name, letter)
        self._find_opaque()

    def _read_attributes(self) -> None:
        forms = self._task.source, self._task.target
        wanted = _Starting(tuple(prefix for form in forms for prefix in form.prefixes))
        named = [name for name, letter in self.names.items() if letter != "d"]
        found = layers.with_attributes(self.fd, [*named, "."], wanted, self._unread)
        for name, attributes in found.items():
            for attribute in attributes:
                read = any(form.is_own(attribute) for form in self._task.read)
                (self.own if read else self.foreign).setdefault(name, []).append(attribute)

    def _unread(self, name: str, error: OSError) -> None:
        raise unreadable(self.place(name), error)

    def place(self, name: str) -> str:
        """Return where a name is in the layer."""
        if name == ".":
            return self.path
        return f"{self.path}/{name}" if self.path else name

    def _sort(self, name: str, letter: str) -> None:
        files = any(form.files for form in self._task.read)
        if files and name == OPAQUE:
            if letter == "f" or self._task.source.form is Form.FUSE:
                self.opaque.append(name)
            else:
                self.housekeeping.append(name)
        elif files and is_whiteout(name):
            self.whiteouts.setdefault(name.removeprefix(PREFIX), []).append(name)
        elif files and name.startswith(META):
            self.housekeeping.append(name)
        elif self._is_device(letter) or self._is_by_attribute(name, letter):
            self.whiteouts.setdefault(name, []).append(name)
        else:
            self.entries[name] = letter

    def _is_device(self, letter: str) -> bool:
        return letter == "w" and any(form.devices for form in self._task.read)

    def _is_by_attribute(self, name: str, letter: str) -> bool:
        """Tell whether a name is a whiteout by attribute, which a file with contents is not."""
        if letter != "f":
            return False
        marks = {f"{form.prefix}whiteout" for form in self._task.read if form.prefix}
        if not marks & set(self.own.get(name, ())):
            return False
        status = layers.status(name, self.fd)
        return status is not None and not status.st_size

    def _find_opaque(self) -> None:
        for attribute in self.own.get(".", ()):
            for form in self._task.read:
                if form.is_own(attribute) and form.mark(attribute) == "opaque":
                    value = layers.attribute(attribute, self.fd)
                    if value == b"y":
                        self.opaque.append(attribute)
                        break

    @property
    def is_opaque(self) -> bool:
        """Whether it hides what is below; the directory of a layer itself does not."""
        return bool(self.path and self.opaque)


class _Starting:
    """All attributes that start with one of these."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._prefixes) and name.startswith(self._prefixes)


def unreadable(path: str, error: OSError) -> RefusedError:
    """Return the error for a part of a layer that cannot be read."""
    return RefusedError(
        "layer-part-unreadable",
        f"{path} cannot be read: {error.strerror}",
        why="what is not known cannot be converted",
        hint="run the command as root",
    )


def marked(root: int, path: str, task: Task) -> Iterator[Marked]:
    """Yield every directory of a layer. Raises RefusedError for one that cannot be read."""

    def unread(place: str, error: OSError) -> None:
        raise unreadable(f"{path}/{place}", error)

    skipped: list[str] = []
    for fd, place in layers.directories(root, unread):
        if any(place == one or place.startswith(f"{one}/") for one in skipped):
            continue
        found = Marked(fd, place, task)
        skipped += [found.place(name) for name in found.housekeeping]
        yield found

"""Where the markers of a layer are: read once, so that work on it can leave out the rest."""

from __future__ import annotations

from collections.abc import Iterable

from layerctl.kernel import layers

#: So many directories are remembered at most; with more of them, any may have markers.
_MOST = 50_000


class Marks:
    """Where the first layer of an overlay has attributes of overlay, and whiteouts.

    `first` is one path for each attribute, without its prefix; those that are escaped do not count.
    `unread` is what could not be read, with the error.
    """

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        self.unread: list[tuple[str, OSError]] = []
        self._files: set[str] = set()
        self._trees: set[str] = set()

    def in_files(self, path: str) -> bool:
        """Tell whether a directory may have files with attributes of overlay."""
        return path in self._files or len(self._files) >= _MOST

    def in_tree(self, path: str) -> bool:
        """Tell whether a directory, or one below it, may have any marker, itself included."""
        return path in self._trees or len(self._trees) >= _MOST

    def add_files(self, path: str, found: dict[str, list[str]]) -> None:
        """Note the attributes of files in a directory."""
        if len(self._files) < _MOST:
            self._files.add(path)
        for name, marks in found.items():
            self.add(path, marks, f"{path}/{name}" if path else name)

    def add(self, path: str, marks: Iterable[str], of: str) -> None:
        """Note that a directory has markers, and which file or directory has them."""
        for mark in marks:
            self.first.setdefault(mark, of)
        while path not in self._trees and len(self._trees) < _MOST:
            self._trees.add(path)
            path = path.rpartition("/")[0]


class _Own:
    """All attributes of overlay that are not escaped, as a container for `with_attributes`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __contains__(self, name: object) -> bool:
        return str(name).startswith(self._prefix) and not str(name).startswith(
            f"{self._prefix}overlay."
        )


def read(root: int, prefix: str) -> Marks:
    """Read the markers of a layer, open at `root`."""
    marks, own = Marks(), _Own(prefix)

    def unread(path: str, error: OSError) -> None:
        marks.unread.append((path, error))

    for fd, path, names in layers.listed(root, unread):
        try:
            of_directory = layers.attribute_names(fd)
        except OSError as error:
            unread(path, error)
            of_directory = []
        mine = [name.removeprefix(prefix) for name in of_directory if name in own]
        if mine or "w" in names.values():
            marks.add(path, mine, path)
        files = [name for name, letter in names.items() if letter not in "dw"]

        def unread_in(name: str, error: OSError, path: str = path) -> None:
            unread(f"{path}/{name}" if path else name, error)

        found = layers.with_attributes(fd, files, own, unread_in)
        if found:
            marks.add_files(path, {
                name: [one.removeprefix(prefix) for one in those] for name, those in found.items()
            })  # fmt: skip
    return marks

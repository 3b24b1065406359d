"""The entries of a layer archive: files as they are in a layer, without overlay's own attributes.

The entry is the same for the same file: there are no names of users and no access times, and holes
are written as zeros, since where a filesystem has holes is its own affair (and the image
specification advises against sparse entries).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from layerctl.codecs import tar
from layerctl.codecs.tar import Entry
from layerctl.errors import RefusedError
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.aufs import OPAQUE, PREFIX
from layerctl.inspecting.resolvers.resolver import Found, Resolver, look_up
from layerctl.kernel import contents, layers
from layerctl.kernel.streams import PIECE, Digests
from layerctl.rules.aliasing import Aliasing
from layerctl.working.flattening import denied
from layerctl.working.scanning import SEVERAL_LAYERS, indexed

#: Attributes that belong to this machine, not to the files.
_OF_THE_HOST = frozenset({"security.selinux", "security.evm"})
_KINDS = {"f": tar.FILE, "l": tar.SYMLINK, "c": tar.CHAR, "b": tar.BLOCKDEV, "p": tar.FIFO,
          "w": tar.CHAR}  # fmt: skip
#: A number that is larger than that of any layer.
ALL = 1 << 20
#: How many notes of one kind are kept word for word.
_MOST_NOTES = 10


class Archive(NamedTuple):
    """An archive that was written: its digests, how many entries it has, and what it lacks."""

    path: str
    digests: Digests
    entries: int
    notes: tuple[str, ...]


class Writer:
    """Makes the entries of an archive of layers of an opened stack.

    `run` are their numbers, None for the whole merged tree. Modification times after `epoch`
    (seconds) become that.
    """

    def __init__(self, view: Opened, run: range | None, epoch: int | None) -> None:
        start = 0 if run is None else run.start
        self.paths = view.layers[start:]
        self.resolver: Resolver = view.resolver.below(start) if start else view.resolver
        self.prefix = view.prefix
        self._latest = None if epoch is None else epoch * 10**9
        self._links: dict[tuple[int, int, int], tuple[bytes, int]] = {}
        self._notes: dict[str, None] = {}
        self._more = 0
        self._out: list[bytes] = []
        self._waiting = 0
        self.entries = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not in the archive as it is in the layer."""
        more = (f"{self._more} more notes are left out",) if self._more else ()
        return (*self._notes, *more)

    def add(self, piece: bytes) -> None:
        """Add a piece of the archive."""
        self._out.append(piece)
        self._waiting += len(piece)

    def taken(self) -> bytes:
        """Return what has gathered."""
        piece = b"".join(self._out)
        self._out, self._waiting = [], 0
        return piece

    @property
    def full(self) -> Iterator[bytes]:
        """What has gathered, if that is enough to be written."""
        if self._waiting >= PIECE:
            yield self.taken()

    def note(self, text: str) -> None:
        """Note what is not in the archive as it is in the layer."""
        if len(self._notes) < _MOST_NOTES:
            self._notes[text] = None
        else:
            self._more += 1

    def entry(
        self,
        path: str,
        kind: bytes,
        status: os.stat_result,
        *,
        size: int = 0,
        attributes: Mapping[str, bytes] | None = None,
        link: str = "",
    ) -> None:
        """Add the headers of an entry."""
        modified = status.st_mtime_ns
        if self._latest is not None and modified > self._latest:
            modified = self._latest
        device = (0, 0)
        if kind in (tar.CHAR, tar.BLOCKDEV):
            device = os.major(status.st_rdev), os.minor(status.st_rdev)
        name = os.fsencode(path)
        mode = 0o777 if kind == tar.SYMLINK else status.st_mode
        self.add(tar.encode(Entry(
            name, kind, mode, status.st_uid, status.st_gid, size, modified,
            os.fsencode(link), device, attributes or {},
        )))  # fmt: skip
        self.entries += 1

    def whiteouts(self, path: str, names: list[str], *, opaque: bool) -> None:
        """Add the markers of a directory, before what is in it."""
        hidden = sorted(PREFIX + name for name in names)
        for marker in ([OPAQUE] if opaque else []) + hidden:
            if len(marker) > 255:
                encoded = os.fsencode(marker)
                if len(encoded) > 255:
                    raise _too_long(path, marker)
            self.add(tar.encode(Entry(os.fsencode(path + marker), tar.FILE, 0)))
            self.entries += 1

    def directory(self, path: str, fd: int, names: list[str] | None = None) -> None:
        """Add an open directory; `path` ends with a slash."""
        found = layers.attribute_names(fd) if names is None else names
        attributes = self._attributes(found, fd, None) if found else None
        self.entry(path or "./", tar.DIRECTORY, os.fstat(fd), attributes=attributes)

    def _attributes(self, names: list[str], fd: int, name: str | None) -> dict[str, bytes]:
        """Return the attributes that the merged tree shows, by the names that it shows."""
        found: dict[str, bytes] = {}
        prefix = self.prefix
        for attribute in names:
            shown = attribute
            if prefix is not None and attribute.startswith(prefix):
                if not attribute.startswith(f"{prefix}overlay."):
                    continue
                shown = prefix + attribute[len(prefix) + len("overlay.") :]
            if attribute in _OF_THE_HOST:
                continue
            value = layers.attribute(attribute, fd, name)
            if value is None:
                continue
            if "=" in shown:
                raise _bad_attribute(shown)
            found[shown] = value
        return found

    def demand_name(self, path: str, name: str) -> None:
        """Raise RefusedError for a name that would be a whiteout in the archive."""
        if name.startswith(PREFIX):
            raise RefusedError(
                "name-reserved",
                f"{path}{name} cannot be in a layer archive",
                why=f"names that start with '{PREFIX}' are whiteouts there",
                hint="rename it, or remove it from the layer",
            )

    def file(
        self, path: str, name: str, letter: str, place: tuple[int, int], last: int
    ) -> Iterator[bytes]:
        """Add what is not a directory, as it is in one layer: its number, and an open directory.

        `path` is the directory's, `last` the last layer that is written.
        """
        layer, fd = place
        if letter != "f":
            self._special(path, name, letter, layer, fd)
            return
        read = contents.read(name, fd)
        if read.attributes and self._is_elsewhere(read.attributes):
            if read.fd >= 0:
                os.close(read.fd)
            yield from self.looked_up(path, name, last)
            return
        yield from self._regular(path + name, layer, read, (fd, name))

    def _is_elsewhere(self, names: list[str]) -> bool:
        """Tell whether a file has markers that only a lookup understands."""
        return self.prefix is not None and any(self.prefix + one in names for one in _ELSEWHERE)

    def _regular(
        self, path: str, layer: int, read: contents.Read, place: tuple[int, str]
    ) -> Iterator[bytes]:
        status, names, content, opened = read
        if status.st_nlink > 1 and self._linked(path, layer, status):
            if opened >= 0:
                os.close(opened)
            return
        attributes = self._attributes(names, *place) if names else None
        size = status.st_size
        self.entry(path, tar.FILE, status, size=size, attributes=attributes)
        if content is not None:
            self.add(content)
        else:
            for piece in contents.pieces(opened, size):
                self.add(piece)
                yield from self.full
        self.add(tar.padding(size))

    def _linked(self, path: str, layer: int, status: os.stat_result) -> bool:
        """Add another name of a file that is in the archive; False if it is not yet."""
        key = layer, status.st_dev, status.st_ino
        name = os.fsencode(path)
        known = self._links.pop(key, None)
        if known is None:
            self._links[key] = name, status.st_nlink - 1
            return False
        first, left = known
        if left > 1:  # the others are forgotten, so that only what is needed is in memory
            self._links[key] = first, left - 1
        self.entry(path, tar.LINK, status, link=os.fsdecode(first))
        return True

    def _special(self, path: str, name: str, letter: str, layer: int, fd: int) -> None:
        if letter == "s":
            self.note(f"{path}{name} is a socket, which no archive can hold; it is left out")
            return
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if layers.letter_of(status) != letter:
            raise _changed(path + name)
        if status.st_nlink > 1 and self._linked(path + name, layer, status):
            return
        link = os.readlink(name, dir_fd=fd) if letter == "l" else ""
        names = layers.attribute_names(fd, name)
        attributes = self._attributes(names, fd, name) if names else None
        kind = _KINDS[letter]
        self.entry(path + name, kind, status, attributes=attributes, link=link)

    def looked_up(self, path: str, name: str, last: int) -> Iterator[bytes]:
        """Add a file whose markers refer to the layers below."""
        found = look_up(self.resolver, path + name)
        try:
            yield from self.found(path, name, found, last)
        finally:
            found.close()

    def found(self, path: str, name: str, found: Found, last: int) -> Iterator[bytes]:
        """Add the file that a lookup found; its data may be in another layer than its metadata."""
        if found.error:
            raise denied(path + name, found)
        if not found.parts or found.parts[0].layer > last:
            if last < ALL:
                self.whiteouts(path, [name], opaque=False)  # by attribute
            return
        part = found.parts[0]
        place = part.layer, part.path
        if found.alias is not None and found.alias.what is Aliasing.INDEXED:
            raise indexed(SEVERAL_LAYERS)
        above, base = self._open(*place)
        try:
            if found.letter != "f":
                self._special(path, name, found.letter or "", part.layer, above)
                return
            read = contents.read(base, above)
            if found.metacopy and found.data is not None and found.data != place:
                read = self._with_data(read, found.data, path + name)
            yield from self._regular(path + name, part.layer, read, (above, base))
        finally:
            os.close(above)

    def _with_data(self, read: contents.Read, data: tuple[int, str], path: str) -> contents.Read:
        """Return metadata of one file with the content of another."""
        if read.fd >= 0:
            os.close(read.fd)
        above, base = self._open(*data)
        try:
            other = contents.read(base, above)
        finally:
            os.close(above)
        if other.status.st_size != read.status.st_size:
            if other.fd >= 0:
                os.close(other.fd)
            raise _changed(path)
        return read._replace(content=other.content, fd=other.fd)

    def _open(self, layer: int, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return layers.open_path(above, self.resolver.roots[layer]), name


#: Markers because of which a file is not what its layer alone shows.
_ELSEWHERE = frozenset({"metacopy", "redirect", "whiteout"})


def _changed(path: str) -> RefusedError:
    return RefusedError(
        "layer-changed",
        f"{path} was changed while layerctl read it",
        why="another program writes to the layer",
        hint="stop the other program, and run the command again",
    )


def _too_long(path: str, marker: str) -> RefusedError:
    return RefusedError(
        "name-reserved",
        f"the whiteout of {path}{marker[len(PREFIX) :]} cannot be in a layer archive",
        why=f"with '{PREFIX}' its name would be longer than 255 bytes",
        hint="squash the layer with those below it, so that no whiteout is needed",
    )


def _bad_attribute(attribute: str) -> RefusedError:
    return RefusedError(
        "name-reserved",
        f"the attribute {attribute} cannot be in a layer archive",
        why="the name of a record ends at its first '='",
        hint="remove the attribute",
    )

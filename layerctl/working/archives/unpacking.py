"""Unpack the entries of a layer archive into a directory: as a layer, or onto a plain tree.

Nothing is reached by a path: each name is looked up in the directory that it is in, and no link is
followed. An opaque marker and a whiteout apply to what is below the layer, wherever they are in the
archive; what the archive itself has stays.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from layerctl.errors import RefusedError
from layerctl.inspecting.resolvers.aufs import META, OPAQUE, PREFIX
from layerctl.kernel import changing, filling, layers
from layerctl.kernel.filling import Look
from layerctl.kernel.streams import Digests
from layerctl.working import copying
from layerctl.working.archives.members import Member, Members, parts_of, unsafe

OVERLAY, AUFS, PLAIN = "overlay", "aufs", "plain"
_MOST_NOTES = 10
_AUFS_MODE = 0o444


class Unpacked(NamedTuple):
    """A layer that was unpacked: where, its digests, how many entries, and what it lacks."""

    path: str
    digests: Digests
    entries: int
    notes: tuple[str, ...]


class Manner(NamedTuple):
    """How to unpack: as what, with which prefix of attributes, and whose the files are.

    `owner` returns the owner of a file, None to keep that of the caller.
    """

    form: str
    prefix: str
    owner: Callable[[int, int], tuple[int, int] | None]


class _Frame:
    """An open directory on the way to the current one. Its times are set when it is left."""

    def __init__(self, name: str, fd: int, *, opaque: bool) -> None:
        self.name = name
        self.fd = fd
        self.opaque = opaque
        self.gives_acl = filling.gives_acl(fd)
        status = os.fstat(fd)
        self.times = status.st_atime_ns, status.st_mtime_ns

    def close(self) -> None:
        """Set the times, and close it."""
        try:
            changing.set_times(*self.times, self.fd)
        finally:
            os.close(self.fd)


class Unpacker:
    """Unpacks into the open directory `root`; `below` are the open layers below, topmost first."""

    def __init__(self, root: int, manner: Manner, below: list[int]) -> None:
        self._manner = manner
        self._below = below
        self._frames = [_Frame("", os.dup(root), opaque=False)]
        self._since = filling.next_time_on(root) if manner.form == PLAIN else 0
        self._notes: dict[str, None] = {}
        self._more = 0
        self.entries = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What the tree lacks of the archive."""
        more = (f"{self._more} more notes are left out",) if self._more else ()
        return (*self._notes, *more)

    def _note(self, text: str) -> None:
        if len(self._notes) < _MOST_NOTES:
            self._notes[text] = None
        else:
            self._more += 1

    def run(self, members: Members) -> None:
        """Unpack all of it. Raises LayerctlError and OSError."""
        try:
            for member in members:
                self.entries += 1
                self._one(member, members)
        finally:
            while self._frames:
                self._frames.pop().close()

    def _one(self, member: Member, members: Members) -> None:
        if not member.parts:
            self._root(member)
            return
        *above, name = member.parts
        if any(part.startswith(PREFIX) for part in above):
            self._drain(member, members)  # what aufs keeps for itself
            return
        frame = self._enter(above)
        if name.startswith(PREFIX):
            self._drain(member, members)
            self._marker(frame, name, member)
        elif member.kind == "d":
            self._directory(frame, name, member)
        elif member.kind == "f":
            self._file(frame, name, member, members)
        elif member.kind == "h":
            self._link(frame, name, member)
        else:
            self._special(frame, name, member)

    @staticmethod
    def _drain(member: Member, members: Members) -> None:
        if member.kind == "f":
            for _ in members.placed(member):
                pass

    def _look(self, member: Member, frame: _Frame | None) -> Look:
        prefix = self._manner.prefix
        attributes = member.attributes
        if self._manner.form == OVERLAY and attributes:
            attributes = {
                f"{prefix}overlay.{name.removeprefix(prefix)}" if name.startswith(prefix) else name:
                value for name, value in attributes.items()
            }  # fmt: skip
        return Look(
            member.mode, self._manner.owner(member.uid, member.gid), attributes, member.modified,
            inherits=frame is not None and frame.gives_acl,
        )  # fmt: skip

    def _lacking(self, member: Member, names: list[str]) -> None:
        for name in names:
            self._note(f"{member.path} has no attribute {name}, which is not permitted here")

    # Directories

    def _enter(self, parts: list[str]) -> _Frame:
        """Return the open directory of a name, which is created if the archive has not done so."""
        depth = 0
        while depth < len(parts) and depth + 1 < len(self._frames):
            if self._frames[depth + 1].name != parts[depth]:
                break
            depth += 1
        while len(self._frames) > depth + 1:
            self._frames.pop().close()
        for number in range(depth, len(parts)):
            self._descend(parts[: number + 1])
        return self._frames[-1]

    def _descend(self, parts: list[str]) -> None:
        frame, name = self._frames[-1], parts[-1]
        try:
            fd = layers.open_dir(name, frame.fd)
        except FileNotFoundError:
            self._implied(frame, parts)
            fd = layers.open_dir(name, frame.fd)
        except NotADirectoryError:
            if not self._hides(frame, name):
                raise unsafe("/".join(parts), "it is not a directory, and has entries") from None
            self._implied(frame, parts)
            fd = layers.open_dir(name, frame.fd)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise unsafe("/".join(parts), "it is a link, and has entries") from None
        opaque = frame.opaque or self._is_opaque(fd)
        self._frames.append(_Frame(name, fd, opaque=opaque))

    def _implied(self, frame: _Frame, parts: list[str]) -> None:
        """Create a directory for which the archive has no entry, as the layers below have it."""
        name = parts[-1]
        self._create_directory(frame, name)
        found = self._in_layers_below(parts)
        if found is None:
            owner = self._manner.owner(0, 0)
            if owner is not None:
                changing.set_owner(*owner, frame.fd, name)
            changing.set_mode(0o755, frame.fd, name)
            return
        above, base = found
        try:
            status = os.stat(base, dir_fd=above, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                times = status.st_atime_ns, status.st_mtime_ns
                place = (name, frame.fd)
                copying.copy_attributes((base, above), place, self._manner.prefix, times)
        finally:
            os.close(above)

    def _in_layers_below(self, parts: list[str]) -> tuple[int, str] | None:
        """Return the topmost file of this name below: its open directory, and its name there."""
        for root in self._below:
            try:
                fd = layers.open_path("/".join(parts[:-1]), root)
            except OSError:
                continue
            status = layers.status(parts[-1], fd)
            if status is not None and layers.letter_of(status) != "w":
                return fd, parts[-1]
            os.close(fd)
            if status is not None:
                return None
        return None

    def _create_directory(self, frame: _Frame, name: str) -> None:
        """Create a directory; one that hides another file, or replaces a whiteout, is opaque."""
        opaque = False
        try:
            changing.mkdir(name, frame.fd)
        except FileExistsError:
            opaque = self._hides(frame, name)
            filling.remove_tree(name, frame.fd)
            changing.mkdir(name, frame.fd)
        if opaque:
            self._make_opaque(frame.fd, name)

    def _hides(self, frame: _Frame, name: str) -> bool:
        """Tell whether a name is a whiteout of the layer."""
        status = layers.status(name, frame.fd)
        return (
            self._manner.form == OVERLAY and status is not None and layers.letter_of(status) == "w"
        )

    def _directory(self, frame: _Frame, name: str, member: Member) -> None:
        status = layers.status(name, frame.fd)
        if status is None or not stat.S_ISDIR(status.st_mode):
            self._create_directory(frame, name)
            if self._manner.form == AUFS and self._whited(frame, name):
                self._unhide(frame, name)
                self._make_opaque(frame.fd, name)
        look = self._look(member, frame)
        self._lacking(member, filling.dress(name, frame.fd, look))

    def _root(self, member: Member) -> None:
        if member.kind != "d":
            raise unsafe(member.path, "the root must be a directory")
        frame = self._enter([])
        self._lacking(member, filling.dress(".", frame.fd, self._look(member, None)))
        frame.times = member.modified, member.modified

    # Files

    def _file(self, frame: _Frame, name: str, member: Member, members: Members) -> None:
        if self._manner.form == AUFS:
            self._unhide(frame, name)
        look, pieces = self._look(member, frame), members.placed(member)
        try:
            missing = filling.file(name, frame.fd, pieces, member.size, look)
        except FileExistsError:  # before anything is read
            filling.remove_tree(name, frame.fd)
            missing = filling.file(name, frame.fd, pieces, member.size, look)
        self._lacking(member, missing)

    def _make_room(self, frame: _Frame, name: str) -> None:
        """Remove what has the name of a new file."""
        if self._manner.form == AUFS:
            self._unhide(frame, name)
        if layers.status(name, frame.fd) is not None:
            filling.remove_tree(name, frame.fd)

    def _special(self, frame: _Frame, name: str, member: Member) -> None:
        self._make_room(frame, name)
        if member.kind == "l":
            if not member.link or "\0" in member.link:
                raise unsafe(member.path, "it is a link to an empty name")
            changing.symlink(member.link, name, frame.fd)
        else:
            if member.kind == "c" and not any(member.device) and self._manner.form == OVERLAY:
                raise unsafe(member.path, "a device 0:0 is a whiteout in an overlay")
            try:
                filling.special(name, frame.fd, member.kind, member.device)
            except PermissionError:
                self._note(f"{member.path} is a device, which needs root; it is left out")
                return
        look = self._look(member, frame)
        self._lacking(member, filling.dress(name, frame.fd, look, link=member.kind == "l"))

    def _link(self, frame: _Frame, name: str, member: Member) -> None:
        parts = list(parts_of(member.link))
        if not parts or any(part.startswith(PREFIX) for part in parts):
            raise unsafe(member.path, f"it is another name of '{member.link}'")
        if tuple(parts) == member.parts:
            return
        self._make_room(frame, name)
        try:
            above = layers.open_path("/".join(parts[:-1]), self._frames[0].fd)
        except OSError:
            above = -1
        try:
            if above < 0 or layers.status(parts[-1], above) is None:
                self._link_below(frame, name, parts, member)
                return
            changing.link(parts[-1], above, name, frame.fd)
        except PermissionError:
            raise unsafe(member.path, f"it is another name of '{member.link}'") from None
        finally:
            if above >= 0:
                os.close(above)

    def _link_below(self, frame: _Frame, name: str, parts: list[str], member: Member) -> None:
        """Copy a file of the layers below, of which the archive has another name."""
        found = self._in_layers_below(parts)
        if found is None:
            why = "the archive does not have it, nor do the layers of --below"
            raise unsafe(member.path, f"it is another name of '{member.link}': {why}")
        above, base = found
        try:
            copying.copy_file((base, above), (name, frame.fd), self._manner.prefix)
        finally:
            os.close(above)

    # Markers

    def _marker(self, frame: _Frame, name: str, member: Member) -> None:
        if name == OPAQUE:
            self._opaque(frame)
            return
        if name.startswith(META):
            return
        hidden = name.removeprefix(PREFIX)
        if hidden in ("", ".", ".."):
            raise unsafe(member.path, "it is a whiteout of no name")
        if not frame.opaque:
            self._whiteout(frame, hidden)

    def _opaque(self, frame: _Frame) -> None:
        frame.opaque = True
        if self._manner.form == PLAIN:
            self._empty(frame.fd)
            return
        if len(self._frames) == 1:
            self._note("the root is opaque: the kernel ignores that, put no layer below it")
        self._drop_whiteouts(frame.fd)
        self._make_opaque(frame.fd, ".")

    def _whiteout(self, frame: _Frame, hidden: str) -> None:
        status = layers.status(hidden, frame.fd)
        form = self._manner.form
        if form == PLAIN:
            self._delete(frame, hidden, status)
        elif status is not None:
            if stat.S_ISDIR(status.st_mode):  # the archive has it, in the place of another one
                self._make_opaque(frame.fd, hidden)
        elif form == AUFS:
            self._create_aufs(frame.fd, PREFIX + hidden)
        else:
            changing.mknod(hidden, frame.fd, stat.S_IFCHR)

    def _delete(self, frame: _Frame, name: str, status: os.stat_result | None) -> None:
        """Remove what a plain tree had of a name before."""
        if status is None:
            return
        if status.st_ctime_ns < self._since:
            filling.remove_tree(name, frame.fd)
        elif stat.S_ISDIR(status.st_mode):
            inner = layers.open_dir(name, frame.fd)
            try:
                self._empty(inner)
            finally:
                os.close(inner)

    def _whited(self, frame: _Frame, name: str) -> bool:
        return layers.status(PREFIX + name, frame.fd) is not None

    def _unhide(self, frame: _Frame, name: str) -> None:
        if self._whited(frame, name):
            changing.unlink(PREFIX + name, frame.fd)

    @staticmethod
    def _create_aufs(fd: int, name: str) -> None:
        try:
            changing.write(name, fd, b"")
        except FileExistsError:
            return
        changing.set_mode(_AUFS_MODE, fd, name)

    def _make_opaque(self, fd: int, name: str) -> None:
        if self._manner.form == OVERLAY:
            changing.set_attribute(f"{self._manner.prefix}opaque", b"y", fd, name)
        elif self._manner.form == AUFS:
            inner = layers.open_dir(name, fd)
            try:
                self._create_aufs(inner, OPAQUE)
            finally:
                os.close(inner)

    def _is_opaque(self, fd: int) -> bool:
        if self._manner.form == OVERLAY:
            return layers.attribute(f"{self._manner.prefix}opaque", fd) == b"y"
        return self._manner.form == AUFS and layers.status(OPAQUE, fd) is not None

    def _drop_whiteouts(self, fd: int) -> None:
        """Remove the whiteouts below a directory that has become opaque: they hide nothing."""
        for name, letter in layers.scan(fd, layers.LETTER_OF).items():
            if letter == "w" or (self._manner.form == AUFS and _is_aufs_whiteout(name)):
                changing.unlink(name, fd)
            elif letter == "d":
                inner = layers.open_dir(name, fd)
                try:
                    status = os.fstat(inner)
                    self._drop_whiteouts(inner)
                    changing.set_times(status.st_atime_ns, status.st_mtime_ns, inner)
                finally:
                    os.close(inner)

    def _empty(self, fd: int) -> bool:
        """Remove from a directory what is older than this run; tell whether something is left."""
        left = False
        for name in os.listdir(fd):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            kept = status.st_ctime_ns >= self._since
            if stat.S_ISDIR(status.st_mode):
                inner = layers.open_dir(name, fd)
                try:
                    kept = self._empty(inner) or kept
                finally:
                    os.close(inner)
            if not kept:
                filling.remove_tree(name, fd)
            left = left or kept
        return left


def _is_aufs_whiteout(name: str) -> bool:
    return name.startswith(PREFIX) and not name.startswith(META)


def not_unpacked(path: str, error: OSError) -> RefusedError:
    """Return the error for a system call that failed on the way."""
    return RefusedError(
        "not-unpacked",
        f"{path} cannot be unpacked: {error.strerror}"
        + (f": {error.filename}" if error.filename else ""),
        why="an owner that is not mapped gives EINVAL, a name that is too long ENAMETOOLONG",
        hint="shift the owners with --map, or choose another directory",
    )

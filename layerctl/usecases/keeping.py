"""What a run wrote: open it, look at it, drop it."""

from __future__ import annotations

import errno
from typing import NamedTuple

from layerctl.errors import NotFoundError, RefusedError
from layerctl.kernel import changing, layers, paths
from layerctl.kernel import kept as files
from layerctl.kernel.beneath import name_of
from layerctl.kernel.process import close
from layerctl.model import Layer, Role, Stack
from layerctl.running import record as records
from layerctl.running.record import Place, Record
from layerctl.working.sameness import own
from layerctl.working.saving import copy_layer


class Kept(NamedTuple):
    """The layers of a run: where they are, open; `record` is None before the first run.

    `memory` means that they end with the run.
    """

    path: str
    fd: int
    record: Record | None
    memory: bool = False

    def upper(self, place: Place) -> str:
        """Return a path of an upper directory, by the descriptor: nobody can lead it elsewhere."""
        return f"{self.base}/{place.number}/upper"

    @property
    def base(self) -> str:
        """A path that leads to the directory that is open."""
        return name_of(self.fd)

    def stack(self, place: Place) -> Stack:
        """Return a layer over what it covers, as a stack."""
        user = self.record is not None and self.record.user
        return Stack(
            "overlay",
            (Layer(self.upper(place), Role.UPPER), Layer(place.target, Role.LOWER)),
            f"{self.base}/{place.number}/work",
            {"userxattr": None} if user else {},
        )


def open_run(path: str, *, create: bool = False) -> Kept:
    """Open a directory that holds a run, or with `create` may hold one. Raises LayerctlError."""
    whole = paths.real(paths.absolute(path))
    try:
        fd = files.open_kept(whole, create=create)
    except OSError as error:
        raise _unopened(path, error) from None
    raw = files.read(fd, records.NAME)
    if raw is not None:
        return Kept(whole, fd, records.decode(raw, f"{path}/{records.NAME}"))
    if not create or files.names(fd):
        raise RefusedError(
            "not-a-kept-run", f"{path} holds no run",
            why=f"it has no {records.NAME}" + (" and is not empty" if create else ""),
            hint="name a new directory" if create else "name the directory given to run --keep",
        )  # fmt: skip
    return Kept(whole, fd, None)


def _unopened(path: str, error: OSError) -> RefusedError | NotFoundError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError("target-missing", f"{path}: {error.strerror}",
                             hint="name the directory that was given to run --keep")  # fmt: skip
    if error.errno == errno.EAGAIN:
        return RefusedError(
            "layer-locked", f"another layerctl works on {path}",
            why="a run uses it, or another command; two at once would undo each other's work",
            hint="wait until it has finished, then run the command again",
        )  # fmt: skip
    return RefusedError(
        "not-a-kept-run", f"{path} cannot be used: {error.strerror}",
        why="what it holds may be applied to the host, so it must be the caller's alone",
        hint="name a directory that only you can write to",
    )  # fmt: skip


def write_record(kept: Kept) -> None:
    """Write the record of a run that is kept."""
    if kept.record is not None and not kept.memory:
        files.write(kept.fd, records.NAME, records.encode(kept.record))


def look(fd: int, prefix: str) -> str:
    """Return how a directory looks: mode, owner and attributes, without overlay's."""
    status = layers.status(".", fd)
    if status is None:
        return ""
    found = sorted(own(layers.attributes(fd), prefix).items())
    words = [f"{name}={value.hex()}" for name, value in found]
    return " ".join((f"{status.st_mode:o}", f"{status.st_uid}:{status.st_gid}", *words))


def changed_places(kept: Kept) -> list[Place]:
    """Return the places whose layer holds anything."""
    if kept.record is None:
        return []
    found = []
    for place in kept.record.places:
        fd = layers.open_root(kept.upper(place))
        try:
            if layers.scan(fd, layers.LETTER_OF) or look(fd, kept.record.prefix) != place.look:
                found.append(place)
        finally:
            close(fd)
    return found


def save(kept: Kept, path: str) -> Kept:
    """Copy a run from memory to a new directory; return the copy. Raises LayerctlError."""
    copy = open_run(path, create=True)._replace(record=kept.record)
    for place in () if kept.record is None else kept.record.places:
        number = str(place.number)
        changing.mkdir(number, copy.fd)
        layer = layers.open_dir(number, copy.fd)
        changing.mkdir("upper", layer)
        changing.mkdir("work", layer)
        one, other = layers.open_root(kept.upper(place)), layers.open_dir("upper", layer)
        try:
            copy_layer(one, other)
        finally:
            for fd in (one, other, layer):
                close(fd)
    write_record(copy)
    return copy


def drop(kept: Kept) -> None:
    """Remove the layers of a run that is kept, its record last, and its directory."""
    names = [name for name in files.names(kept.fd) if name != records.NAME]
    for name in (*names, records.NAME):
        if name in files.names(kept.fd):
            files.remove(kept.fd, name)
    files.remove_self(kept.path, kept.fd)

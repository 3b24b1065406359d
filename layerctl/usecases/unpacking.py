"""OCI layer archives into directories: layers, or plain trees."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from layerctl.errors import NotFoundError, RefusedError
from layerctl.kernel import beneath, changing, filling, layers, streams
from layerctl.kernel.facts import common
from layerctl.kernel.paths import absolute
from layerctl.kernel.process import close
from layerctl.kernel.streams import Source
from layerctl.model import Extent, IdMap
from layerctl.rules.overlay import TRUSTED, USER
from layerctl.working.archives.members import Members
from layerctl.working.archives.unpacking import PLAIN, Manner, Unpacked, Unpacker, not_unpacked
from layerctl.working.opening import open_layer
from layerctl.working.steps import PART


def unpack(
    pieces: Iterable[bytes], to: str, *, form: str, below: Sequence[str], ids: IdMap | None
) -> Unpacked:
    """Unpack a layer archive into a new or empty directory, or onto a plain tree.

    A failure leaves nothing of a new one. Raises LayerctlError and OSError.
    """
    with ExitStack() as closing:
        lowers = [open_layer(path, closing) for path in below]
        existing = form == PLAIN and _holds_something(to)
        root = (
            open_layer(absolute(to), closing) if existing else closing.enter_context(new_layer(to))
        )
        return fill(pieces, root, to, manner(form, ids), lowers)


def fill(pieces: Iterable[bytes], root: int, path: str, how: Manner, below: list[int]) -> Unpacked:
    """Unpack a layer archive into an open directory. Raises LayerctlError and OSError."""
    source = Source(pieces)
    try:
        unpacker = Unpacker(root, how, below)
        unpacker.run(Members(source))
    except OSError as error:
        raise not_unpacked(path, error) from error
    finally:
        source.close()
    return Unpacked(path, source.digests(), unpacker.entries, unpacker.notes)


def manner(form: str, ids: IdMap | None) -> Manner:
    """Return how to unpack as the caller: which attributes, and whose the files are."""
    caller = common.caller()
    prefix = USER if caller.in_user_namespace or not caller.sys_admin else TRUSTED

    def owner(uid: int, gid: int) -> tuple[int, int] | None:
        if ids is not None:
            return _shifted(uid, ids.uids), _shifted(gid, ids.gids)
        return (uid, gid) if caller.uid == 0 else None

    return Manner(form, prefix, owner)


def _shifted(value: int, extents: Iterable[Extent]) -> int:
    for first, host, count in extents:
        if first <= value < first + count:
            return host + value - first
    raise RefusedError(
        "owner-unmapped",
        f"the archive has files of the id {value}, which --map does not map",
        why="every owner needs a place in the map",
        hint="map more ids: --map 0:100000:65536",
    )


def _holds_something(path: str) -> bool:
    try:
        return bool(layers.names(path))
    except OSError:
        return False


@contextmanager
def new_layer(path: str) -> Iterator[int]:
    """Yield an open directory that gets the name `path` in the end, or is removed by a failure.

    Raises LayerctlError: if something other than an empty directory has the name.
    """
    above, name = os.path.split(absolute(path))
    part = name + PART
    with ExitStack() as closing:
        around = open_layer(above, closing)
        if layers.status(name, around) is not None and layers.names(path):
            raise _not_empty(path)
        if layers.status(part, around) is not None:
            filling.remove_tree(part, around)  # of an earlier run that was killed
        changing.mkdir(part, around)
        try:
            root = changing.open_made(part, around)
            closing.callback(close, root)
            changing.set_mode(0o755, root)
            yield root
            changing.sync(root)
            _take_name(part, name, around, root, path)
        except BaseException:
            filling.remove_tree(part, around)
            raise


def _take_name(part: str, name: str, around: int, root: int, path: str) -> None:
    status = layers.status(part, around)
    if status is None or (status.st_dev, status.st_ino) != beneath.identity(root):
        raise RefusedError(
            "layer-changed",
            f"{path} was changed while layerctl worked on it",
            why="another program moved the directory in which it was unpacked",
            hint="stop the other program, and run the command again",
        )
    try:
        changing.rename(part, around, name, around)
    except OSError as error:
        raise _not_empty(path) from error


def _not_empty(path: str) -> RefusedError:
    return RefusedError(
        "target-exists",
        f"{path} exists already, and is not an empty directory",
        why="a layer is unpacked into a new directory; --as plain applies it to a tree",
        hint="name another directory",
    )


@contextmanager
def archive(path: str) -> Iterator[Iterable[bytes]]:
    """Yield the bytes of a file, or of standard input (`-`). Raises NotFoundError."""
    if path == "-":
        yield streams.read(0)
        return
    try:
        fd = streams.open_archive(path)
    except OSError as error:
        raise NotFoundError(
            "target-missing", f"{path} cannot be read: {error.strerror}", hint="name an archive"
        ) from None
    try:
        yield streams.read(fd)
    finally:
        close(fd)

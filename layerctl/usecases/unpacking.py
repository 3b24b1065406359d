"""OCI layer archives and images into directories: layers, or plain trees."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from layerctl.codecs.request import Request
from layerctl.errors import NotFoundError, RefusedError
from layerctl.inspecting.opening import opened
from layerctl.kernel import beneath, changing, filling, layers, paths, streams
from layerctl.kernel.facts import common
from layerctl.kernel.paths import absolute
from layerctl.kernel.process import close
from layerctl.kernel.streams import Source
from layerctl.model import Extent, IdMap, Role
from layerctl.rules.overlay import TRUSTED, USER
from layerctl.usecases.mount import MountRequest, carry_out, prepare_mount
from layerctl.usecases.targets import named
from layerctl.working.archives import images, packing
from layerctl.working.archives.entries import Writer
from layerctl.working.archives.images import Files, Layer
from layerctl.working.archives.members import Members
from layerctl.working.archives.unpacking import PLAIN, Manner, Unpacked, Unpacker, not_unpacked
from layerctl.working.opening import beside, open_layer
from layerctl.working.steps import PART

STDIN = "-"


class Wanted(NamedTuple):
    """How an archive is to be unpacked: `form` as in `unpacking`, the layers below, maps, an image.

    `ref` names one of several images in an archive.
    """

    form: str
    below: Sequence[str] = ()
    ids: IdMap | None = None
    ref: str | None = None


class Result(NamedTuple):
    """What was unpacked: one layer, or those of an image, the topmost first."""

    layers: tuple[Unpacked, ...]
    is_image: bool


def unpack(name: str, to: str, wanted: Wanted) -> Result:
    """Unpack a layer archive or an image into a new or empty directory, or onto a plain tree.

    `name` is a file, `-` for standard input, an OCI layout, or what a store calls an image. The
    layers of an image get directories of their own, named by their numbers. A failure leaves
    nothing of a new directory. Raises LayerctlError and OSError.
    """
    with ExitStack() as closing:
        found = _found(name, wanted.ref, closing)
        lowers = [open_layer(path, closing) for path in wanted.below]
        existing = wanted.form == PLAIN and _holds_something(to)
        root = (
            open_layer(absolute(to), closing) if existing else closing.enter_context(new_layer(to))
        )
        how = manner(wanted.form, wanted.ids)
        if isinstance(found, list):
            return Result(tuple(_layers(found, root, to, how, lowers)), is_image=True)
        return Result((fill(found, root, to, how, lowers),), is_image=False)


def _layers(
    found: list[Layer], root: int, to: str, how: Manner, below: list[int]
) -> list[Unpacked]:
    """Unpack the layers of an image, from the lowest up; each may refer to those below."""
    done: list[Unpacked] = []
    opened: list[int] = []
    try:
        for number in range(len(found) - 1, -1, -1):
            layer, place, into = found[number], to, root
            if how.form != PLAIN:
                place = f"{to}/{number}"
                changing.mkdir(str(number), root)
                opened.insert(0, into := changing.open_made(str(number), root))
                changing.set_mode(0o755, into)
            one = fill(layer.pieces(), into, place, how, [*opened[1:], *below])
            _demand_digests(one, layer)
            done.insert(0, one)
    finally:
        for fd in opened:
            close(fd)
    return done


def _demand_digests(one: Unpacked, layer: Layer) -> None:
    for wanted, found in ((layer.digest, one.digests.blob), (layer.diff, one.digests.diff)):
        if wanted is not None and wanted != found:
            raise images.mismatch(wanted)


def _found(name: str, ref: str | None, closing: ExitStack) -> list[Layer] | Iterator[bytes]:
    """Return the layers of an image, or the pieces of a layer archive."""
    if name != STDIN and paths.is_directory(name):
        return _of(images.in_directory(open_layer(name, closing)), ref, name)
    if name != STDIN and not paths.exists(name):
        return _stored(name, closing)
    fd = 0 if name == STDIN else streams.open_archive(name)
    if fd:
        closing.callback(close, fd)
    start, pieces = streams.first_block(streams.read(fd))
    if not images.looks_so(start):
        if ref is not None:
            raise _no_image(name)
        return pieces
    file = closing.enter_context(streams.spooled(Source(pieces)))
    found = images.found_in(images.in_archive(file.fileno()), ref)
    return streams.part_of(file.fileno(), 0, 1 << 62) if found is None else found


def _of(files: Files, ref: str | None, name: str) -> list[Layer]:
    found = images.found_in(files, ref)
    if found is None:
        raise _no_image(name)
    return found


def _no_image(name: str) -> NotFoundError:
    return NotFoundError(
        "no-image",
        f"{name} is not an image",
        why="it has neither index.json and oci-layout, nor a manifest.json as of docker save",
        hint="name a layer archive, an OCI layout, or what docker save wrote",
    )


def _stored(name: str, closing: ExitStack) -> list[Layer]:
    """Return the layers of an image or container in a local store, or of a mount."""
    target = named(name)
    view = closing.enter_context(opened(target.stack, target.mount))

    def layer(number: int) -> Layer:
        run = range(number, number + 1)
        return Layer(lambda: packing.pieces(Writer(view, run, None), run), None, None)

    count = sum(one.role is not Role.DATA for one in target.stack.layers)
    return [layer(number) for number in range(count)]


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


def mount_unpacked(result: Result, below: Sequence[str], target: str) -> None:
    """Mount the layers read-only on `target`. Raises LayerctlError."""
    lowers = [*(layer.path for layer in result.layers), *below]
    with ExitStack() as closing:
        if len(lowers) == 1:  # an overlay needs two
            root = open_layer(absolute(lowers[0]), closing)
            around, name = beside(root, "", closing)
            empty = f"{name}.empty"
            with suppress(FileExistsError):
                changing.mkdir(empty, around.fd)
            lowers.append(around.inside(empty))
        asked = MountRequest(Request(lowers=tuple(lowers), read_only=True), None, target)
        carry_out(prepare_mount(asked), None, lambda *_: None)

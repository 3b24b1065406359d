"""Mount what only the mount shall hold: images as layers, and a tmpfs for the upper layer."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from layerctl.codecs.request import build, fstype_of
from layerctl.errors import (
    LayerctlError,
    NotFoundError,
    NotPermittedError,
    RefusedError,
    RequestError,
)
from layerctl.kernel import disk_images, own_places, paths, uncover
from layerctl.kernel.disk_images import Span
from layerctl.kernel.process import close
from layerctl.model import Role
from layerctl.rules.words import shell
from layerctl.usecases.mount import MountRequest
from layerctl.usecases.stacks import absolute_stack

#: What tmpfs(5) takes for `size`.
_SIZE = re.compile(r"[0-9]+[kmgKMG%]?")
_PARTITION = re.compile(r"(.+):([0-9]{1,3})")


@contextmanager
def held(asked: MountRequest, tmpfs: str | None, *, apart: bool) -> Iterator[MountRequest]:
    """Yield the request with directories for its images and, unless it is None, for `tmpfs`.

    `tmpfs` is the size of one for the upper and the work directory: in bytes, with k, m, g or %;
    empty for half of the memory. Once the block ends, only the mount holds them; `apart` lets them
    exist in a namespace of this process alone, for a dry run. Raises LayerctlError.
    """
    if tmpfs is not None:
        _demand_alone(asked, tmpfs)
    with ExitStack() as closing:
        images = _images(asked, closing)
        if apart and (images or tmpfs is not None):
            try:
                uncover.leave([])
            except OSError as error:
                raise _unmounted("nothing", error) from None
        places = {path: _attach(path, image, closing) for path, image in images.items()}
        asked = asked._replace(places=places)
        if tmpfs is None:
            yield asked
            return
        try:
            path = own_places.tmpfs(tmpfs, closing)
        except OSError as error:
            raise _unmounted("a tmpfs for the upper layer", error) from None
        layers = asked.layers._replace(upper=f"{path}/upper", work=f"{path}/work")
        yield asked._replace(layers=layers, own_upper=True)


class _Image(NamedTuple):
    """An open file, the part of it that is a filesystem, and the type of that."""

    fd: int
    span: Span
    fstype: str


def _images(asked: MountRequest, closing: ExitStack) -> dict[str, _Image]:
    """Return the images among the lower layers by their names; other files are left out."""
    found: dict[str, _Image] = {}
    for layer in absolute_stack(build(asked.layers)).layers:
        path = layer.path
        if layer.role is not Role.UPPER and path not in found and paths.is_image(path):
            image = _recognised(path, closing)
            if image is not None:  # else the checks tell what it is
                found[path] = image
    return found


def _recognised(path: str, closing: ExitStack) -> _Image | None:
    """Return the image that a file, or FILE:NUMBER, is; None for another file."""
    numbered = None if paths.taken(path) else _PARTITION.fullmatch(path)
    file = path if numbered is None else numbered[1]
    try:
        fd = disk_images.open_image(file)
    except OSError as error:
        raise _unmounted(f"the image {path}", error) from None
    closing.callback(close, fd)
    span = disk_images.whole(fd)
    if numbered is not None:
        span = _partition(fd, file, int(numbered[2]))
    fstype = disk_images.filesystem(fd, span)
    if fstype is not None:
        return _Image(fd, span, fstype)
    if numbered is None and not disk_images.partitions(fd):
        return None
    raise _unknown(path, fd, whole=numbered is None)


def _attach(path: str, image: _Image, closing: ExitStack) -> str:
    """Mount an image; return the directory."""
    try:
        number, device = disk_images.attach(image.fd, image.span)
        closing.callback(close, device)
        options = disk_images.OPTIONS.get(image.fstype, "")
        return own_places.image(number, image.fstype, options, closing)
    except OSError as error:
        raise _unmounted(f"the image {path}", error) from None


def _partition(fd: int, file: str, number: int) -> Span:
    known = disk_images.partitions(fd)
    if number in known:
        return known[number]
    raise NotFoundError(
        "no-such-partition",
        f"{file} has no partition {number}",
        why=_has(known),
        commands=(shell("sfdisk", "--list", file),),
    )


def _has(known: dict[int, Span]) -> str:
    numbers = ", ".join(map(str, sorted(known)))
    return f"it has {numbers}" if known else "it has no table of partitions (GPT or MBR)"


def _unknown(path: str, fd: int, *, whole: bool) -> LayerctlError:
    known = disk_images.partitions(fd) if whole else {}
    if known:
        why = f"it is a disk with partitions: {', '.join(map(str, sorted(known)))}"
        hint = f"name one of them, as {path}:{min(known)}"
    else:
        why = f"these are recognised: {', '.join(disk_images.FSTYPES)}"
        hint = "mount it, and name the directory"
    return RefusedError(
        "image-unknown", f"{path} has no filesystem that can be a layer", why=why, hint=hint
    )


def _demand_alone(asked: MountRequest, size: str) -> None:
    request = asked.layers
    if request.upper is not None or request.work is not None or request.read_only:
        raise RequestError(
            "usage",
            "--tmpfs cannot be combined with -u, -w or -r",
            why="it creates the upper and the work directory on a tmpfs of the mount's own",
            hint="use only one of them",
        )
    if fstype_of(request) != "overlay":
        raise RequestError(
            "usage",
            "--tmpfs works only with overlay",
            hint="mount a tmpfs first, and use a directory of it as a branch or upper layer",
            commands=("mount -t tmpfs -o mode=0755 tmpfs DIR",),
        )
    if size and not _SIZE.fullmatch(size):
        raise RequestError(
            "usage",
            f"'{size}' is not a size of a tmpfs",
            why="tmpfs takes bytes, with the suffix k, m, g or % (of the memory)",
            hint="write it as --tmpfs=512m",
        )


def _unmounted(what: str, error: OSError) -> LayerctlError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotPermittedError(
            "missing-cap-sys-admin",
            f"{what} cannot be mounted: {error.strerror}",
            why="images need root, for a loop device; a tmpfs needs CAP_SYS_ADMIN in the user "
            "namespace that owns this mount namespace",
            hint="run it as root, or mount it in another way and name the directory",
        )
    return RefusedError(
        "not-attached",
        f"{what} cannot be mounted: {error.strerror}",
        why="the kernel refused it; an image whose journal must be replayed cannot be mounted "
        "read-only",
        hint="read the kernel log",
        commands=("dmesg | tail",),
    )

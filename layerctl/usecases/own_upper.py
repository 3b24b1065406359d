"""Mount with an upper and a work directory on a tmpfs that goes when the mount goes."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from layerctl.codecs.request import fstype_of
from layerctl.errors import NotPermittedError, RefusedError, RequestError
from layerctl.kernel import own_places, uncover
from layerctl.usecases.mount import MountRequest

#: What tmpfs(5) takes for `size`.
_SIZE = re.compile(r"[0-9]+[kmgKMG%]?")


@contextmanager
def on_tmpfs(asked: MountRequest, size: str, *, apart: bool) -> Iterator[MountRequest]:
    """Yield the request with an upper and a work directory on a new tmpfs.

    `size` is in bytes, with k, m, g or %; empty for half of the memory. Once the block ends, only
    the mount holds the tmpfs; `apart` lets it exist in a namespace of this process alone, for a
    dry run. Raises LayerctlError.
    """
    _demand_alone(asked, size)
    with ExitStack() as closing:
        try:
            if apart:
                uncover.leave([])
            path = closing.enter_context(own_places.tmpfs(size))
        except OSError as error:
            raise _unmounted(error) from None
        layers = asked.layers._replace(upper=f"{path}/upper", work=f"{path}/work")
        yield asked._replace(layers=layers, own_upper=True)


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


def _unmounted(error: OSError) -> NotPermittedError | RefusedError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotPermittedError(
            "missing-cap-sys-admin",
            "a tmpfs for the upper layer cannot be mounted: not permitted",
            why="it requires CAP_SYS_ADMIN in the user namespace that owns this mount namespace",
            hint="run it as root, or in a user namespace (unshare -Urm)",
        )
    return RefusedError(
        "tmpfs-not-mounted",
        f"a tmpfs for the upper layer cannot be mounted: {error.strerror}",
        why=f"{error.filename} is needed for it" if error.filename else "",
        hint="mount a tmpfs, and use directories of it with -u and -w",
    )

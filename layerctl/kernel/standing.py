"""A mount that stands, reached so that nobody can put another one in its place meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from layerctl.errors import NotFoundError
from layerctl.kernel import beneath, mounts
from layerctl.kernel.paths import absolute
from layerctl.model import MountEntry


def demand_name(target: str, entry: MountEntry) -> None:
    """See that `target` leads to a mount through no link that somebody else may change.

    What only looks at a mount follows such links; what changes one does not. Raises NotFoundError
    and RefusedError.
    """
    try:
        fd = beneath.open_directory(absolute(target))
    except OSError as error:
        raise mounts.missing(target, error) from None
    try:
        _demand(fd, entry)
    finally:
        os.close(fd)


def open_root(entry: MountEntry) -> int:
    """Open the root of a mount (O_PATH); while it is open, the mount is busy.

    Raises OSError, RefusedError, and NotFoundError where its name leads to another mount now.
    """
    fd = beneath.open_directory(entry.target)
    try:
        _demand(fd, entry)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def mount_point(entry: MountEntry) -> Iterator[str]:
    """Yield a path of a mount point beneath its open parent, which does not make the mount busy.

    Raises what `open_root` does.
    """
    above, name = os.path.split(entry.target)
    if not name:
        yield entry.target
        return
    parent = beneath.open_directory(above)
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            _demand(fd, entry)
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)
        yield f"{beneath.name_of(parent)}/{name}"
    finally:
        with contextlib.suppress(OSError):  # the mount may be gone by now
            os.close(parent)


def _demand(fd: int, entry: MountEntry) -> None:
    if mounts.mount_id_of(fd) != entry.mount_id:
        raise NotFoundError(
            "not-mounted",
            f"{entry.target} is a different mount now",
            why="it was covered, moved or unmounted in the meantime",
            hint="layerctl list",
        )

"""Directories that a mount makes, and takes away again where it fails."""

from __future__ import annotations

import contextlib
import os

from layerctl.kernel import mounts
from layerctl.model import Stack
from layerctl.mounting import prepare

#: What overlay and fuse-overlayfs themselves make in a work directory.
_IN_WORK = (
    "work/incompat/volatile/dirty",
    "work/incompat/volatile",
    "work/incompat",
    "work",
    "index",
)


def make(path: str, stack: Stack, undo: contextlib.ExitStack) -> None:
    """Make a directory and what is missing above it. Raises RefusedError.

    One that another mount made in the meantime is as good, and is left to that one.
    """
    missing = [path]
    while not os.path.lexists(os.path.dirname(missing[-1])):
        missing.append(os.path.dirname(missing[-1]))
    for one in reversed(missing):
        try:
            os.mkdir(one)
        except FileExistsError as error:
            if not os.path.isdir(one):
                raise prepare.not_made(one, error) from error
        except OSError as error:
            raise prepare.not_made(one, error) from error
        else:
            undo.callback(_remove, one, is_work=path == stack.work)
            if one == stack.upper:
                _like_the_lower(one, stack)


def _like_the_lower(path: str, stack: Stack) -> None:
    """Give a new upper directory the look of what it covers: it becomes the merged root's."""
    below = next(layer.path for layer in stack.layers if layer.path != path)
    status = os.stat(below)
    os.chmod(path, status.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):
        os.chown(path, status.st_uid, status.st_gid)


def _remove(path: str, *, is_work: bool) -> None:
    if is_work and _in_use(path):
        return
    if is_work:  # made by us a moment ago: what stands in it now, the filesystem made
        for name in _IN_WORK:
            with contextlib.suppress(OSError):
                os.rmdir(f"{path}/{name}")
            with contextlib.suppress(OSError):
                os.unlink(f"{path}/{name}")
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _in_use(work: str) -> bool:
    """Tell whether a work directory serves another mount, which came while ours failed."""
    with contextlib.suppress(Exception):  # whatever goes wrong, the undoing goes on
        for other in mounts.layered():
            if other.stack.work is not None and os.path.samefile(other.stack.work, work):
                return True
    return False

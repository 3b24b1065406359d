"""Directories that a mount creates, and removes again if it fails.

Others may write to where they are made, so that each is made, changed and removed beneath the
open directory that it is in.
"""

from __future__ import annotations

import contextlib
import os

from layerctl.kernel import beneath, mounts, syscalls
from layerctl.kernel.beneath import Identity
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


def make(
    path: str, stack: Stack, undo: contextlib.ExitStack, always: contextlib.ExitStack
) -> Identity:
    """Make a directory and what is missing above it; return which it is. Raises RefusedError.

    One that another mount made in the meantime is as good, and is left to that one. `undo` removes
    what was made, `always` closes what was opened.
    """
    missing = [path]
    while not os.path.lexists(os.path.dirname(missing[-1])):
        missing.append(os.path.dirname(missing[-1]))
    try:
        here = beneath.open_directory(os.path.dirname(missing[-1]))
    except OSError as error:
        raise prepare.not_made(missing[-1], error) from error
    always.callback(os.close, here)
    for one in reversed(missing):
        try:
            here = _make_one(one, here, stack, undo, is_work=path == stack.work)
        except OSError as error:
            raise prepare.not_made(one, error) from error
        always.callback(os.close, here)
    return beneath.identity(here)


def _make_one(
    path: str, above: int, stack: Stack, undo: contextlib.ExitStack, *, is_work: bool
) -> int:
    name = os.path.basename(path)
    is_upper = path == stack.upper
    try:
        fd = beneath.make(name, above, 0o700 if is_upper else 0o777)
    except FileExistsError:
        return beneath.enter(name, above)
    undo.callback(_remove, name, above, beneath.identity(fd), is_work=is_work)
    if is_upper:
        try:
            _like_the_lower(fd, stack)
        except OSError:
            os.close(fd)
            raise
    return fd


def _like_the_lower(fd: int, stack: Stack) -> None:
    """Give a new upper directory the look of what it covers: it becomes the merged root's."""
    below = beneath.open_directory(
        next(layer.path for layer in stack.layers if layer.path != stack.upper)
    )
    try:
        status = os.fstat(below)
    finally:
        os.close(below)
    with contextlib.suppress(PermissionError):
        syscalls.fchownat(fd, status.st_uid, status.st_gid)
    os.chmod(beneath.name_of(fd), status.st_mode & 0o7777)


def _remove(name: str, above: int, expected: Identity, *, is_work: bool) -> None:
    if is_work:  # made by us a moment ago: whatever is in it was created by the filesystem
        if _in_use(expected):
            return
        with contextlib.suppress(OSError):
            work = beneath.enter(name, above)
            try:
                if beneath.identity(work) == expected:
                    for path in _IN_WORK:
                        _remove_inside(path, work)
            finally:
                os.close(work)
    beneath.remove(name, above, expected)


def _remove_inside(path: str, work: int) -> None:
    """Remove a file or an empty directory of a work directory; no link is followed to it."""
    *above, name = path.split("/")
    with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
        here = work
        for one in above:
            here = beneath.enter(one, here)
            opened.callback(os.close, here)
        try:
            os.rmdir(name, dir_fd=here)
        except NotADirectoryError:
            os.unlink(name, dir_fd=here)


def _in_use(work: Identity) -> bool:
    """Tell whether a work directory serves another mount, which came while ours failed."""
    with contextlib.suppress(Exception):  # whatever goes wrong, the undoing goes on
        for other in mounts.layered():
            if other.stack.work is not None:
                status = os.stat(other.stack.work)
                if (status.st_dev, status.st_ino) == work:
                    return True
    return False

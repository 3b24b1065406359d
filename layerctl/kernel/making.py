"""Directories that are created for a mount, and removed if it fails.

Others may be able to write there, so each is created, changed and removed beneath its open parent
directory.
"""

from __future__ import annotations

import contextlib
import errno
import os

from layerctl.kernel import beneath, mounts, syscalls
from layerctl.kernel.beneath import Identity
from layerctl.model import IdMap

#: What overlay and fuse-overlayfs themselves create in a work directory.
_IN_WORK = (
    "work/incompat/volatile/dirty",
    "work/incompat/volatile",
    "work/incompat",
    "work",
    "index",
)


def refusal(path: str) -> OSError | None:
    """Return the error with which creating a directory would fail, or None.

    Its parents decide: one may not be a directory, not be writable, or not permit such a name.
    """
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    below = path[len(above.rstrip("/")) :].split("/")
    if not os.path.isdir(above):
        number = errno.ENOTDIR
    elif max(len(os.fsencode(name)) for name in below) > os.statvfs(above).f_namemax:
        number = errno.ENAMETOOLONG
    elif not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        number = errno.EROFS if os.statvfs(above).f_flag & os.ST_RDONLY else errno.EACCES
    else:
        return None
    return OSError(number, f"{above}: {os.strerror(number)}")


def make(
    path: str,
    undo: contextlib.ExitStack,
    always: contextlib.ExitStack,
    *,
    like: str | None = None,
    ids: IdMap | None = None,
    is_work: bool = False,
) -> Identity:
    """Create a directory and missing parents; return its device and inode.

    It gets the owner, as `ids` show it, and mode of `like`; until then it is private. If another
    mount creates it meanwhile, it is used but not removed later. `undo` removes what was created,
    including what a filesystem put into a work directory; `always` closes what was opened. Raises
    OSError with the name that cannot be created, and RefusedError.
    """
    missing = [path]
    while not os.path.lexists(os.path.dirname(missing[-1])):
        missing.append(os.path.dirname(missing[-1]))
    name = missing[-1]
    try:
        here = beneath.open_directory(os.path.dirname(name))
        always.callback(os.close, here)
        for name in reversed(missing):
            here = _make_one(
                name,
                here,
                undo,
                like=(like, ids) if like is not None and name == path else None,
                is_work=is_work and name == path,
            )
            always.callback(os.close, here)
    except OSError as error:
        error.filename = name
        raise
    return beneath.identity(here)


def _make_one(
    path: str,
    above: int,
    undo: contextlib.ExitStack,
    *,
    like: tuple[str, IdMap | None] | None,
    is_work: bool,
) -> int:
    name = os.path.basename(path)
    try:
        fd = beneath.make(name, above, 0o777 if like is None else 0o700)
    except FileExistsError:
        return beneath.enter(name, above)
    undo.callback(_remove, name, above, beneath.identity(fd), is_work=is_work)
    if like is not None:
        try:
            _make_like(fd, *like)
        except OSError:
            os.close(fd)
            raise
    return fd


def _make_like(fd: int, model: str, ids: IdMap | None) -> None:
    """Give a directory the owner, where that is permitted, and the mode of another."""
    other = beneath.open_directory(model)
    try:
        status = os.fstat(other)
    finally:
        os.close(other)
    owner = (status.st_uid, status.st_gid)
    if ids is not None:
        from layerctl.kernel import idmap  # few mounts map owners

        owner = idmap.expected(idmap.Owner(*owner), ids)
    with contextlib.suppress(PermissionError):
        syscalls.fchownat(fd, *owner)
    os.chmod(beneath.name_of(fd), status.st_mode & 0o7777)


def resemble(fd: int, model: str) -> None:
    """Give a directory the mode of another, whose owner has no number in this user namespace.

    It stays as closed to the caller as the other one is.
    """
    with contextlib.suppress(OSError):
        mode = os.stat(model).st_mode & 0o7777
        writable = os.access(model, os.W_OK, effective_ids=True)
        os.chmod(beneath.name_of(fd), mode | 0o700 if writable else (mode | 0o500) & ~0o222)


def _remove(name: str, above: int, expected: Identity, *, is_work: bool) -> None:
    if is_work:  # just created by us: its contents were created by the filesystem
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
    """Tell whether a work directory is used by another mount, which came while ours failed."""
    with contextlib.suppress(Exception):  # undoing continues after any error
        for other in mounts.layered():
            if other.stack.work is not None:
                status = os.stat(other.stack.work)
                if (status.st_dev, status.st_ino) == work:
                    return True
    return False

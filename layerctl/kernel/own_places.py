"""Directories of layerctl's own in which it mounts what only one overlay shall hold.

An overlay keeps a private copy of each mount that its layers are on (ovl_get_layers in super.c), so
that it holds them when nothing else does. So what is mounted here is detached once the overlay is
mounted, and goes when that goes. mountinfo goes on showing the names.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from typing import NamedTuple

from layerctl.kernel import beneath, locks, syscalls
from layerctl.kernel.process import close
from layerctl.rules.overlay import OWN_LOOP, OWN_TMPFS, own_place

#: Where root has them; other users have them in the directory for temporary files.
_ROOT = "/run/layerctl"


def tmpfs(size: str, closing: contextlib.ExitStack) -> str:
    """Mount a tmpfs; return the directory, which is gone when `closing` is closed. Raises OSError.

    `size` is what tmpfs(5) takes for its option of that name; empty for half of the memory.
    """
    options = "mode=0755" + (f",size={size}" if size else "")
    return _mount(OWN_TMPFS, _Mount("layerctl", "tmpfs", 0, options), closing)


def image(number: int, fstype: str, options: str, closing: contextlib.ExitStack) -> str:
    """Mount a loop device read-only, as `tmpfs` does a tmpfs."""
    source = f"/dev/{OWN_LOOP}{number}"
    mount = _Mount(source, fstype, syscalls.MS_RDONLY, options)
    return _mount(f"{OWN_LOOP}{number}", mount, closing)


class _Mount(NamedTuple):
    """What is mounted, as mount(2) has it."""

    source: str
    fstype: str
    flags: int
    options: str


def _mount(kind: str, mount: _Mount, closing: contextlib.ExitStack) -> str:
    above, prefix = _above(closing)
    _sweep(above, prefix)
    name = f"{prefix}{kind}-{os.urandom(8).hex()}"
    made = beneath.make(name, above, 0o700)
    closing.callback(close, made)
    closing.callback(_remove, name, above, beneath.identity(made))
    _lock(".", made, closing)
    syscalls.mount(mount.source, beneath.name_of(made), mount.fstype, mount.flags, mount.options)
    closing.callback(_detach, name, above)
    _lock(name, above, closing)
    return f"{os.readlink(beneath.name_of(above)).rstrip('/')}/{name}"


#: Why root cannot have its places in /run: in a user namespace, or where that is read-only.
_NOT_THERE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)


def _above(closing: contextlib.ExitStack) -> tuple[int, str]:
    """Open the directory for such places; return it and what their names begin with."""
    if os.geteuid() == 0:
        try:
            return _of_root(closing), ""
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
    fd = beneath.open_directory(tempfile.gettempdir())
    closing.callback(close, fd)
    return fd, "layerctl."


def _of_root(closing: contextlib.ExitStack) -> int:
    above, name = os.path.split(_ROOT)
    run = beneath.open_directory(above)
    closing.callback(close, run)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=run)
    fd = beneath.enter(name, run)
    closing.callback(close, fd)
    if os.fstat(fd).st_uid != 0:
        raise PermissionError(errno.EACCES, "it is another user's", _ROOT)
    return fd


def _sweep(above: int, prefix: str) -> None:
    """Remove what killed runs have left: places that nobody has locked."""
    for name in os.listdir(beneath.name_of(above)):
        if own_place(name) is not None and name.startswith(prefix):
            with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
                if _lock(name, above, closing):
                    _detach(name, above)
                    if _lock(name, above, closing):  # of the directory beneath
                        os.rmdir(name, dir_fd=above)


def _lock(name: str, above: int, closing: contextlib.ExitStack) -> bool:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=above)
    closing.callback(close, fd)
    return locks.lock(fd, exclusive=True)


#: How often removing is tried: a system short of memory may recover.
_TRIES = 3


def _detach(name: str, above: int) -> None:
    place = f"{beneath.name_of(above)}/{name}"
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            syscalls.umount2(place, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
            return


def _remove(name: str, above: int, expected: beneath.Identity) -> None:
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):
            if beneath.remove(name, above, expected):
                return

"""Directories of layerctl's own in which it mounts what only one overlay shall hold.

An overlay keeps a private copy of each mount that its layers are on (ovl_get_layers in super.c), so
that it holds them when nothing else does. So what is mounted here is detached once the overlay is
mounted, and goes when that goes. mountinfo goes on showing the names.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

from layerctl.kernel import beneath, locks, syscalls
from layerctl.rules.overlay import OWN_TMPFS, is_own_tmpfs

#: Where root has them; other users have them in the directory for temporary files.
_ROOT = "/run/layerctl"


@contextlib.contextmanager
def tmpfs(size: str) -> Iterator[str]:
    """Mount a tmpfs; yield the directory, which is gone afterwards. Raises OSError.

    `size` is what tmpfs(5) takes for its option of that name; empty for half of the memory.
    """
    options = "mode=0755" + (f",size={size}" if size else "")
    with contextlib.ExitStack() as closing:
        above, prefix = _above(closing)
        _sweep(above, prefix)
        name = f"{prefix}{OWN_TMPFS}{os.urandom(8).hex()}"
        made = beneath.make(name, above, 0o700)
        closing.callback(os.close, made)
        identity = beneath.identity(made)
        closing.callback(beneath.remove, name, above, identity)
        _lock(".", made, closing)
        syscalls.mount("layerctl", beneath.name_of(made), "tmpfs", 0, options)
        closing.callback(_detach, name, above)
        _lock(name, above, closing)
        yield f"{os.readlink(beneath.name_of(above)).rstrip('/')}/{name}"


def _above(closing: contextlib.ExitStack) -> tuple[int, str]:
    """Open the directory for such places; return it and what their names begin with."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            run = beneath.open_directory(os.path.dirname(_ROOT))
            closing.callback(os.close, run)
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.basename(_ROOT), 0o755, dir_fd=run)
            fd = beneath.enter(os.path.basename(_ROOT), run)
            closing.callback(os.close, fd)
            if os.fstat(fd).st_uid == 0 and os.access(beneath.name_of(fd), os.W_OK):
                return fd, ""
    fd = beneath.open_directory(tempfile.gettempdir())
    closing.callback(os.close, fd)
    return fd, "layerctl."


def _sweep(above: int, prefix: str) -> None:
    """Remove what killed runs have left: places that nobody has locked."""
    for name in os.listdir(beneath.name_of(above)):
        if is_own_tmpfs(name) and name.startswith(prefix):
            with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
                if _lock(name, above, closing):
                    _detach(name, above)
                    if _lock(name, above, closing):  # of the directory beneath
                        os.rmdir(name, dir_fd=above)


def _lock(name: str, above: int, closing: contextlib.ExitStack) -> bool:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=above)
    closing.callback(os.close, fd)
    return locks.lock(fd, exclusive=True)


def _detach(name: str, above: int) -> None:
    with contextlib.suppress(OSError):
        place = f"{beneath.name_of(above)}/{name}"
        syscalls.umount2(place, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)

"""Access exactly one existing mount, so that it cannot be replaced by another meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from layerctl.errors import NotFoundError
from layerctl.kernel import beneath, mounts, syscalls
from layerctl.kernel.paths import absolute
from layerctl.model import MountEntry

_PATH = os.O_PATH | os.O_CLOEXEC


def demand_name(target: str, entry: MountEntry) -> None:
    """Check that `target` leads to a mount through no link that another user can change.

    Commands that only read a mount follow such links; those that change it do not. Raises
    NotFoundError and RefusedError.
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

    Raises OSError, RefusedError, and NotFoundError if its name leads to another mount now.
    """
    fd = beneath.open_directory(entry.target)
    try:
        _demand(fd, entry)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def opened(entry: MountEntry) -> Iterator[str]:
    """Yield a name of exactly this mount, whatever is mounted over it or renamed meanwhile.

    Raises what `open_root` does.
    """
    fd = open_root(entry)
    try:
        yield beneath.name_of(fd)
    finally:
        os.close(fd)


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
        fd = os.open(name, _PATH | os.O_NOFOLLOW, dir_fd=parent)
        try:
            _demand(fd, entry)
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)
        yield f"{beneath.name_of(parent)}/{name}"
    finally:
        with contextlib.suppress(OSError):  # the mount may be gone
            os.close(parent)


def _demand(fd: int, entry: MountEntry) -> None:
    if mounts.mount_id_of(fd) != entry.mount_id:
        raise NotFoundError(
            "not-mounted",
            f"{entry.target} is a different mount now",
            why="it was covered, moved or unmounted in the meantime",
            commands=("layerctl list",),
        )


class Spot:
    """Where an open directory is, by which what is mounted on it a moment later is found."""

    def __init__(self, directory: int) -> None:
        """Open the parent directory. Raises OSError."""
        self._directory = directory
        self._below = mounts.mount_id_of(directory)
        self._name = _name_of(directory)
        self._parent = os.open(os.pardir, _PATH | os.O_DIRECTORY, dir_fd=directory)

    def close(self) -> None:
        """Close the parent directory."""
        with contextlib.suppress(OSError):
            os.close(self._parent)

    def open_new(self) -> int:
        """Open the root of what mount(2) has mounted on the directory (O_PATH).

        Raises OSError if it cannot be found, after unmounting it.
        """
        # A mount point cannot be renamed, so from now on its name leads to it.
        with contextlib.suppress(OSError):
            self._name = _name_of(self._directory)
        try:
            fd = os.open(self._name, _PATH | os.O_NOFOLLOW, dir_fd=self._parent)
            try:
                self._demand_new(fd)
            except BaseException:
                os.close(fd)
                raise
        except OSError:
            place = f"{beneath.name_of(self._parent)}/{self._name}"
            syscalls.umount2(place, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
            raise
        return fd

    def _demand_new(self, fd: int) -> None:
        identity = (mounts.mount_id_of(fd), self._below)
        if identity not in {(one.mount_id, one.parent_id) for one in mounts.entries()}:
            raise FileNotFoundError(errno.ENOENT, "the new mount cannot be found", self._name)


def detach(fd: int) -> None:
    """Unmount the mount whose root is open, lazily. Raises OSError."""
    syscalls.umount2(beneath.name_of(fd), syscalls.MNT_DETACH)


def _name_of(fd: int) -> str:
    """Return the name of an open directory in its parent. Raises OSError."""
    return os.path.basename(os.readlink(beneath.name_of(fd))) or "."

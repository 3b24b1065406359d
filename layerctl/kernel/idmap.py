"""Idmapped mounts: other owners for a layer (mount_setattr(2), since Linux 5.12).

A user namespace holds the map; a child makes it, and it lives on as a descriptor. The layers are
clones of their mounts, which nobody else sees: they are mounted on their own paths in a private
mount namespace, so that the overlay shows the paths, and it keeps the clones. Overlay takes
idmapped layers since Linux 5.19.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from layerctl.codecs import idmap
from layerctl.errors import RefusedError
from layerctl.kernel import beneath, child, mounts, standing, syscalls
from layerctl.model import Extent, IdMap, MountEntry

#: The file name in the error of a user namespace that cannot be created.
UNSHARE = "unshare"


class Owner(NamedTuple):
    """The user and group id of a file."""

    uid: int
    gid: int


def namespace(ids: IdMap) -> int:
    """Return a descriptor of a user namespace with these maps.

    Raises OSError, of UNSHARE if there can be no new user namespace here; EPERM if the caller may
    not map such ids.
    """
    reader, writer = os.pipe()
    pid = child.fork(reader, writer)
    if pid == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            os.write(writer, b"\0")
            signal.pause()
        except OSError as error:
            os.write(writer, bytes([error.errno or 0]))
        finally:
            os._exit(0)
    try:
        answer = os.read(reader, 1) or b"\xff"
        if answer != b"\0":
            raise OSError(answer[0], os.strerror(answer[0]), UNSHARE)
        for name, found in (("uid_map", ids.uids), ("gid_map", ids.gids)):
            _write(f"/proc/{pid}/{name}", found)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _write(path: str, found: Iterable[Extent]) -> None:
    lines = "".join(f"{first} {seen} {number}\n" for first, seen, number in found)
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, lines.encode())  # the kernel takes a map in one write
    finally:
        os.close(fd)


def clone(fd: int, userns: int) -> int:
    """Return a clone of the mount of an open directory, its root there, idmapped. Raises OSError.

    EINVAL if the filesystem does not support it (FS_ALLOW_IDMAP), EPERM if the caller may not
    mount in the user namespace that owns the filesystem, or if the mount is idmapped already.
    """
    copy = syscalls.open_tree(beneath.name_of(fd))
    try:
        syscalls.mount_setattr(copy, syscalls.MOUNT_ATTR_IDMAP, userns)
    except BaseException:
        os.close(copy)
        raise
    return copy


def above_both(upper: str, work: str) -> str:
    """Return the directory to clone so that both are on one mount, as overlay demands."""
    return os.path.commonpath([os.path.realpath(upper), os.path.realpath(work)])


def owner(fd: int) -> Owner:
    """Return the owner of an open file or directory, as seen through its mount."""
    status = os.fstat(fd)
    return Owner(status.st_uid, status.st_gid)


def shows_other_owner(mount: MountEntry, top: str) -> bool:
    """Tell whether the owner of an overlay's root is not that of its topmost layer: it is mapped.

    Raises OSError and RefusedError.
    """
    with standing.opened(mount) as merged, beneath.opened(top) as layer:
        one, other = os.stat(merged), os.stat(layer)
    return (one.st_uid, one.st_gid) != (other.st_uid, other.st_gid)


def expected(disk: Owner, ids: IdMap) -> Owner:
    """Return the owner that a map shows; the overflow ids for what it does not map (proc(5))."""
    uid, gid = idmap.seen(disk.uid, ids.uids), idmap.seen(disk.gid, ids.gids)
    return Owner(_overflow("uid") if uid is None else uid, _overflow("gid") if gid is None else gid)


def _overflow(kind: str) -> int:
    return int(mounts.read_text(f"/proc/sys/kernel/overflow{kind}"))


class Mapped(NamedTuple):
    """What to map: a directory that is mounted on itself, the names in it, and the namespace."""

    place: str
    names: tuple[str, ...]
    ids: IdMap
    userns: int


def attach(opened: Mapping[str, int], mapped: Sequence[Mapped]) -> None:
    """Mount idmapped clones on their own paths; `opened` then are what the paths lead to.

    For a private mount namespace only, in which the directories were opened. Raises OSError, and
    RefusedError if a path leads elsewhere or an owner is not the one of the map.
    """
    disk = {path: owner(fd) for path, fd in opened.items()}
    own = {name for one in mapped for name in one.names}
    for one in sorted(mapped, key=lambda one: one.place):
        place = opened.get(one.place, -1)
        fd = beneath.open_directory(one.place) if place < 0 else place
        _mount(clone(fd, one.userns), one.place)
        if place < 0:
            os.close(fd)
        for name in one.names:
            _enter(name, opened[name])
            if owner(opened[name]) != expected(disk[name], one.ids):
                raise _not_mapped(name, owner(opened[name]), expected(disk[name], one.ids))
    for name, fd in opened.items():
        if name not in own and mounts.mount_id(name) != mounts.mount_id_of(fd):
            _mount(syscalls.open_tree(beneath.name_of(fd)), name)  # a clone covers it
            _enter(name, fd)


def _mount(copy: int, path: str) -> None:
    target = beneath.open_directory(path)
    try:
        syscalls.move_mount(copy, target, path)
    finally:
        os.close(target)
        os.close(copy)


def _enter(path: str, fd: int) -> None:
    """Let a descriptor be what its path leads to now: the same directory on another mount."""
    here = beneath.open_directory(path)
    try:
        if beneath.identity(here) != beneath.identity(fd):
            raise beneath.replaced(path)
        os.dup2(here, fd, inheritable=False)
    finally:
        os.close(here)


def _not_mapped(path: str, found: Owner, wanted: Owner) -> RefusedError:
    return RefusedError(
        "not-as-asked",
        f"the owner of {path} is {found.uid}:{found.gid} through the map, not "
        f"{wanted.uid}:{wanted.gid}",
        why="the kernel accepted the map, but shows another owner",
        hint="report a bug, with the map",
    )

"""Open the layers of a live mount: the directories that the kernel uses, not what has their names.

mountinfo keeps the names that a mount was given. Such a name may lead to another directory now:
a mount covers it, the mount itself does (an overlay on its own lower layer), it was moved, or the
name belongs to another root. A directory is found

1. by its name, unless a younger mount covers it;
2. beneath such mounts: in a private copy of the mount namespace, where they are unmounted;
3. elsewhere, by the root of another mount or process, if it is proven to be the layer.

It is proven by what the live mount passes through from its layers: overlayfs answers stat(2) with
the times and the inode number of the real file (ovl_getattr in fs/overlayfs/inode.c).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from layerctl.kernel import layers, mounts, uncover
from layerctl.kernel.mount_table import MountTable
from layerctl.kernel.mounts import Mounted
from layerctl.kernel.processes import mount_namespace, pids
from layerctl.model import MountEntry
from layerctl.rules.overlay import OWN_LOOP, own_place

#: How many names of a layer, and of one directory in it, are compared with the mount before the
#: search gives up.
_BUDGET, _OF_ONE = 300, 40
#: xino puts the filesystem's number into the highest bits (ovl_map_dev_ino).
_INODE = (1 << 48) - 1
_TRIES = 3


class Place(NamedTuple):
    """Where a layer was found: an open directory, -1 where it is unknown.

    `cover` is the mount that covers its name, or None. `beneath` means that it was reached beneath
    that one, `privilege` that more privilege might have reached it.
    """

    fd: int
    cover: MountEntry | None = None
    privilege: bool = False
    beneath: bool = False


class Times(NamedTuple):
    """The attributes of a file that an overlay passes through unchanged."""

    kind: int
    modified: int
    changed: int


def times(status: os.stat_result) -> Times:
    """Return the attributes that an overlay passes through unchanged, except the inode number."""
    return Times(stat.S_IFMT(status.st_mode), status.st_mtime_ns, status.st_ctime_ns)


def same_inode(one: os.stat_result, other: os.stat_result) -> bool:
    """Tell whether two files may be one, by their inode numbers."""
    return one.st_ino & _INODE == other.st_ino & _INODE


def open_top(entry: MountEntry) -> int | None:
    """Open the root of a mount; None if it is covered or not accessible."""
    try:
        fd = layers.open_root(entry.target)
    except OSError:
        return None
    if mounts.mount_id_of(fd) == entry.mount_id:
        return fd
    os.close(fd)
    return None


def open_all(entry: MountEntry, paths: Sequence[str], top: int | None) -> list[Place]:
    """Open the layers of the mount `entry`, topmost first. Raises OSError for one that is gone.

    `top` is the mount's root, by which they are proven, None if it cannot be opened.
    """
    table = MountTable(entry)
    places: list[Place] = []
    try:
        for position, path in enumerate(paths):
            places.append(_open(table, path, top, is_top=position == 0))
    except BaseException:
        close(places)
        raise
    return places


def covers(
    entry: MountEntry, paths: Iterable[str]
) -> tuple[list[tuple[str, MountEntry]], list[str]]:
    """Return which layers of a mount are covered, by what, and what to unmount, in order.

    Only the order of mounts decides; `open_all` proves it.
    """
    table = MountTable(entry)
    gone: set[int] = set()
    found, targets = [], []
    for path in paths:
        cover = table.cover(path)
        if cover is not None:
            found.append((path, cover))
            targets += table.without(path, table.is_younger, gone)
    return found, targets


def noted(found: Sequence[Mounted]) -> list[Mounted]:
    """Return live mounts with a note for each layer whose name leads to another mount now."""
    entries = mounts.entries() if found else []
    noted = []
    for mounted in found:
        table = MountTable(mounted.entry, entries)
        covered = [
            f"layer {number}, {layer.path}, is covered by the {cover.fstype or 'root'} mount on "
            f"{cover.target}"
            for number, layer in enumerate(mounted.stack.layers)
            if layer.path.startswith("/") and (cover := table.cover(layer.path)) is not None
        ]
        noted.append(mounted._replace(notes=(*mounted.notes, *covered)))
    return noted


def close(places: Sequence[Place]) -> None:
    """Close what was opened."""
    for place in places:
        if place.fd >= 0:
            os.close(place.fd)


def _open(table: MountTable, path: str, top: int | None, *, is_top: bool) -> Place:
    def proven(fd: int) -> bool | None:
        return None if top is None else _is_layer(fd, top, is_top=is_top)

    cover = table.cover(path)
    plain: int | None = None
    lost: OSError | None = None
    if cover is None:
        try:
            plain = layers.open_root(path)
        except OSError as error:
            lost = error
        else:
            if not table.reached(plain, path):  # a symbolic link led to a mount that is younger
                os.close(plain)
                plain, path = None, os.path.realpath(path)
                cover = table.cover(path)
    answer = None if plain is None else proven(plain)
    if plain is not None and answer:
        return Place(plain)
    found = _proven_elsewhere(table, path, proven, everywhere=plain is None or answer is False)
    if found.fd >= 0 and (found.sure or plain is None):
        if plain is not None:
            os.close(plain)
        return Place(found.fd, cover, beneath=True)
    if found.fd >= 0:
        os.close(found.fd)
    if plain is not None and answer is None:
        return Place(plain)
    if plain is not None:
        os.close(plain)
    if lost is not None:
        raise lost
    return Place(-1, cover, privilege=found.refused)


class _Found(NamedTuple):
    """The result of the search for a layer; `sure` means that it is proven."""

    fd: int
    sure: bool
    refused: bool


def _proven_elsewhere(
    table: MountTable, path: str, proven: Callable[[int], bool | None], *, everywhere: bool
) -> _Found:
    """Search for a layer beneath mounts and in other roots: one that is proven, or else certain."""
    first, refused = -1, False
    for certain, attempt in _attempts(table, path, everywhere=everywhere):
        try:
            fd = attempt()
        except OSError as error:
            refused = refused or error.errno in (errno.EPERM, errno.EACCES)
            continue
        answer = proven(fd)
        if answer:
            if first >= 0:
                os.close(first)
            return _Found(fd, sure=True, refused=False)
        if answer is None and certain and first < 0:
            first = fd
        else:
            os.close(fd)
    return _Found(first, sure=False, refused=refused)


def _is_layer(fd: int, top: int, *, is_top: bool) -> bool | None:
    """Tell whether a directory is a layer of the mount, by what it shows; None for unknown."""
    if os.fstat(fd).st_dev == os.fstat(top).st_dev:
        return False  # the mount itself
    return _is_root_of(fd, top) if is_top else _is_in(fd, top)


def _is_root_of(fd: int, top: int) -> bool | None:
    """Tell whether a directory is the one whose times the mount's root shows."""
    for _ in range(_TRIES):  # it may change in between
        one, other = os.fstat(fd), os.fstat(top)
        if times(one) == times(other):
            return True if same_inode(one, other) else None
    return False


def _is_in(fd: int, top: int) -> bool | None:
    """Tell whether a file of a lower layer is shown by the mount; None if that is unknown."""
    left = _BUDGET
    todo = [(os.dup(fd), os.dup(top))]
    try:
        while todo and left > 0:
            below, above = todo.pop(0)
            try:
                for name in sorted(os.listdir(below))[: min(left, _OF_ONE)]:
                    left -= 1
                    one, other = layers.status(name, below), layers.status(name, above)
                    if one is None or other is None:
                        continue
                    if stat.S_ISDIR(one.st_mode):
                        if stat.S_ISDIR(other.st_mode) and len(todo) < _BUDGET // 10:
                            todo += _below(name, below, above)
                    elif times(one) == times(other) and same_inode(one, other):
                        return True
            except OSError:
                continue
            finally:
                os.close(below)
                os.close(above)
    finally:
        for pair in todo:
            for one_fd in pair:
                os.close(one_fd)
    return None


def _below(name: str, below: int, above: int) -> list[tuple[int, int]]:
    try:
        one = layers.open_dir(name, below)
    except OSError:
        return []
    try:
        return [(one, layers.open_dir(name, above))]
    except OSError:
        os.close(one)
        return []


_Attempt = tuple[bool, Callable[[], int]]


def _attempts(table: MountTable, path: str, *, everywhere: bool) -> Iterator[_Attempt]:
    """Yield functions that open directories that may be the layer; certain ones need no proof.

    Unless `everywhere`, only beneath the mounts that cover the path.
    """
    place = own_place(path)
    if place is not None and place.startswith(OWN_LOOP):
        yield True, lambda: _in_image(int(place.removeprefix(OWN_LOOP)))
    mount = table.then(path)
    if mount is not None and everywhere:
        yield True, uncover.copying(mount, path[len(mount.target.rstrip("/")) :])
    for certain, targets in table.beneath(path):
        if certain and not everywhere:
            continue  # which is where the path leads
        yield certain, uncover.uncovering(targets, path)
    if not everywhere:
        return
    # Where a root was changed (pivot_root), names begin elsewhere, and older mounts are inside.
    yield False, _opening(path)
    for one in table.entries:
        if one.target != "/":
            yield False, _opening(f"{one.target}{path}")
    for root in _other_roots():
        yield False, _opening(f"{root}{path}")


def _in_image(number: int) -> int:
    from layerctl.kernel import disk_images  # few layers are images

    mount = disk_images.reopen(number)
    try:
        return layers.open_root(f"/proc/self/fd/{mount}")
    finally:
        os.close(mount)


def _opening(path: str) -> Callable[[], int]:
    return lambda: layers.open_root(path)


def _other_roots() -> Iterator[str]:
    """Yield the roots of other processes, each once."""
    own = os.getpid()
    seen = set()
    for pid in (own, *pids()):
        root = f"/proc/{pid}/root"
        with contextlib.suppress(OSError):
            status = os.stat(root)
            one = (status.st_dev, status.st_ino, _namespace(pid))
            if one not in seen and pid != own:
                yield root
            seen.add(one)


def _namespace(pid: int) -> str:
    try:
        return mount_namespace(pid)
    except OSError:
        return ""

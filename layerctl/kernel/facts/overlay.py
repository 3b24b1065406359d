"""Facts about overlay alone: what its upper layer contains, what else uses it, its defaults."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from layerctl.codecs import overlay
from layerctl.errors import RefusedError
from layerctl.kernel import beneath
from layerctl.kernel.facts import Facts, Other, OverlayFacts, Storage
from layerctl.kernel.facts.common import directory
from layerctl.kernel.facts.modules import parameters
from layerctl.kernel.layers import names as names_in
from layerctl.model import MountEntry, Role, Stack
from layerctl.rules.overlay import settings

if TYPE_CHECKING:
    from layerctl.kernel.facts.index import Handles

#: Errnos of a filesystem, or of a quota, that is full.
FULL = (errno.ENOSPC, errno.EDQUOT)
#: Less, in bytes and inodes, is not enough for a copy-up and overlay's own files.
LITTLE_SPACE, FEW_INODES = 64 << 10, 8


def gather(stack: Stack, facts: Facts, by_id: Mapping[int, MountEntry]) -> OverlayFacts:
    """Gather the facts of a plan that bear on overlay. Reads only; raises nothing."""
    layers, guessed = layer_paths(facts.mounts)
    missing = any(place.error is not None for place in facts.directories.values())
    found = OverlayFacts(
        parameters=parameters("overlay"),
        others=tuple(overlays(facts.mounts, by_id)),
        layers=layers,
        guessed=guessed,
        joined=_joined(stack) if missing else frozenset(),
    )
    if stack.upper is None:
        return found
    work = stack.work
    return found._replace(
        storage=storage(_nearest(stack.upper)) if facts.of(stack.upper).error is None else None,
        flags={
            path: flags
            for path in {stack.upper, work}
            if path is not None and (flags := inode_flags(path)) is not None
        },
        work_names=names(work),
        incompat=names(None if work is None else f"{work}/work/incompat"),
        handles=_handles(stack) if settings(stack, found.parameters).indexed else None,
    )


def _joined(stack: Stack) -> frozenset[str]:
    """Return the names that are there if neighbours of the list are joined with their colon."""
    lowers = [layer.path for layer in stack.layers if layer.role is Role.LOWER]
    found = set()
    for one, other in itertools.pairwise(lowers):
        # the second was made absolute by us: it is the last part of the name that was cut
        for tail in (other, os.path.basename(other), os.path.relpath(other)):
            if os.path.isdir(f"{one}:{tail}"):
                found.add(f"{one}:{tail}")
    return frozenset(found)


def _nearest(path: str) -> str:
    """Return a directory, or its nearest existing parent if it will be created."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def storage(path: str) -> Storage | None:
    """Return what is left on a path's filesystem, None if it does not say."""
    try:
        left = os.statvfs(path)
    except OSError:
        return None
    if not left.f_blocks:  # a pseudo filesystem, which counts nothing
        return None
    return Storage(
        left.f_bavail * left.f_frsize,
        left.f_ffree if left.f_files else None,
        left.f_bfree * left.f_frsize,
    )


def ask_for_room(stack: Stack, facts: Facts) -> Facts:
    """Add whether root can still write where statvfs(3) shows no free space for others.

    ext4 and others reserve space for root, and ext4 keeps some from root too: only writing tells.
    It is written into a file that never has a name; not for a read-only mount. Raises nothing.
    """
    left = facts.overlay.storage
    if stack.upper is None or stack.read_only or left is None:
        return facts
    if left.bytes_free or not left.bytes_for_root:
        return facts
    try:
        upper = beneath.open_directory(stack.upper)
    except (OSError, RefusedError):
        return facts
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=upper)
    except OSError as error:
        return _refused(facts, error.errno if error.errno in FULL else None)
    finally:
        os.close(upper)
    try:
        wanted = bytes(LITTLE_SPACE)
        refused = 0 if os.write(fd, wanted) == len(wanted) else errno.ENOSPC
        os.fsync(fd)
    except OSError as error:
        refused = error.errno or 0
    finally:
        os.close(fd)
    return _refused(facts, refused)


def _refused(facts: Facts, number: int | None) -> Facts:
    left = facts.overlay.storage
    storage = None if left is None else left._replace(refused=number)
    return facts._replace(overlay=facts.overlay._replace(storage=storage))


FS_IOC_GETFLAGS = 0x80086601


def inode_flags(path: str) -> int | None:
    """Return a directory's inode flags (ioctl_iflags(2)), None if there are none to read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return int.from_bytes(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4], "little")
    except OSError:
        return None
    finally:
        os.close(fd)


def names(path: str | None) -> tuple[str, ...]:
    """Return what is in a directory, nothing if there is none or it cannot be read."""
    if path is None:
        return ()
    try:
        return tuple(sorted(names_in(path)))
    except OSError:
        return ()


def overlays(
    entries: Iterable[MountEntry], by_id: Mapping[int, MountEntry], pid: int | None = None
) -> Iterator[Other]:
    """Yield the overlays with an upper layer among mounts; `pid` is a process that sees them."""
    root = "" if pid is None else f"/proc/{pid}/root"
    for entry in entries:
        if entry.fstype != "overlay":
            continue
        stack = overlay.from_super_options(entry.super_options)
        if stack.upper is None:
            continue
        base, certain = _base(entry, stack, root)
        if base is None:
            continue
        upper = directory(root + os.path.join(base, stack.upper), by_id)
        work = None
        if stack.work is not None:
            work = directory(root + os.path.join(base, stack.work), by_id)
        yield Other(entry.target, upper, work, pid, certain)


def layer_paths(entries: Iterable[MountEntry]) -> tuple[dict[int, tuple[str, ...]], frozenset[int]]:
    """Return the layers of every overlay by its mount id, from the root; and which are guessed."""
    found, guessed = {}, set()
    for entry in entries:
        if entry.fstype == "overlay":
            stack = overlay.from_super_options(entry.super_options)
            base, certain = _base(entry, stack, "")
            if base is None:
                continue
            found[entry.mount_id] = tuple(os.path.join(base, one.path) for one in stack.layers)
            if not certain:
                guessed.add(entry.mount_id)
    return found, frozenset(guessed)


def _base(entry: MountEntry, stack: Stack, root: str) -> tuple[str | None, bool]:
    """Return the directory that relative names of a mount are relative to, and whether it is sure.

    mountinfo keeps names as they were given. A directory near the target under which all of them
    are there is taken; it is sure if the overlay's root has the inode number of its upper layer
    (or of its first lower one), as it has where all layers are on one filesystem.
    """
    names = [layer.path for layer in stack.layers] + ([stack.work] if stack.work else [])
    relative = [name for name in names if not name.startswith("/")]
    if not relative:
        return "/", True
    for base in _near(entry.target):
        if all(os.path.isdir(f"{root}{base}/{name}") for name in relative):
            first = stack.upper or stack.layers[0].path
            return base, _same_root(root + entry.target, os.path.join(root + base, first), entry)
    return None, False


def _near(target: str) -> Iterator[str]:
    """Yield the directories above a target, nearest first, then the working directory."""
    path = target
    while path != "/":
        path = os.path.dirname(path)
        yield path
    try:
        yield os.getcwd()
    except OSError:
        return


def _same_root(target: str, layer: str, entry: MountEntry) -> bool:
    try:
        top, below = os.stat(target), os.stat(layer)
    except OSError:
        return False
    device = f"{os.major(top.st_dev)}:{os.minor(top.st_dev)}"
    return device == entry.device and top.st_ino == below.st_ino


def _handles(stack: Stack) -> Handles | None:
    from layerctl.kernel.facts import index  # which is off by default

    return index.gather(stack)

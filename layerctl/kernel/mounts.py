"""Live mounts: what is mounted where, and with which layers."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from layerctl.codecs import mountinfo, overlay
from layerctl.errors import NotFoundError
from layerctl.kernel.paths import absolute
from layerctl.model import Layer, MountEntry, Role, Stack
from layerctl.rules.overlay import OWN_LOOP
from layerctl.rules.words import with_article

if TYPE_CHECKING:
    from layerctl.codecs.aufs import SysfsInstance

SELF_MOUNTINFO = "/proc/self/mountinfo"
AUFS_SYSFS = "/sys/fs/aufs"
#: Types whose layers the kernel shows; it does not know those of FUSE_OVERLAYFS.
LAYERED = ("overlay", "aufs")
FUSE_OVERLAYFS = "fuse.fuse-overlayfs"


class Mounted(NamedTuple):
    """A live layered mount: its mountinfo line, its stack, and what could not be read."""

    entry: MountEntry
    stack: Stack
    notes: tuple[str, ...] = ()


def read_text(path: str) -> str:
    """Return a file of /proc or /sys as text, bytes that are not UTF-8 as surrogate escapes.

    Raises OSError, also for EAGAIN, which file objects in Python treat as the end of the file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    parts = []
    try:
        while part := os.read(fd, 1 << 16):
            parts.append(part)
    except OSError as error:
        error.filename = path
        raise
    finally:
        with contextlib.suppress(OSError):  # it was only read
            os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def entries(path: str = SELF_MOUNTINFO) -> list[MountEntry]:
    """Return every mount of a mountinfo file, in its order.

    Raises OSError, EILSEQ if the file is not mountinfo.
    """
    try:
        return mountinfo.parse(read_text(path))
    except ValueError as error:
        raise OSError(errno.EILSEQ, str(error), path) from None


def shown(path: str) -> list[MountEntry]:
    """Like `entries`, but raises NotFoundError if the file is missing or not mountinfo."""
    try:
        return entries(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise NotFoundError(
            "no-mountinfo",
            f"the mounts cannot be read from {path}",
            why=why or "",
            hint="" if path == SELF_MOUNTINFO else "name a copy of /proc/PID/mountinfo",
            commands=("mount -t proc proc /proc",) if path == SELF_MOUNTINFO else (),
        ) from None


def mount_id(path: str) -> int:
    """Return the id of the mount that `path` is on, following links (proc(5), fdinfo)."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return mount_id_of(fd)
    finally:
        os.close(fd)


def mount_id_of(fd: int) -> int:
    """Return the id of the mount that an open descriptor is on."""
    return mount_id_in(f"/proc/self/fdinfo/{fd}")


def mount_id_in(fdinfo: str) -> int:
    """Return the mount id in an fdinfo file. Raises OSError."""
    for line in read_text(fdinfo).splitlines():
        key, _, value = line.partition(":")
        if key == "mnt_id":
            return int(value)
    raise OSError(errno.ENODATA, "no mnt_id in fdinfo")


def layered(mountinfo_path: str = SELF_MOUNTINFO, sysfs: str = AUFS_SYSFS) -> list[Mounted]:
    """Return every overlay and aufs mount, in mountinfo's order."""
    return [describe(entry, sysfs) for entry in shown(mountinfo_path) if entry.fstype in LAYERED]


def describe(entry: MountEntry, sysfs: str = AUFS_SYSFS) -> Mounted:
    """Decode the stack of one overlay or aufs mount."""
    notes: list[str] = []
    if entry.fstype == "aufs":
        from layerctl.codecs import aufs  # rare, and a script pays for every import

        stack, identity = aufs.from_super_options(entry.super_options)
        if not stack.layers and identity is not None:
            try:
                instance = aufs_instance(f"si_{identity}", sysfs)
                layers = tuple(
                    Layer(branch.path, Role.BRANCH, branch.permission)
                    for branch in instance.branches
                )
                stack = stack._replace(layers=layers)
            except OSError as error:
                notes.append(f"the branches cannot be read: {error.strerror}: {error.filename}")
    else:
        stack = _overlay_stack(entry.super_options)
        if any(f"layerctl{end}{OWN_LOOP}" in entry.super_options for end in "/."):
            notes += _images(stack)
    flags = [flag for flag in entry.mount_options if flag not in ("rw", "ro")]
    flags += [flag for flag in stack.flags if flag not in ("rw", "ro")]
    read_only = "ro" in stack.flags or "ro" in entry.mount_options
    stack = stack._replace(flags=("ro" if read_only else "rw", *flags))
    return Mounted(entry, stack, tuple(notes))


def _overlay_stack(super_options: str) -> Stack:
    stack = overlay.from_super_options(super_options)
    if "\\134" in super_options and stack.upper is not None and not os.path.isdir(stack.upper):
        literal = overlay.from_super_options(super_options, literal=True)
        if literal.upper is not None and os.path.isdir(literal.upper):
            return literal
    return stack


def find(target: str, mountinfo_path: str = SELF_MOUNTINFO) -> MountEntry:
    """Return the topmost mount at `target`.

    Raises NotFoundError: `target-missing` if there is no such path, `not-mounted` if nothing is
    mounted there.
    """
    path = absolute(target)
    if mountinfo_path != SELF_MOUNTINFO:
        found = [entry for entry in shown(mountinfo_path) if entry.target == path]
        if found:
            return found[-1]
        raise _not_mounted(target, None)
    here = shown(SELF_MOUNTINFO)
    try:
        identity = mount_id(path)
    except OSError as error:
        raise missing(target, error) from None
    real = os.path.realpath(path)
    for entry in here:
        if entry.mount_id == identity:
            if entry.target in (path, real):
                return entry
            raise _not_mounted(target, entry)
    raise _not_mounted(target, None)


def _images(stack: Stack) -> list[str]:
    """Return a note for each layer that is an image which only the mount holds."""
    from layerctl.kernel import disk_images  # few layers are images

    images = ((number, disk_images.named(one.path)) for number, one in enumerate(stack.layers))
    return [f"layer {number} is the image {image}" for number, image in images if image]


def find_below(target: str) -> tuple[MountEntry, str]:
    """Return the mount at `target`, or the layered one that it is in, and the path in that mount.

    The path need not exist. Its last name is not followed if it is a link. Raises what `find` does.
    """
    try:
        return find(target), ""
    except NotFoundError as error:
        inside = _inside(absolute(target))
        if inside is None:
            raise
        entry, below = inside
        if entry.fstype not in LAYERED:
            raise error from None
        return entry, below


def _inside(path: str) -> tuple[MountEntry, str] | None:
    """Return the mount that a path is in, and its place there."""
    above, below = os.path.split(path)
    while not os.path.isdir(above):
        above, name = os.path.split(above)
        below = os.path.join(name, below)
    try:
        identity, real = mount_id(above), os.path.realpath(above)
    except OSError:
        return None
    for entry in shown(SELF_MOUNTINFO):
        start = entry.target.rstrip("/")
        if entry.mount_id == identity and f"{real}/".startswith(f"{start}/"):
            return entry, os.path.join(real[len(start) :].lstrip("/"), below)
    return None


def missing(target: str, error: OSError) -> NotFoundError:
    """Return the error for a target that cannot be accessed."""
    return NotFoundError(
        "target-missing",
        f"{target}: {error.strerror or 'cannot be opened'}",
        commands=("layerctl list",),
    )


def _not_mounted(target: str, inside: MountEntry | None) -> NotFoundError:
    if inside is not None and inside.fstype in LAYERED:
        why = f"it is inside the {inside.fstype} mount {inside.target}"
        hint = f"name the mount itself: {inside.target}"
    else:
        why = (
            "it is an ordinary directory"
            if inside is None
            else (f"it is inside the {inside.fstype} mount {inside.target}")
        )
        hint = ""
    return NotFoundError(
        "not-mounted",
        f"nothing is mounted on {target}",
        why=why,
        hint=hint,
        commands=() if hint else ("layerctl list",),
    )


def find_layered(
    target: str, mountinfo_path: str = SELF_MOUNTINFO, sysfs: str = AUFS_SYSFS
) -> Mounted:
    """Return the overlay or aufs mount at `target`. Raises NotFoundError if there is none."""
    return layered_entry(target, find(target, mountinfo_path), sysfs)


def layered_entry(target: str, entry: MountEntry, sysfs: str = AUFS_SYSFS) -> Mounted:
    """Return a mount with its layers. Raises NotFoundError if it has none that are known."""
    if entry.fstype == FUSE_OVERLAYFS:
        raise NotFoundError(
            "layers-unknown",
            f"{target} is a fuse-overlayfs mount, whose layers the kernel does not know",
            why="only the fuse-overlayfs process knows them, and it does not show them",
            hint="name the layers instead, with -l DIR and -u DIR",
        )
    if entry.fstype not in LAYERED:
        raise not_layered(target, entry)
    return describe(entry, sysfs)


def not_layered(target: str, entry: MountEntry) -> NotFoundError:
    """Return the error for a mount of another type."""
    return NotFoundError(
        "not-layered",
        f"{target} is {with_article(entry.fstype)} mount, not an overlay or aufs",
        commands=("layerctl list",),
    )


def aufs_instance(name: str, sysfs: str = AUFS_SYSFS) -> SysfsInstance:
    """Read one si_ID directory of aufs. Raises OSError.

    A file can be busy briefly while branches change, so reading is retried a few times.
    """
    from layerctl.codecs import aufs  # as above

    directory = os.path.join(sysfs, name)
    files = {}
    for file in os.listdir(directory):
        if file.startswith(("br", "xi_path")):
            files[file] = _read_busy(os.path.join(directory, file))
    try:
        return aufs.sysfs_instance(name.removeprefix("si_"), files)
    except ValueError as error:
        raise OSError(errno.EILSEQ, str(error), directory) from None


def _read_busy(path: str, tries: int = 5) -> str:
    for left in range(tries - 1, -1, -1):
        try:
            return read_text(path)
        except OSError as error:
            if error.errno != errno.EBUSY or not left:
                raise
            time.sleep(0.02)
    raise AssertionError  # the loop returns or raises


def aufs_instances(sysfs: str = AUFS_SYSFS) -> list[str]:
    """Return the names of all si_ID directories, sorted; none if aufs has no sysfs."""
    try:
        return sorted(name for name in os.listdir(sysfs) if name.startswith("si_"))
    except FileNotFoundError:
        return []

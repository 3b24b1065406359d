"""Facts that bear on overlay alone: what its upper layer holds, who else uses it, its defaults."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from layerctl.kernel import mounts
from layerctl.kernel.facts import Facts, Handles, Other, Storage, directory
from layerctl.model import MountEntry, Role, Stack


def added(stack: Stack, facts: Facts, by_id: dict[int, MountEntry]) -> Facts:
    """Return the facts of a plan with those of overlay added. Reads only; raises nothing."""
    others = tuple(overlays(facts.mounts, by_id))
    facts = facts._replace(others=others, parameters=parameters())
    if stack.upper is None:
        return facts
    upper, work = facts.of(stack.upper), stack.work
    facts = facts._replace(
        storage=storage(stack.upper) if upper.identity is not None else None,
        flags={
            path: flags
            for path in {stack.upper, work}
            if path is not None and (flags := inode_flags(path)) is not None
        },
        work_names=names(work),
        incompat=names(None if work is None else f"{work}/work/incompat"),
    )
    if index_wanted(stack, facts.parameters):
        facts = facts._replace(handles=_handles(stack))
    return facts


def index_wanted(stack: Stack, parameters: Mapping[str, str]) -> bool:
    """Tell whether an overlay with an upper layer would have index=on."""
    index = stack.options.get("index")
    if index is not None:
        return index == "on"
    exported = stack.options.get("nfs_export")
    return exported == "on" or parameters.get("index") in ("Y", "1")


def parameters() -> dict[str, str]:
    """Return overlay's module parameters; none where the module is not loaded."""
    found = {}
    directory = "/sys/module/overlay/parameters"
    for name in names(directory):
        try:
            found[name] = mounts.read_text(f"{directory}/{name}").strip()
        except OSError:
            continue
    return found


def storage(path: str) -> Storage | None:
    """Return what is left on a path's filesystem, None where it does not say."""
    try:
        left = os.statvfs(path)
    except OSError:
        return None
    if not left.f_blocks:  # a pseudo filesystem, which counts nothing
        return None
    return Storage(left.f_bfree * left.f_frsize, left.f_ffree if left.f_files else None)


FS_IOC_GETFLAGS = 0x80086601


def inode_flags(path: str) -> int | None:
    """Return a directory's inode flags (ioctl_iflags(2)), None where there are none to read."""
    import fcntl

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
    """Return what lies in a directory, nothing where there is none or it cannot be read."""
    if path is None:
        return ()
    try:
        return tuple(sorted(os.listdir(path)))
    except OSError:
        return ()


def overlays(
    entries: Iterable[MountEntry], by_id: dict[int, MountEntry], pid: int | None = None
) -> Iterator[Other]:
    """Yield the overlays with an upper layer among mounts; `pid` is a process that sees them.

    A name that was given relative to a directory nobody knows any more is passed over.
    """
    from layerctl.codecs import overlay

    root = "" if pid is None else f"/proc/{pid}/root"
    for entry in entries:
        if entry.fstype != "overlay":
            continue
        stack = overlay.from_super_options(entry.super_options)
        if stack.upper is None or not stack.upper.startswith("/"):
            continue
        work = None
        if stack.work is not None and stack.work.startswith("/"):
            work = directory(root + stack.work, by_id)
        yield Other(entry.target, directory(root + stack.upper, by_id), work, pid)


def _handles(stack: Stack) -> Handles | None:
    """Return the file handles that an index compares, None where there are none to compare."""
    from layerctl.kernel import syscalls

    lowers = [layer.path for layer in stack.layers if layer.role is Role.LOWER]
    if stack.upper is None or not lowers:
        return None
    prefix = "user.overlay." if "userxattr" in stack.options else "trusted.overlay."

    def handle(path: str) -> tuple[int, bytes] | None:
        try:
            return syscalls.name_to_handle_at(path)
        except OSError:
            return None

    index = None if stack.work is None else f"{stack.work}/index"
    return Handles(
        remembered(stack.upper, prefix + "origin"),
        handle(lowers[0]),
        None if index is None else remembered(index, prefix + "upper"),
        handle(stack.upper),
    )


def remembered(path: str, name: str) -> tuple[int, bytes] | None:
    """Return the file handle in an attribute of overlay (struct ovl_fb), None where there is none.

    Its bytes: version, magic 0xfb, length, flags, type, 16 of UUID, then the handle itself.
    """
    try:
        raw = os.getxattr(path, name)
    except OSError:
        return None
    if len(raw) <= 21 or raw[0] != 0 or raw[1] != 0xFB or raw[2] != len(raw):
        return None
    return raw[4], raw[21:]

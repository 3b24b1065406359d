"""Facts about single directories, the caller, and what affects the right to mount."""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable, Mapping

from layerctl.codecs.escape import octal_decode
from layerctl.kernel import mounts
from layerctl.kernel.facts import Caller, Directory
from layerctl.model import MountEntry

#: The inode of /proc/self/ns/user in the first user namespace (PROC_USER_INIT_INO).
_INIT_USER_NS = 0xEFFFFFFD
_CAP_SYS_ADMIN = 21


def caller() -> Caller:
    """Return the privileges of this process."""
    effective = 0
    for line in mounts.read_text("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    try:
        first = os.stat("/proc/self/ns/user").st_ino == _INIT_USER_NS
    except OSError:
        first = True
    return Caller(os.geteuid(), bool(effective >> _CAP_SYS_ADMIN & 1), not first)


def directory(
    path: str, by_id: Mapping[int, MountEntry], *, will_be_made: bool = False
) -> Directory:
    """Gather the facts of one directory.

    For one that is not there `mount` and `inside` tell where it would lie if it were made.
    """
    fd, nearest, missing = _open_nearest(path)
    if fd < 0:
        return Directory(path, error=missing, will_be_made=will_be_made)
    try:
        status = os.fstat(fd)
        real = os.readlink(f"/proc/self/fd/{fd}")
        entry = by_id.get(mounts.mount_id_of(fd))
    finally:
        os.close(fd)
    inside = _inside(entry, real, path[len(nearest.rstrip("/")) :])
    if nearest != path:
        return Directory(
            path,
            error=None if will_be_made else missing,
            is_directory=will_be_made,
            mount=entry,
            inside=inside,
            will_be_made=will_be_made,
        )
    return Directory(
        path,
        is_directory=stat.S_ISDIR(status.st_mode),
        identity=(status.st_dev, status.st_ino),
        mount=entry,
        inside=inside,
        mode=status.st_mode,
        owner=(status.st_uid, status.st_gid),
        is_image=stat.S_ISREG(status.st_mode) and _is_image(path),
    )


def _open_nearest(path: str) -> tuple[int, str, int | None]:
    """Open a path, or the nearest directory above it that is there.

    Returns the descriptor (-1 where nothing can be opened), what was opened, and the errno of
    opening the path itself.
    """
    nearest, missing = path, None
    while True:
        try:
            return os.open(nearest, os.O_PATH | os.O_CLOEXEC), nearest, missing
        except OSError as error:
            missing = missing or error.errno
            above = os.path.dirname(nearest)
            if error.errno != errno.ENOENT or above == nearest:
                return -1, nearest, missing
            nearest = above


def _inside(entry: MountEntry | None, real: str, below: str) -> str | None:
    """Return the place in its filesystem of `below`, relative to `real` on the mount `entry`."""
    if entry is None or not real.startswith(entry.target):
        return None
    place = f"/{entry.root}{real[len(entry.target.rstrip('/')) :]}{below}"
    return os.path.normpath(place).replace("//", "/")


def _is_image(path: str) -> bool:
    from layerctl.kernel.images import is_image  # a layer is rarely a file

    return is_image(path)


def cached_directory() -> Callable[[str], Directory]:
    """Return a function that gathers the facts of a directory, of each once."""
    try:
        by_id = {entry.mount_id: entry for entry in mounts.entries()}
    except OSError:
        by_id = {}
    return functools.cache(lambda path: directory(path, by_id))


def fstab() -> tuple[str, ...]:
    """Return the targets of /etc/fstab."""
    try:
        text = mounts.read_text("/etc/fstab")
    except OSError:
        return ()
    fields = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return tuple(octal_decode(line[1]) for line in fields if len(line) > 2 and line[1] != "none")


def read_word(path: str) -> str | None:
    """Return a small file of /proc or /sys without its line end, None if it cannot be read."""
    try:
        return mounts.read_text(path).strip("\0\n ")
    except OSError:
        return None


def surroundings() -> frozenset[str]:
    """Return what affects the right to mount here, as words.

    `wsl1`, `wsl2`, `gvisor`, `container`, `seccomp`, `apparmor`, `selinux`, `no-userns` (ordinary
    users cannot create user namespaces).
    """
    found = set()
    version = (read_word("/proc/version") or "").lower()
    if "microsoft" in version:
        found.add("wsl2" if "wsl2" in version or "microsoft-standard" in version else "wsl1")
    if "gvisor" in version or "#1 smp sun jan 10 15:06:54 pst 2016" in version:
        found.add("gvisor")
    if any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))):
        found.add("container")
    status = read_word("/proc/self/status") or ""
    if "\nSeccomp:\t2" in status:
        found.add("seccomp")
    profile = read_word("/proc/self/attr/current")
    if profile and "(enforce)" in profile:
        found.add("apparmor")
    if read_word("/sys/fs/selinux/enforce") == "1":
        found.add("selinux")
    limits = (
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    )
    if any(read_word(path) == value for path, value in limits):
        found.add("no-userns")
    return frozenset(found)

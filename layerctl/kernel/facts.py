"""Facts about a planned mount, gathered before any decision is made.

What could not be read is None or stands in `unknown`, never a guess.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from dataclasses import dataclass, field

from layerctl.kernel import mounts
from layerctl.model import MountEntry, Role, Stack

#: The inode of /proc/self/ns/user in the first user namespace (PROC_USER_INIT_INO).
_INIT_USER_NS = 0xEFFFFFFD
_CAP_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a plan. `error` is the errno of looking at it, None where it is there.

    `will_be_made` marks one that mount will make: the facts are those of its nearest parent that
    exists. `inside` is its place in the filesystem itself, whatever is bound where: comparing
    two of them on one `device` tells whether one lies in the other.
    """

    path: str
    error: int | None = None
    is_directory: bool = False
    identity: tuple[int, int] | None = None
    mount: MountEntry | None = None
    inside: str | None = None
    will_be_made: bool = False

    @property
    def fstype(self) -> str | None:
        """The type of the filesystem it lies on."""
        return self.mount.fstype if self.mount is not None else None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `sys_admin` in its own user namespace, and whether that is the first one."""

    uid: int
    sys_admin: bool
    in_user_namespace: bool


class TypeState:
    """How a filesystem type stands in this kernel."""

    PRESENT = "present"
    MODULE = "module"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything known about one plan."""

    type_state: str
    caller: Caller
    directories: dict[str, Directory]
    target: Directory | None = None
    kernel: str = ""
    unknown: tuple[str, ...] = ()
    extra: dict[str, object] = field(default_factory=dict)

    def of(self, path: str) -> Directory:
        """Return the facts of one path of the stack."""
        return self.directories[path]


def caller() -> Caller:
    """Return who asks."""
    effective = 0
    for line in mounts.read_text("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    try:
        first = os.stat("/proc/self/ns/user").st_ino == _INIT_USER_NS
    except OSError:
        first = True
    return Caller(os.geteuid(), bool(effective >> _CAP_SYS_ADMIN & 1), not first)


def type_state(fstype: str) -> str:
    """Tell how a filesystem type stands in this kernel: built in or loaded, a module, or absent."""
    try:
        known = [
            line.split("\t")[-1] for line in mounts.read_text("/proc/filesystems").splitlines()
        ]
    except OSError:
        return TypeState.UNKNOWN
    if fstype in known:
        return TypeState.PRESENT
    modules = f"/lib/modules/{os.uname().release}"
    for name in ("modules.dep", "modules.builtin"):
        try:
            text = mounts.read_text(f"{modules}/{name}")
        except OSError:
            continue
        for line in text.splitlines():
            base = os.path.basename(line.partition(":")[0]).partition(".ko")[0]
            if base == fstype:
                return TypeState.MODULE
    return TypeState.ABSENT


def directory(path: str, by_id: dict[int, MountEntry], *, will_be_made: bool = False) -> Directory:
    """Gather the facts of one directory; for one that will be made, of its nearest parent."""
    looked_at = path
    while True:
        try:
            fd = os.open(looked_at, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            parent = os.path.dirname(looked_at)
            if will_be_made and error.errno == errno.ENOENT and parent != looked_at:
                looked_at = parent
                continue
            return Directory(path, error=error.errno, will_be_made=will_be_made)
        break
    try:
        status = os.fstat(fd)
        real = os.readlink(f"/proc/self/fd/{fd}")
        entry = by_id.get(mounts.mount_id_of(fd))
    finally:
        os.close(fd)
    inside = None
    if entry is not None:
        real += path[len(looked_at.rstrip("/")) :] if looked_at != path else ""
        below = real[len(entry.target.rstrip("/")) :]
        inside = os.path.normpath("/" + entry.root + below).replace("//", "/")
    return Directory(
        path,
        is_directory=(status.st_mode & 0o170000) == 0o040000,
        identity=(status.st_dev, status.st_ino) if looked_at == path else None,
        mount=entry,
        inside=inside,
        will_be_made=will_be_made and looked_at != path,
    )


class Lookup:
    """Facts of single directories, each looked at once."""

    def __init__(self) -> None:
        try:
            self._by_id = {entry.mount_id: entry for entry in mounts.entries()}
        except OSError:
            self._by_id = {}
        self._known: dict[str, Directory] = {}

    def __call__(self, path: str) -> Directory:
        """Return the facts of one directory."""
        if path not in self._known:
            self._known[path] = directory(path, self._by_id)
        return self._known[path]


def gather(stack: Stack, target: str | None, will_be_made: Collection[str] = ()) -> Facts:
    """Gather the facts of a plan whose paths are absolute. Reads only; raises nothing."""
    unknown: list[str] = []
    by_id: dict[int, MountEntry] = {}
    try:
        by_id = {entry.mount_id: entry for entry in mounts.entries()}
    except OSError as error:
        unknown.append(f"{mounts.SELF_MOUNTINFO}: {error.strerror}")
    paths = [layer.path for layer in stack.layers]
    if stack.work is not None:
        paths.append(stack.work)
    return Facts(
        type_state=type_state(stack.fstype),
        caller=caller(),
        directories={
            path: directory(path, by_id, will_be_made=path in will_be_made) for path in paths
        },
        target=None
        if target is None
        else directory(target, by_id, will_be_made=target in will_be_made),
        kernel=os.uname().release,
        unknown=tuple(unknown),
    )


def upper_and_work(stack: Stack, facts: Facts) -> tuple[Directory, Directory] | None:
    """Return the facts of an overlay's upper and work directory, None where it has none."""
    uppers = stack.of_role(Role.UPPER)
    if not uppers or stack.work is None:
        return None
    return facts.of(uppers[0].path), facts.of(stack.work)

"""Facts about a planned mount, gathered before any decision is made.

What could not be read is None or stands in `unknown`, never a guess.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Collection, Mapping
from typing import NamedTuple

from layerctl.codecs.escape import octal_decode
from layerctl.kernel import beneath, mounts
from layerctl.kernel.beneath import Way
from layerctl.kernel.images import is_image
from layerctl.model import MountEntry, Role, Stack
from layerctl.rules.aufs import XINO_FALLBACK, XINO_NAME

#: The inode of /proc/self/ns/user in the first user namespace (PROC_USER_INIT_INO).
_INIT_USER_NS = 0xEFFFFFFD
_CAP_SYS_ADMIN = 21

# Inode flags, spelled as in linux/fs.h.
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20
FS_CASEFOLD_FL = 0x40000000


class Directory(NamedTuple):
    """One directory of a plan. `error` is the errno of looking at it, None where it is there.

    `will_be_made` marks one that mount will make. `inside` is its place in the filesystem itself,
    whatever is bound where: comparing two of them on one `device` tells whether one lies in the
    other.
    """

    path: str
    error: int | None = None
    is_directory: bool = False
    identity: tuple[int, int] | None = None
    mount: MountEntry | None = None
    inside: str | None = None
    will_be_made: bool = False
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    is_image: bool = False

    @property
    def fstype(self) -> str | None:
        """The type of the filesystem it lies on."""
        return self.mount.fstype if self.mount is not None else None


class Caller(NamedTuple):
    """Who asks: `sys_admin` in its own user namespace, and whether that is the first one."""

    uid: int
    sys_admin: bool
    in_user_namespace: bool

    @property
    def is_root(self) -> bool:
        """Whether it is root of the machine, whom nobody has to tell to become root."""
        return self.uid == 0 and self.sys_admin and not self.in_user_namespace


class Storage(NamedTuple):
    """What is left on the upper layer's filesystem (statvfs(3)).

    `bytes_free` does not count what is reserved for root, `bytes_for_root` does. `inodes_free` is
    None where the filesystem does not count them. `refused` is the errno of writing a little into a
    file without a name, 0 for success; None where nothing had to be tried, or could be.
    """

    bytes_free: int
    inodes_free: int | None
    bytes_for_root: int = 0
    refused: int | None = None


class Handles(NamedTuple):
    """File handles for overlay's index: what the upper layer remembers, and what is there.

    Each is (type, handle). `origin` is what the upper root remembers of the first lower layer,
    `index_upper` what the index remembers of the upper root; None where they remember nothing.
    """

    origin: tuple[int, bytes] | None
    lower: tuple[int, bytes] | None
    index_upper: tuple[int, bytes] | None
    upper: tuple[int, bytes] | None


class Other(NamedTuple):
    """Another overlay that is mounted, its upper and work directory; `pid` is who sees it.

    It is not `certain` where its names were given relative to a directory that was guessed.
    """

    target: str
    upper: Directory
    work: Directory | None
    pid: int | None = None
    certain: bool = True


class Probed(NamedTuple):
    """What was tried on the upper layer's filesystem; None is what could not be tried.

    `work` is the errno of making a directory in the work directory, 0 for success. `locked` are
    lower layers that may not be cloned here. `refused` are words that the kernel's own context
    refused, each with what it said.
    """

    d_type: bool | None = None
    rename_whiteout: bool | None = None
    xattr: bool | None = None
    work: int | None = None
    locked: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


class TypeState:
    """The state of a filesystem type in this kernel."""

    PRESENT = "present"
    MODULE = "module"
    ABSENT = "absent"
    UNKNOWN = "unknown"


_NOWHERE: Mapping[str, Directory] = {}
_NOTHING: Mapping[str, str] = {}
_NO_FLAGS: Mapping[str, int] = {}
_NO_WAYS: Mapping[str, Way] = {}
_NO_LAYERS: Mapping[int, tuple[str, ...]] = {}


class Facts(NamedTuple):
    """Everything known about one plan."""

    type_state: str
    caller: Caller
    directories: dict[str, Directory]
    target: Directory | None = None
    kernel: str = ""
    unknown: tuple[str, ...] = ()
    #: What else the plan touches: /tmp and the parent of a named xino file, for aufs.
    places: Mapping[str, Directory] = _NOWHERE
    #: Which of the paths where an xino file would go are there already.
    taken: frozenset[str] = frozenset()
    #: Other kernels in /lib/modules that have the type as a module, where this one lacks it.
    elsewhere: tuple[str, ...] = ()
    #: aufs's module parameter `allow_userns`, None where it cannot be read.
    aufs_allow_userns: bool | None = None
    #: overlay's module parameters, the defaults of its options (`index`, `metacopy` ...).
    parameters: Mapping[str, str] = _NOTHING
    #: Paths on whose way somebody else may swap a name.
    ways: Mapping[str, Way] = _NO_WAYS
    #: Every mount of this namespace.
    mounts: tuple[MountEntry, ...] = ()
    #: The layers of each overlay by its mount id, and those whose relative names were guessed.
    layers: Mapping[int, tuple[str, ...]] = _NO_LAYERS
    guessed: frozenset[int] = frozenset()
    storage: Storage | None = None
    #: The inode flags of directories (FS_IOC_GETFLAGS), where their filesystem has them.
    flags: Mapping[str, int] = _NO_FLAGS
    #: What lies in the work directory, and in its `work/incompat`.
    work_names: tuple[str, ...] = ()
    incompat: tuple[str, ...] = ()
    #: What overlay could not clear of its own folders there: see `layerctl.kernel.probes.stuck`.
    stuck: tuple[str, ...] = ()
    handles: Handles | None = None
    others: tuple[Other, ...] = ()
    #: Targets of /etc/fstab, gathered where a layer is missing.
    fstab: tuple[str, ...] = ()
    #: Which names are there if two neighbours of a list are joined with the colon between them.
    joined: frozenset[str] = frozenset()
    #: What of this machine bears on privilege: see `layerctl.kernel.machine.surroundings`.
    surroundings: frozenset[str] = frozenset()
    probed: Probed | None = None
    #: Layers of an overlay with names of aufs's whiteouts: see `layerctl.kernel.left_marks`.
    foreign: tuple[tuple[str, str], ...] = ()

    def of(self, path: str) -> Directory:
        """Return the facts of one path of the stack."""
        return self.directories[path]

    def identities(self) -> dict[str, tuple[int, int]]:
        """Return device and inode of each directory of the stack that is there, and the target."""
        known = dict(self.directories)
        if self.target is not None:
            known[self.target.path] = self.target
        return {path: one.identity for path, one in known.items() if one.identity is not None}

    def place(self, path: str) -> Directory | None:
        """Return the facts of a directory beside the stack, None where none were gathered."""
        return self.places.get(path) or self.directories.get(path)


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


MODULES = "/lib/modules"


def type_state(fstype: str) -> str:
    """Return the state of a filesystem type: built in or loaded, a module, or absent.

    Where the modules of the running kernel cannot be read (they are gone, or this is a container)
    the kernel itself is asked by fsopen(2), which loads a module as mount(2) would.
    """
    try:
        known = [
            line.split("\t")[-1] for line in mounts.read_text("/proc/filesystems").splitlines()
        ]
    except OSError:
        known = []
    if fstype in known:
        return TypeState.PRESENT
    found = has_module(fstype, os.uname().release)
    if found is not None:
        return TypeState.MODULE if found else TypeState.ABSENT
    return _asked(fstype)


def has_module(fstype: str, release: str) -> bool | None:
    """Tell whether a kernel's modules hold a filesystem type, None where they cannot be read."""
    readable = None
    for name in ("modules.dep", "modules.builtin"):
        try:
            text = mounts.read_text(f"{MODULES}/{release}/{name}")
        except OSError:
            continue
        readable = False
        for line in text.splitlines():
            base = os.path.basename(line.partition(":")[0]).partition(".ko")[0]
            if base == fstype:
                return True
    return readable


def _asked(fstype: str) -> str:
    from layerctl.kernel import syscalls

    try:
        os.close(syscalls.fsopen(fstype))
    except OSError as error:
        return TypeState.ABSENT if error.errno == errno.ENODEV else TypeState.UNKNOWN
    return TypeState.PRESENT


def kernels_with(fstype: str) -> tuple[str, ...]:
    """Return the kernels whose modules lie on this machine and have the type as a module."""
    try:
        names = sorted(os.listdir(MODULES))
    except OSError:
        return ()
    return tuple(name for name in names if has_module(fstype, name))


def aufs_allow_userns() -> bool | None:
    """Return aufs's module parameter `allow_userns`, None where it cannot be read."""
    try:
        return mounts.read_text("/sys/module/aufs/parameters/allow_userns").strip() in ("Y", "1")
    except OSError:
        return None


def directory(path: str, by_id: dict[int, MountEntry], *, will_be_made: bool = False) -> Directory:
    """Gather the facts of one directory.

    For one that is not there `mount` and `inside` tell where it would lie if it were made.
    """
    looked_at, missing = path, None
    while True:
        try:
            fd = os.open(looked_at, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            missing = missing or error.errno
            parent = os.path.dirname(looked_at)
            if error.errno == errno.ENOENT and parent != looked_at:
                looked_at = parent
                continue
            return Directory(path, error=missing, will_be_made=will_be_made)
        break
    try:
        status = os.fstat(fd)
        real = os.readlink(f"/proc/self/fd/{fd}")
        entry = by_id.get(mounts.mount_id_of(fd))
    finally:
        os.close(fd)
    inside = None
    if entry is not None and real.startswith(entry.target):
        real += path[len(looked_at.rstrip("/")) :] if looked_at != path else ""
        below = real[len(entry.target.rstrip("/")) :]
        inside = os.path.normpath("/" + entry.root + below).replace("//", "/")
    there = looked_at == path
    return Directory(
        path,
        error=None if will_be_made else missing,
        is_directory=stat.S_ISDIR(status.st_mode) if there else will_be_made,
        identity=(status.st_dev, status.st_ino) if there else None,
        mount=entry,
        inside=inside,
        will_be_made=will_be_made and not there,
        mode=status.st_mode if there else 0,
        owner=(status.st_uid, status.st_gid) if there else (0, 0),
        is_image=there and stat.S_ISREG(status.st_mode) and is_image(path),
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
    """Gather the facts of a plan whose paths are absolute. Reads only; raises nothing.

    fsopen(2) is asked about a type that no module file names.
    """
    unknown: list[str] = []
    entries: tuple[MountEntry, ...] = ()
    try:
        entries = tuple(mounts.entries())
    except OSError as error:
        unknown.append(f"{mounts.SELF_MOUNTINFO}: {error.strerror}")
    by_id = {entry.mount_id: entry for entry in entries}
    paths = [layer.path for layer in stack.layers]
    if stack.work is not None:
        paths.append(stack.work)
    state = type_state(stack.fstype)
    if state == TypeState.UNKNOWN:
        unknown.append(f"whether this kernel has {stack.fstype}")
    places = {path: directory(path, by_id, will_be_made=path in will_be_made) for path in paths}
    who = caller()
    facts = Facts(
        type_state=state,
        caller=who,
        directories=places,
        target=None
        if target is None
        else directory(target, by_id, will_be_made=target in will_be_made),
        kernel=os.uname().release,
        unknown=tuple(unknown),
        elsewhere=kernels_with(stack.fstype) if state == TypeState.ABSENT else (),
        ways=_ways(stack, target),
        mounts=entries,
    )
    if any(place.error is not None for place in places.values()):
        facts = facts._replace(fstab=_fstab(), joined=_joined(stack))
    if not who.sys_admin or who.in_user_namespace:
        from layerctl.kernel.machine import surroundings

        facts = facts._replace(surroundings=surroundings())
    if stack.fstype == "aufs":
        return _with_aufs(stack, facts, by_id)
    from layerctl.kernel import overlay_facts

    return overlay_facts.added(stack, facts, by_id)


def _ways(stack: Stack, target: str | None) -> dict[str, Way]:
    """Return where others may swap a name: on the way to what is written, links on the way to all.

    A lower layer is only read, and whoever may swap it may change it as well.
    """
    ways = {}
    written = (stack.upper, stack.work, target)
    for path in {*(layer.path for layer in stack.layers), *written}:
        if path is not None and (path in written or not beneath.is_plain(path)):
            way = beneath.look(path)
            if way.link is not None or (way.swap is not None and path in written):
                ways[path] = way
    return ways


def _with_aufs(stack: Stack, facts: Facts, by_id: dict[int, MountEntry]) -> Facts:
    xino = _xino_paths(stack)
    return facts._replace(
        places={path: directory(path, by_id) for path in {os.path.dirname(one) for one in xino}},
        taken=frozenset(path for path in xino if os.path.lexists(path)),
        aufs_allow_userns=aufs_allow_userns(),
    )


def _fstab() -> tuple[str, ...]:
    """Return the targets of /etc/fstab."""
    try:
        text = mounts.read_text("/etc/fstab")
    except OSError:
        return ()
    fields = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return tuple(octal_decode(line[1]) for line in fields if len(line) > 2 and line[1] != "none")


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


def _xino_paths(stack: Stack) -> list[str]:
    """Return every path where aufs may put the xino file of a stack."""
    if stack.fstype != "aufs":
        return []
    named = stack.options.get("xino")
    if named:
        return [named]
    return [XINO_FALLBACK, *(f"{layer.path}/{XINO_NAME}" for layer in stack.layers)]


def upper_and_work(stack: Stack, facts: Facts) -> tuple[Directory, Directory] | None:
    """Return the facts of an overlay's upper and work directory, None where it has none."""
    uppers = stack.of_role(Role.UPPER)
    if not uppers or stack.work is None:
        return None
    return facts.of(uppers[0].path), facts.of(stack.work)

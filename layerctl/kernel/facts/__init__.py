"""Facts about a planned mount, gathered before any decision is made.

These are the nouns; `gather` fills them. What could not be read is None or listed in `unknown`,
never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from layerctl.kernel.beneath import Exposure
from layerctl.model import MountEntry, Role, Stack

if TYPE_CHECKING:  # most mounts need none of these
    from layerctl.kernel.facts.aufs import AufsFacts
    from layerctl.kernel.facts.idmaps import MapProbe
    from layerctl.kernel.facts.index import Handles
    from layerctl.kernel.facts.probes import Probed

# Inode flags, spelled as in linux/fs.h.
FS_IMMUTABLE_FL = 0x10
FS_APPEND_FL = 0x20
FS_CASEFOLD_FL = 0x40000000


class TypeState:
    """The state of a filesystem type in this kernel."""

    PRESENT = "present"
    MODULE = "module"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Directory(NamedTuple):
    """One directory of a plan. `error` is the errno of looking at it, None if it is there.

    `will_be_made` means that mount will create it. `inside` is its path within the filesystem,
    regardless of bind mounts: comparing two of them on one `device` tells whether one is inside the
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
        """The type of the filesystem it is on."""
        return self.mount.fstype if self.mount is not None else None


class Caller(NamedTuple):
    """The calling process: `sys_admin` in its user namespace, and whether that is the first one."""

    uid: int
    sys_admin: bool
    in_user_namespace: bool

    @property
    def is_root(self) -> bool:
        """Whether it is root of the host, to whom no advice to become root applies."""
        return self.uid == 0 and self.sys_admin and not self.in_user_namespace


class Storage(NamedTuple):
    """What is left on the upper layer's filesystem (statvfs(3)).

    `bytes_free` does not count what is reserved for root, `bytes_for_root` does. `inodes_free` is
    None if the filesystem does not count them. `refused` is the errno of writing a little into a
    file without a name, 0 for success; None if nothing had to be written, or could be.
    """

    bytes_free: int
    inodes_free: int | None
    bytes_for_root: int = 0
    refused: int | None = None


class Other(NamedTuple):
    """Another overlay that is mounted, its upper and work directory; `pid` sees it, None for ours.

    It is not `certain` where its names were given relative to a directory that was guessed.
    """

    target: str
    upper: Directory
    work: Directory | None
    pid: int | None = None
    certain: bool = True


_NO_TEXTS: Mapping[str, str] = {}
_NO_FLAGS: Mapping[str, int] = {}
_NO_LAYERS: Mapping[int, tuple[str, ...]] = {}
_NO_EXPOSURES: Mapping[str, Exposure] = {}


class OverlayFacts(NamedTuple):
    """What concerns overlay and fuse-overlayfs alone.

    `parameters` are the module's, the defaults of options. `others` are other overlays that are
    mounted. `layers` are the layers of each by its mount id, `guessed` those whose relative names
    were guessed. `flags` are inode flags of directories (FS_IOC_GETFLAGS), where their filesystem
    has them. `work_names` and `incompat` are in the work directory and in its `work/incompat`;
    `stuck` is what overlay could not clear there (`probes.stuck`). `joined` are names that exist if
    two neighbours of a list are joined with the colon between them. `foreign` are layers with names
    of aufs's whiteouts, each with the first (`ignored_markers`). `mapped` are what mapping the
    owners of layers showed, by their paths.
    """

    parameters: Mapping[str, str] = _NO_TEXTS
    others: tuple[Other, ...] = ()
    layers: Mapping[int, tuple[str, ...]] = _NO_LAYERS
    guessed: frozenset[int] = frozenset()
    storage: Storage | None = None
    flags: Mapping[str, int] = _NO_FLAGS
    work_names: tuple[str, ...] = ()
    incompat: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    handles: Handles | None = None
    joined: frozenset[str] = frozenset()
    foreign: tuple[tuple[str, str], ...] = ()
    mapped: Mapping[str, MapProbe] = {}
    probed: Probed | None = None


class Facts(NamedTuple):
    """Everything known about one plan.

    `elsewhere` are other kernels in /lib/modules that have the type as a module, where this one
    lacks it. `exposed` are paths that other users could lead elsewhere. `mounts` is every mount of
    this namespace. `fstab` are the targets of /etc/fstab, gathered where a layer is missing.
    `surroundings` bear on privilege (`common.surroundings`).
    """

    type_state: str
    caller: Caller
    directories: dict[str, Directory]
    target: Directory | None = None
    kernel: str = ""
    unknown: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    exposed: Mapping[str, Exposure] = _NO_EXPOSURES
    mounts: tuple[MountEntry, ...] = ()
    fstab: tuple[str, ...] = ()
    surroundings: frozenset[str] = frozenset()
    overlay: OverlayFacts = OverlayFacts()
    aufs: AufsFacts | None = None

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
        """Return the facts of a directory beside the stack, None if none were gathered."""
        beside = None if self.aufs is None else self.aufs.places.get(path)
        return beside or self.directories.get(path)


def upper_and_work(stack: Stack, facts: Facts) -> tuple[Directory, Directory] | None:
    """Return the facts of an overlay's upper and work directory, None if it has none."""
    uppers = stack.of_role(Role.UPPER)
    if not uppers or stack.work is None:
        return None
    return facts.of(uppers[0].path), facts.of(stack.work)

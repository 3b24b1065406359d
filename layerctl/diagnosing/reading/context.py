"""The context of a text: versions, filesystems, places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

from layerctl.diagnosing.messages import Match
from layerctl.diagnosing.reading import attempts, text
from layerctl.diagnosing.reading.attempts import Attempt
from layerctl.diagnosing.reading.events import Event, Subject
from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.diagnosing.reading.text import Line
from layerctl.rules.filesystems import family
from layerctl.rules.releases import Release, release

_FS_WORD = Lazy(
    r"(?<![\w/.-])(nfs4?|cifs|smb3|smbfs|ceph(?:fs)?|lustre|gpfs|beegfs|orangefs|9p|zfs|ecryptfs|virtiofs|vfat|exfat|ntfs3?|btrfs|xfs|tmpfs|"
    r"fuse\.[\w-]+|fuseblk)(?![\w/-])"
)
#: Mount points named after what is mounted there.
_PLACES = (
    (Lazy(r"/(?:nfs|net|nas|cifs|smb|ceph|gluster\w*|lustre|gpfs|beegfs)\d*(?:/|\b)"), "nfs"),
    (Lazy(r"/(?:tank|rpool|zpool|zfs|zroot)\d*/"), "zfs"),
    (Lazy(r"/(?:mergerfs|sshfs|gocryptfs|fuse|s3|gdrive|rclone|storage/pool|mnt/user)/"),
     "fuse"),
    (Lazy(r"/\.(?:ecryptfs|Private)/"), "ecryptfs"),
)  # fmt: skip
_BDEV = Lazy(r"\bbdev\.(zfs|btrfs)\b|[ (](zfs|nfs4?|cifs|overlay(?:fs)?)\)? at \"?/")
_FUSE_NAMES = Lazy(
    r"\b(?:gcsfuse|s3fs|goofys|juicefs|sshfs|mergerfs|unionfs-fuse|bindfs|rclone mount|glusterfs|"
    r"cvmfs|lxcfs|ntfs-3g|encfs|gocryptfs)\b"
)
_UTIL_LINUX = Lazy(r"(?:util-linux|libmount)[\s-]+v?(\d+\.\d+)")
_USERNS = Lazy(
    r"unshare\b[^\n]{0,200}\s-{1,2}(?:\w*[Ur]\w*|user|map-root-user)|user ?namespaces?|"
    r"rootless|userns|nsenter\b[^\n]{0,40}--user|--remap-root|usernsexec|\bimg build|"
    r"/run/user/[1-9]\d*/|/\.local/share/(?:containers|docker)|bwrap|rootlesskit"
)
_BOOT = Lazy(
    r"/sysroot\b|initramfs|initrd|dracut|switch_root|\brun-init\b|systemd\[1\]|\.mount: |"
    r"x-systemd|/root/newroot|/mnt-root\b|\brootmnt\b|emergency mode|/new_root\b|"
    r"root device|\brunning (?:early|late) hook"
)
#: Signs that fuse-overlayfs acts, and that the kernel's overlay is used.
_FUSE_ACTS = Lazy(
    r"(?:^|[\s\"'/`])fuse-overlayfs(?:\[\d+\])?: (?!not found)|fuse-overlayfs -|"
    r"mount[_ ]program|fuse3?\.fuse-overlayfs|comm=\"fuse-overlayfs|unknown argument ignored"
)
_KERNEL_ACTS = Lazy(
    r"native overlay|mount(?:ing)? overlay\b|overlay filesystem|(?:Type:|type |fstype: ?)overlay\b|"
    r"mount overlay:|-t overlay\b|creating overlay mount|special device|superblock on"
)


class Tier(IntEnum):
    """How certainly a text is about a layered mount, which limits the conclusions."""

    #: Nothing layered is at fault.
    NONE = 0
    #: An error that is typical of layered filesystems, but not specific.
    PECULIAR = 1
    #: A mount of unknown type failed.
    OPEN = 2
    #: A layered mount, or work in one, failed.
    LAYERED = 3


@dataclass
class Context:
    """Everything that the rules use."""

    plain: str
    lines: list[Line]
    small: str
    tried: list[Attempt]
    kernel: Release | None = None
    util_linux: Release | None = None
    families: tuple[str, ...] = ()
    matches: list[tuple[Line, Match]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    #: The events that count, and how certainly they are about a layered mount:
    failures: list[Event] = field(default_factory=list)
    tier: Tier = Tier.NONE

    @cached_property
    def errno_words(self) -> dict[str, str]:
        """The errnos of the events that count, each with the words that name it."""
        found = [one for event in self.failures for one in event.errnos]
        return {one.name: one.words for one in reversed(found)}

    @property
    def errnos(self) -> set[str]:
        """The names of the errnos of the events that count."""
        return set(self.errno_words)

    @cached_property
    def said(self) -> list[Line]:
        """The lines in which messages of programs count: not kernel messages or other mounts."""
        taken = {id(line) for line, _ in self.matches}
        taken |= {id(event.line) for event in self.events if event.subject is Subject.OTHER}
        if self.matches and not any(
            event.failed for event in self.events if event.subject is not Subject.PLAIN
        ):
            return []  # there are only kernel messages
        once = {line.text: line for line in reversed(self.lines) if id(line) not in taken}
        return [*reversed(once.values())]

    @property
    def complains(self) -> bool:
        """Whether anything but the kernel log reports a failure."""
        return bool(self.errno_words)

    @cached_property
    def in_user_namespace(self) -> bool:
        """Whether the text mentions a user namespace."""
        return bool(_USERNS.search(self.plain))

    @cached_property
    def booting(self) -> bool:
        """Whether the text is from a booting system."""
        return bool(_BOOT.search(self.plain))

    @cached_property
    def by_fuse_overlayfs(self) -> bool:
        """Whether fuse-overlayfs, not the kernel, is the filesystem."""
        return _FUSE_ACTS.search(self.plain) is not None

    def by_kernel(self, event: Event) -> bool:
        """Whether an event is about the kernel's overlay although the text names fuse-overlayfs."""
        line = event.line.text
        return "fuse-overlayfs" not in line and _KERNEL_ACTS.search(line) is not None

    @cached_property
    def fstype(self) -> str:
        """The type that the text is about: aufs if it says so, else overlay."""
        if any(attempt.fstype == "aufs" for attempt in self.tried):
            return "aufs"
        if self.tried:
            return "overlay"
        kernel = {match.message.fs for _, match in self.matches} - {"any"}
        if kernel:
            return "aufs" if kernel == {"aufs"} else "overlay"
        return "aufs" if "aufs" in self.small and "overlay" not in self.small else "overlay"


def build(raw: str, kernel: Release | None, fs: str | None) -> Context:
    """Return the context of a text; `kernel` and `fs` are given by the user."""
    plain = text.plain(raw)
    found = text.lines(plain)
    families = [family(fs)] if fs else []
    families += [family(match[1]) for match in _FS_WORD.finditer(plain)]
    families += [family(match[1] or match[2]) for match in _BDEV.finditer(plain)]
    families += [kind for pattern, kind in _PLACES if pattern.search(plain)]
    if _FUSE_NAMES.search(plain):
        families.append("fuse")
    util_linux = _UTIL_LINUX.search(plain)
    return Context(
        plain,
        found,
        text.folded(plain),
        attempts.find(plain),
        kernel or text.kernel_version(plain),
        release(util_linux[1]) if util_linux else None,
        tuple(dict.fromkeys(one for one in families if one)),
    )


def of_kernel(lines: Iterable[str], kernel: Release | None) -> Context:
    """Return the context of messages of the kernel."""
    plain = "\n".join(lines)
    found = [line._replace(kernel=True) for line in text.lines(plain)]
    return Context(plain, found, text.folded(plain), [], kernel)

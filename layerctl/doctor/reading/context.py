"""What a whole text tells beside its single lines: versions, filesystems, places."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from layerctl.doctor.messages import Match
from layerctl.doctor.reading import attempts, errnos, text
from layerctl.doctor.reading.attempts import Attempt
from layerctl.doctor.reading.errnos import Told
from layerctl.doctor.reading.text import Line

Version = tuple[int, int]

#: Names of filesystems by the family that overlay's answer depends on.
FAMILIES = {
    "nfs": "nfs", "nfs4": "nfs", "cifs": "nfs", "smb3": "nfs", "ceph": "nfs", "afs": "nfs",
    "9p": "nfs", "cephfs": "nfs", "lustre": "nfs", "gpfs": "nfs", "beegfs": "nfs",
    "orangefs": "nfs", "smbfs": "nfs", "glusterfs": "fuse", "zfs": "zfs",
    "ecryptfs": "ecryptfs", "virtiofs": "virtiofs",
    "overlay": "overlay", "overlayfs": "overlay", "aufs": "aufs", "vfat": "names",
    "exfat": "names", "msdos": "names", "ntfs": "names", "ntfs3": "names", "hfsplus": "names",
    "fuse": "fuse", "fuseblk": "fuse", "btrfs": "btrfs", "xfs": "xfs", "tmpfs": "tmpfs",
    "ramfs": "tmpfs", "ext4": "ext4",
}  # fmt: skip

_FS_WORD = re.compile(
    r"(?<![\w/.-])(nfs4?|cifs|smb3|smbfs|ceph(?:fs)?|lustre|gpfs|beegfs|orangefs|9p|zfs|ecryptfs|virtiofs|vfat|exfat|ntfs3?|btrfs|xfs|tmpfs|"
    r"fuse\.[\w-]+|fuseblk)(?![\w/-])"
)
_FUSE_NAMES = re.compile(
    r"\b(?:gcsfuse|s3fs|goofys|juicefs|sshfs|mergerfs|unionfs-fuse|bindfs|rclone mount|glusterfs|"
    r"cvmfs|lxcfs|ntfs-3g|encfs|gocryptfs)\b"
)
_UTIL_LINUX = re.compile(r"(?:util-linux|libmount)[\s-]+v?(\d+\.\d+)")
_USERNS = re.compile(
    r"unshare\b[^\n]{0,200}\s-{1,2}(?:\w*[Ur]\w*|user|map-root-user)|user ?namespaces?|"
    r"rootless|userns|/\.local/share/(?:containers|docker)|bwrap|rootlesskit"
)
_BOOT = re.compile(
    r"/sysroot\b|initramfs|initrd|dracut|switch_root|\brun-init\b|systemd\[1\]|\.mount: |"
    r"x-systemd|/root/newroot|/mnt-root\b|\brootmnt\b|emergency mode|/new_root\b|"
    r"root device|\brunning (?:early|late) hook"
)
_REMOVING = re.compile(
    r"\b(?:umount|unmount\w*|rm|remov\w+|delet\w+|rmdir|unlinkat|prune)\b", re.IGNORECASE
)


@dataclass(slots=True)
class Context:
    """Everything the rules look at."""

    plain: str
    lines: list[Line]
    small: str
    tried: list[Attempt]
    kernel: Version | None = None
    util_linux: Version | None = None
    families: tuple[str, ...] = ()
    matches: list[tuple[Line, Match]] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    named: tuple[Told, ...] = ()

    @property
    def errnos(self) -> set[str]:
        """The names of the errnos that were told."""
        return set(self.told)

    @property
    def complains(self) -> bool:
        """Whether anything but the kernel's log says that something went wrong."""
        return bool(self.told)

    @property
    def in_user_namespace(self) -> bool:
        """Whether the text speaks of a user namespace."""
        return bool(_USERNS.search(self.plain))

    @property
    def booting(self) -> bool:
        """Whether the text is of a machine that is starting."""
        return bool(_BOOT.search(self.plain))

    @property
    def removing(self) -> bool:
        """Whether the text is of unmounting or removing."""
        return bool(_REMOVING.search(self.plain))

    @property
    def by_fuse_overlayfs(self) -> bool:
        """Whether fuse-overlayfs, not the kernel, is the filesystem."""
        return "fuse-overlayfs" in self.small

    @property
    def fstype(self) -> str:
        """The type that the text is about: aufs where it says so, else overlay."""
        if any(attempt.fstype == "aufs" for attempt in self.tried):
            return "aufs"
        if self.tried:
            return "overlay"
        kernel = {match.message.fs for _, match in self.matches} - {"any"}
        if kernel:
            return "aufs" if kernel == {"aufs"} else "overlay"
        return "aufs" if "aufs" in self.small and "overlay" not in self.small else "overlay"


def build(raw: str, kernel: Version | None, fs: str | None) -> Context:
    """Return the context of a text; `kernel` and `fs` are what the user knows."""
    plain = text.plain(raw)
    found = text.lines(plain)
    families = [family(fs)] if fs else []
    families += [family(match[1]) for match in _FS_WORD.finditer(plain)]
    if _FUSE_NAMES.search(plain):
        families.append("fuse")
    util_linux = _UTIL_LINUX.search(plain)
    return Context(
        plain,
        found,
        text.folded(plain),
        attempts.find(plain),
        kernel or text.kernel_version(plain),
        text.version(util_linux[1]) if util_linux else None,
        tuple(dict.fromkeys(one for one in families if one)),
    )


def hear(context: Context) -> None:
    """Find the errnos that programs tell: not those inside the kernel's own messages."""
    said = {id(line) for line, _ in context.matches}
    others = [line.text for line in context.lines if not line.kernel and id(line) not in said]
    told = errnos.find("\n".join(others))
    context.told = {one.name: one.words for one in reversed(told)}
    context.named = tuple(one for one in told if one.cause)


def family(fstype: str) -> str:
    """Return the family of a filesystem type, empty where it plays no part."""
    return FAMILIES.get(fstype) or ("fuse" if fstype.startswith("fuse") else "")

"""The table of filesystem types, and what layers on them can do. Pure.

Sources: fs/overlayfs/{super,util}.c (ovl_dentry_weird, ovl_dentry_remote, ovl_make_workdir), the
`dentry_operations` of each filesystem, fs/aufs/fstype.h.
"""

from __future__ import annotations

#: The family of each filesystem type, which decides how overlay treats it; see `family`.
_FAMILIES = {
    "nfs": "nfs", "nfs4": "nfs", "cifs": "nfs", "smb3": "nfs", "ceph": "nfs", "afs": "nfs",
    "9p": "nfs", "cephfs": "nfs", "lustre": "nfs", "gpfs": "nfs", "beegfs": "nfs",
    "orangefs": "nfs", "smbfs": "nfs", "glusterfs": "fuse", "fuse": "fuse", "fuseblk": "fuse",
    "zfs": "zfs", "ecryptfs": "ecryptfs", "virtiofs": "virtiofs",
    "overlay": "overlay", "overlayfs": "overlay", "aufs": "aufs",
    "vfat": "names", "exfat": "names", "msdos": "names", "ntfs": "names", "ntfs3": "names",
    "hfs": "names", "hfsplus": "names", "adfs": "names", "affs": "names",
    "btrfs": "btrfs", "xfs": "xfs", "tmpfs": "tmpfs", "ramfs": "tmpfs", "ext4": "ext4",
}  # fmt: skip

#: Remote filesystems without RENAME_WHITEOUT, which overlay requires of a remote upper layer
#: (ovl_make_workdir, since 5.7; before, it accepted no remote upper layer).
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "afs"})

#: Filesystems with their own rules for comparing names: overlay refuses dentries with d_hash or
#: d_compare as 'weird' in any layer (ovl_dentry_weird).
OWN_NAMES = frozenset({"vfat", "msdos", "exfat", "hfs", "hfsplus", "adfs", "affs", "autofs"})

#: Filesystems that are never writable.
READ_ONLY = frozenset({"squashfs", "erofs", "iso9660", "cramfs", "romfs", "udf"})

#: Filesystems whose files do not survive a reboot.
IN_MEMORY = frozenset({"tmpfs", "ramfs"})

#: Filesystems without link(2).
NO_HARD_LINKS = frozenset({"vfat", "msdos", "exfat"})

#: Stacked filesystems, which count for the stacking depth.
STACKED = frozenset({"overlay", "ecryptfs", "aufs"})

#: Filesystems mounted in every root directory, which an overlay of it does not need.
PSEUDO = frozenset(
    {
        "proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs",
        "tracefs", "mqueue", "hugetlbfs", "bpf", "pstore", "efivarfs", "configfs", "fusectl",
        "binfmt_misc", "rpc_pipefs", "nsfs", "autofs", *IN_MEMORY,
    }
)  # fmt: skip


def family(fstype: str) -> str:
    """Return the family of a filesystem type; empty if overlay treats it like most.

    `nfs` includes all remote ones; `names` have their own rules for comparing names.
    """
    return _FAMILIES.get(fstype) or ("fuse" if fstype.startswith("fuse") else "")


def doubtful_upper(fstype: str) -> str:
    """Return the family of a type that overlay may refuse for the upper layer, or an empty string.

    `overlay` and `ecryptfs` are always refused, the others if they lack what overlay requires.
    """
    found = family(fstype)
    if found == "nfs" and fstype not in NETWORK:
        return ""
    return found if found in ("overlay", "ecryptfs", "nfs", "fuse", "zfs", "virtiofs") else ""


def suits_upper(fstype: str) -> bool:
    """Tell whether a filesystem can hold an upper layer, judging by its type."""
    return family(fstype) not in ("overlay", "aufs", "nfs", "ecryptfs")

"""Filesystem types, and what layers on them can and cannot do. The one table of them. Pure.

Sources: fs/overlayfs/{super,util}.c (ovl_dentry_weird, ovl_dentry_remote, ovl_make_workdir), the
`dentry_operations` of each filesystem, fs/aufs/fstype.h.
"""

from __future__ import annotations

#: The family that overlay's answer to a filesystem depends on, by type; see `family`.
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

#: Remote filesystems whose rename(2) refuses RENAME_WHITEOUT, which overlay demands of a remote
#: upper (ovl_make_workdir, since 5.7; before, no remote upper at all).
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "afs"})

#: Filesystems that compare names by rules of their own: dentries with d_hash or d_compare are
#: 'weird' to overlay, whatever the layer is for (ovl_dentry_weird).
OWN_NAMES = frozenset({"vfat", "msdos", "exfat", "hfs", "hfsplus", "adfs", "affs", "autofs"})

#: Filesystems that nothing makes writable.
READ_ONLY = frozenset({"squashfs", "erofs", "iso9660", "cramfs", "romfs", "udf"})

#: Filesystems whose files are gone after a reboot.
IN_MEMORY = frozenset({"tmpfs", "ramfs"})

#: Filesystems without link(2).
NO_HARD_LINKS = frozenset({"vfat", "msdos", "exfat"})

#: Filesystems that lie on others and count in the stacking depth.
STACKED = frozenset({"overlay", "ecryptfs", "aufs"})

#: Filesystems that are mounted in every root directory, and that an overlay of it does not need.
PSEUDO = frozenset(
    {
        "proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs",
        "tracefs", "mqueue", "hugetlbfs", "bpf", "pstore", "efivarfs", "configfs", "fusectl",
        "binfmt_misc", "rpc_pipefs", "nsfs", "autofs", *IN_MEMORY,
    }
)  # fmt: skip


def family(fstype: str) -> str:
    """Return the family of a filesystem type, empty where overlay treats it as any other.

    `nfs` are all remote ones, `names` those that compare names by rules of their own.
    """
    return _FAMILIES.get(fstype) or ("fuse" if fstype.startswith("fuse") else "")


def doubtful_upper(fstype: str) -> str:
    """Return the family of a filesystem that overlay may refuse as the upper one, empty if none.

    `overlay` and `ecryptfs` are always refused, the others unless they have what overlay demands.
    """
    found = family(fstype)
    if found == "nfs" and fstype not in NETWORK:
        return ""
    return found if found in ("overlay", "ecryptfs", "nfs", "fuse", "zfs", "virtiofs") else ""


def suits_upper(fstype: str) -> bool:
    """Tell whether an upper layer on a filesystem has a chance, as far as its type tells."""
    return family(fstype) not in ("overlay", "aufs", "nfs", "ecryptfs")

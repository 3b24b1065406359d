"""The one table of mount options: overlay's, aufs's and those of any mount.

Sources: Documentation/filesystems/overlayfs.rst and fs/overlayfs/params.c for overlay, aufs.5 and
fs/aufs/fsctx.c for aufs, mount(2) and mount_setattr(2) for flags. `since` names the first release
for people; nothing here is ever decided by comparing versions.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple


class Takes(StrEnum):
    """What stands behind an option's `=`."""

    NOTHING = "nothing"
    CHOICE = "choice"
    PATH = "path"
    LAYERS = "layers"
    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"


class Option(NamedTuple):
    """One mount option of one filesystem type.

    `values` are the words it takes (for CHOICE; a trailing `:` marks one that takes a number
    behind a colon). INTEGER is read as the kernel reads it (`-1`, `0x10`, `010`), and lies between
    `least` and `most`. `shown` is what mountinfo says while it is in effect, empty where nothing.
    `conflicts` and `needs` are written `name` or `name=value`.
    """

    name: str
    takes: Takes
    help: str
    values: tuple[str, ...] = ()
    since: str = ""
    shown: str = ""
    needs: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    least: int = -(1 << 31)
    most: int = (1 << 31) - 1


_ON_OFF = ("on", "off")

OVERLAY: tuple[Option, ...] = (
    Option(
        "lowerdir",
        Takes.LAYERS,
        "lower layers, topmost first, ':' between",
        since="3.18",
        shown="lowerdir=",
    ),
    Option(
        "lowerdir+",
        Takes.PATH,
        "one more lower layer, taken literally",
        since="6.7",
        shown="lowerdir+=",
    ),
    Option(
        "datadir+",
        Takes.PATH,
        "one more data-only layer, taken literally",
        since="6.7",
        shown="datadir+=",
    ),
    Option(
        "upperdir",
        Takes.PATH,
        "the writable layer",
        since="3.18",
        shown="upperdir=",
        needs=("workdir",),
    ),
    Option(
        "workdir",
        Takes.PATH,
        "scratch space on the upper layer's filesystem",
        since="3.18",
        shown="workdir=",
    ),
    Option(
        "default_permissions",
        Takes.NOTHING,
        "check permissions by mode bits alone",
        since="4.1",
        shown="default_permissions",
    ),
    Option(
        "redirect_dir",
        Takes.CHOICE,
        "rename directories by a redirect",
        (*_ON_OFF, "follow", "nofollow"),
        "4.10",
        "redirect_dir=",
    ),
    Option(
        "index",
        Takes.CHOICE,
        "keep hard links whole across copy-up; upper exclusive",
        _ON_OFF,
        "4.13",
        "index=",
    ),
    Option(
        "uuid",
        Takes.CHOICE,
        "identity of the overlay and check of the lowers'",
        (*_ON_OFF, "null", "auto"),
        "5.11",
        "uuid=",
    ),
    Option(
        "nfs_export",
        Takes.CHOICE,
        "file handles that survive, for NFS export",
        _ON_OFF,
        "4.16",
        "nfs_export=",
        needs=("index=on",),
        conflicts=("metacopy=on",),
    ),
    Option(
        "xino",
        Takes.CHOICE,
        "inode numbers that are unique and last",
        (*_ON_OFF, "auto"),
        "4.17",
        "xino=",
    ),
    Option(
        "metacopy",
        Takes.CHOICE,
        "copy up metadata alone until data is written",
        _ON_OFF,
        "4.19",
        "metacopy=",
        needs=("redirect_dir=on",),
        conflicts=("nfs_export=on", "userxattr"),
    ),
    Option(
        "verity",
        Takes.CHOICE,
        "check metacopy data by fs-verity digest",
        (*_ON_OFF, "require"),
        "6.6",
        "verity=",
    ),
    Option(
        "volatile",
        Takes.NOTHING,
        "never sync: fast, lost by a crash",
        since="5.10",
        shown="volatile",
    ),
    Option(
        "fsync",
        Takes.CHOICE,
        "when the upper layer is synced",
        ("volatile", "auto", "strict"),
        "7.0",
        "fsync=",
    ),
    Option(
        "userxattr",
        Takes.NOTHING,
        "markers in user.overlay.* instead of trusted.overlay.*",
        since="5.11",
        shown="userxattr",
        conflicts=("metacopy=on", "redirect_dir=on", "redirect_dir=follow"),
    ),
    Option(
        "override_creds", Takes.NOTHING, "act on layers as who mounted (the default)", since="6.15"
    ),
    Option(
        "nooverride_creds", Takes.NOTHING, "act on layers as who set the mount up", since="6.15"
    ),
)

_AUFS_CREATE = (
    "tdp",
    "top-down-parent",
    "rr",
    "round-robin",
    "mfs",
    "mfs:",
    "most-free-space",
    "most-free-space:",
    "tdmfs:",
    "mfsrr:",
    "pmfs",
    "pmfs:",
    "pmfsrr:",
)
#: AUFS_RDCACHE_MAX and AUFS_MFS_MAX_SEC, in seconds.
AUFS_MAX_SECONDS = 3600

AUFS: tuple[Option, ...] = (
    Option("br", Takes.LAYERS, "branches, topmost first, ':' between, each PATH[=PERM]"),
    Option("dirs", Takes.LAYERS, "the same as br="),
    Option("add", Takes.LAYERS, "insert one branch: INDEX:PATH[=PERM]"),
    Option("ins", Takes.LAYERS, "the same as add="),
    Option("append", Takes.LAYERS, "add one branch below all: PATH[=PERM]"),
    Option("prepend", Takes.LAYERS, "add one branch above all: PATH[=PERM]"),
    Option("del", Takes.LAYERS, "take one branch away: PATH"),
    Option("mod", Takes.LAYERS, "change one branch's permission: PATH=PERM"),
    Option("xino", Takes.PATH, "where the inode number table lies", conflicts=("noxino",)),
    Option("noxino", Takes.NOTHING, "no inode number table", shown="noxino", conflicts=("xino",)),
    Option(
        "trunc_xino",
        Takes.NOTHING,
        "truncate the xino file when it grows large",
        shown="trunc_xino",
    ),
    Option("notrunc_xino", Takes.NOTHING, "do not truncate the xino file"),
    Option("trunc_xino_path", Takes.PATH, "truncate the xino file of one branch now"),
    Option(
        "itrunc_xino", Takes.INTEGER, "truncate the xino file of the branch with this index now"
    ),
    Option("trunc_xib", Takes.NOTHING, "truncate the xino bitmap"),
    Option("notrunc_xib", Takes.NOTHING, "do not truncate the xino bitmap"),
    Option("plink", Takes.NOTHING, "pseudo-links: hard links across branches (the default)"),
    Option("noplink", Takes.NOTHING, "no pseudo-links", shown="noplink"),
    Option("clean_plink", Takes.NOTHING, "forget the pseudo-links"),
    Option(
        "udba",
        Takes.CHOICE,
        "notice changes made to branches directly",
        ("none", "reval", "notify", "fsnotify"),
        shown="udba=",
    ),
    Option("dio", Takes.NOTHING, "allow O_DIRECT", shown="dio"),
    Option("nodio", Takes.NOTHING, "no O_DIRECT (the default)"),
    Option("dirren", Takes.NOTHING, "rename directories without copying", shown="dirren"),
    Option("nodirren", Takes.NOTHING, "no renaming of lower directories (the default)"),
    Option("fhsm_sec", Takes.INTEGER, "seconds between two looks at free space", least=0),
    Option(
        "diropq",
        Takes.CHOICE,
        "make new directories opaque always, or over whiteouts alone",
        ("a", "w", "always", "whiteouted"),
        shown="diropq=",
    ),
    Option("warn_perm", Takes.NOTHING, "warn of branches whose root permissions differ"),
    Option("nowarn_perm", Takes.NOTHING, "do not warn of them", shown="nowarn_perm"),
    Option("shwh", Takes.NOTHING, "show whiteouts (read-only mounts)", shown="shwh"),
    Option("noshwh", Takes.NOTHING, "hide whiteouts (the default)"),
    Option(
        "dirperm1",
        Takes.NOTHING,
        "the topmost directory's permissions count alone",
        shown="dirperm1",
    ),
    Option("nodirperm1", Takes.NOTHING, "every branch's directory permissions count (the default)"),
    Option("verbose", Takes.NOTHING, "log more", shown="verbose"),
    Option("v", Takes.NOTHING, "the same as verbose"),
    Option("noverbose", Takes.NOTHING, "log less"),
    Option("quiet", Takes.NOTHING, "log less"),
    Option("q", Takes.NOTHING, "log less"),
    Option("silent", Takes.NOTHING, "log less"),
    Option("sum", Takes.NOTHING, "df shows the sum of all branches", shown="sum"),
    Option("nosum", Takes.NOTHING, "df shows the first branch (the default)"),
    Option("wsum", Takes.NOTHING, "df shows the sum of the writable branches", shown="wsum"),
    Option(
        "rdcache",
        Takes.INTEGER,
        "seconds a listing is kept",
        shown="rdcache=",
        most=AUFS_MAX_SECONDS,
    ),
    Option("rdblk", Takes.INTEGER, "bytes of a listing's block", ("def",), "", "rdblk=", least=0),
    Option(
        "rdhash", Takes.INTEGER, "size of a listing's hash table", ("def",), "", "rdhash=", least=0
    ),
    Option("dirwh", Takes.INTEGER, "whiteouts that rmdir removes at once", shown="dirwh="),
    Option("acl", Takes.NOTHING, "POSIX ACLs of the branches count"),
    Option("noacl", Takes.NOTHING, "they do not"),
    Option(
        "create",
        Takes.CHOICE,
        "which writable branch gets a new file",
        _AUFS_CREATE,
        shown="create=",
    ),
    Option("create_policy", Takes.CHOICE, "the same as create=", _AUFS_CREATE),
    Option(
        "cpup",
        Takes.CHOICE,
        "which writable branch gets a copied-up file",
        ("tdp", "bup", "bu", "top-down-parent", "bottom-up-parent", "bottom-up"),
        shown="cpup=",
    ),
    Option("copyup", Takes.CHOICE, "the same as cpup=", ("tdp", "bup", "bu")),
    Option("copyup_policy", Takes.CHOICE, "the same as cpup=", ("tdp", "bup", "bu")),
)

FUSE_OVERLAYFS: tuple[Option, ...] = (
    Option("lowerdir", Takes.LAYERS, "lower layers, topmost first, ':' between"),
    Option("upperdir", Takes.PATH, "the writable layer", needs=("workdir",)),
    Option("workdir", Takes.PATH, "scratch space on the upper layer's filesystem"),
    Option("uidmapping", Takes.TEXT, "shift owners: UID:MAPPED-UID:LENGTH"),
    Option("gidmapping", Takes.TEXT, "shift groups: GID:MAPPED-GID:LENGTH"),
    Option("squash_to_root", Takes.NOTHING, "everything is root's"),
    Option("squash_to_uid", Takes.NUMBER, "everything is this user's"),
    Option("squash_to_gid", Takes.NUMBER, "everything is this group's"),
    Option("static_nlink", Takes.NOTHING, "a directory's link count is always 1"),
    Option("noacl", Takes.NOTHING, "no POSIX ACLs"),
    Option("volatile", Takes.NOTHING, "never sync: fast, lost by a crash"),
    Option("xattr_permissions", Takes.NUMBER, "keep modes and owners in attributes"),
    Option("allow_other", Takes.NOTHING, "other users may use the mount"),
    Option("allow_root", Takes.NOTHING, "root may use the mount"),
    Option("default_permissions", Takes.NOTHING, "the kernel checks permissions"),
    Option("clone_fd", Takes.NOTHING, "a device descriptor for each thread"),
    Option("max_threads", Takes.NUMBER, "most worker threads"),
    Option("max_idle_threads", Takes.NUMBER, "most idle worker threads"),
)

_FLAG_WORDS = {
    "ro": "read-only",
    "rw": "read-write",
    "nosuid": "set-user-ID bits have no effect",
    "suid": "set-user-ID bits have effect",
    "nodev": "device files cannot be opened",
    "dev": "device files can be opened",
    "noexec": "programs cannot be run",
    "exec": "programs can be run",
    "noatime": "access times are not updated",
    "atime": "access times as the kernel likes",
    "relatime": "access times are updated seldom",
    "norelatime": "the opposite of relatime",
    "strictatime": "access times are always updated",
    "nostrictatime": "the opposite of strictatime",
    "nodiratime": "directory access times are not updated",
    "diratime": "directory access times are updated",
    "nosymfollow": "symbolic links are not followed",
    "symfollow": "symbolic links are followed",
    "sync": "every write goes to the disk at once",
    "async": "writes are buffered",
    "dirsync": "every directory change goes to the disk at once",
    "lazytime": "times are written lazily",
    "nolazytime": "times are written soon",
    "silent": "the kernel logs less",
    "loud": "the kernel logs as usual",
    "mand": "mandatory locks",
    "nomand": "no mandatory locks",
    "iversion": "inode versions",
    "noiversion": "no inode versions",
    "defaults": "a word for no option at all",
}
FLAGS: tuple[Option, ...] = tuple(
    Option(name, Takes.NOTHING, text) for name, text in _FLAG_WORDS.items()
)

#: Words that mount(8) reads in an fstab and never hands to the kernel.
USERSPACE_ONLY = frozenset(
    {
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "nousers",
        "owner",
        "noowner",
        "group",
        "nogroup",
        "nofail",
        "_netdev",
    }
)

#: Options of the Linux security module: any filesystem takes them where the module is active.
LSM_OPTIONS = frozenset({"context", "fscontext", "defcontext", "rootcontext", "seclabel"})

TABLES: dict[str, tuple[Option, ...]] = {
    "overlay": OVERLAY,
    "aufs": AUFS,
    "fuse-overlayfs": FUSE_OVERLAYFS,
}

#: Filesystem types by every name that users have for them.
TYPE_NAMES = {
    "overlay": "overlay",
    "overlay2": "overlay",
    "overlayfs": "overlay",
    "aufs": "aufs",
    "fuse-overlayfs": "fuse-overlayfs",
    "auto": "overlay",
}


def integer(text: str) -> int | None:
    """Read a number as kstrtoint() of the kernel does, None where it is none."""
    match = re.fullmatch(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))", text)
    if match is None:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        value = int(hexadecimal, 16)
    else:
        value = int(octal or "0", 8) if decimal is None else int(decimal)
    return -value if sign == "-" else value


def find(fstype: str, name: str) -> Option | None:
    """Return the row of an option, None where the table has none."""
    return next((option for option in TABLES.get(fstype, ()) if option.name == name), None)


def is_flag(name: str) -> bool:
    """Tell whether a word is a flag of any mount, or one that mount(8) keeps to itself."""
    return name.partition("=")[0] in _FLAG_WORDS or is_userspace(name)


def is_userspace(name: str) -> bool:
    """Tell whether a word means something to mount(8) or systemd, and nothing to the kernel."""
    base = name.partition("=")[0]
    return base in USERSPACE_ONLY or base == "comment" or base.lower().startswith("x-")


def flag_value(word: str) -> str | None:
    """Return the value that was given to a flag which takes none, None where there is none."""
    name, equals, value = word.partition("=")
    return value if equals and name in _FLAG_WORDS else None


def nearest(word: str, known: tuple[str, ...] | list[str]) -> list[str]:
    """Return up to three of `known` that a user may have meant by `word`."""
    import difflib

    return difflib.get_close_matches(word, known, n=3, cutoff=0.6)

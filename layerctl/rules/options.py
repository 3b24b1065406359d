"""The table of mount options: of overlay, of aufs and of any mount.

Sources: Documentation/filesystems/overlayfs.rst and fs/overlayfs/params.c for overlay, aufs.5 and
fs/aufs/fsctx.c for aufs, mount(2) and mount_setattr(2) for flags. `since` is the first release, for
the docs; no decision depends on it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from layerctl.rules.limits import AUFS_MAX_SECONDS


class Takes(StrEnum):
    """What follows the `=` of an option."""

    NOTHING = "nothing"
    CHOICE = "choice"
    PATH = "path"
    LAYERS = "layers"
    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"


class Option(NamedTuple):
    """One mount option of one filesystem type.

    `values` are the accepted words (for CHOICE; a trailing `:` marks one that is followed by a
    number). An INTEGER is parsed like in the kernel (`-1`, `0x10`, `010`) and is between `least`
    and `most`. `shown` means that mountinfo shows an option of aufs while it is in effect.
    Conflicts are in `layerctl.rules.validity.CONFLICTS`.
    """

    name: str
    takes: Takes
    help: str
    values: tuple[str, ...] = ()
    since: str = ""
    shown: bool = False
    least: int = -(1 << 31)
    most: int = (1 << 31) - 1


_ON_OFF = ("on", "off")

OVERLAY: tuple[Option, ...] = (
    Option("lowerdir", Takes.LAYERS, "lower layers, topmost first, separated by ':'", since="3.18"),
    Option("lowerdir+", Takes.PATH, "add one lower layer; no escaping", since="6.7"),
    Option("datadir+", Takes.PATH, "add one data-only layer; no escaping", since="6.7"),
    Option("upperdir", Takes.PATH, "the writable layer", since="3.18"),
    Option("workdir", Takes.PATH, "scratch space on the upper layer's filesystem", since="3.18"),
    Option(
        "default_permissions", Takes.NOTHING, "check permissions only by mode bits", since="4.1"
    ),
    Option(
        "redirect_dir",
        Takes.CHOICE,
        "rename lower directories with redirects",
        (*_ON_OFF, "follow", "nofollow"),
        "4.10",
    ),
    Option(
        "index",
        Takes.CHOICE,
        "preserve hard links across copy-up; claim the upper directory",
        _ON_OFF,
        "4.13",
    ),
    Option(
        "uuid",
        Takes.CHOICE,
        "UUID of the overlay, and checks of the lower UUIDs",
        (*_ON_OFF, "null", "auto"),
        "5.11",
    ),
    Option("nfs_export", Takes.CHOICE, "persistent file handles for NFS export", _ON_OFF, "4.16"),
    Option("xino", Takes.CHOICE, "unique and persistent inode numbers", (*_ON_OFF, "auto"), "4.17"),
    Option(
        "metacopy", Takes.CHOICE, "copy up only metadata until data is written", _ON_OFF, "4.19"
    ),
    Option(
        "verity",
        Takes.CHOICE,
        "verify metacopy data by its fs-verity digest",
        (*_ON_OFF, "require"),
        "6.6",
    ),
    Option("volatile", Takes.NOTHING, "never sync: fast, but a crash loses data", since="5.10"),
    Option(
        "fsync", Takes.CHOICE, "when to sync the upper layer", ("volatile", "auto", "strict"), "7.0"
    ),
    Option(
        "userxattr",
        Takes.NOTHING,
        "use user.overlay.* attributes instead of trusted.overlay.*",
        since="5.11",
    ),
    Option(
        "override_creds",
        Takes.NOTHING,
        "access layers with the mounter's credentials (default)",
        since="6.15",
    ),
    Option(
        "nooverride_creds",
        Takes.NOTHING,
        "access layers with the caller's credentials",
        since="6.15",
    ),
)

_AUFS_CREATE = (
    "tdp", "top-down-parent", "rr", "round-robin", "mfs", "mfs:", "most-free-space",
    "most-free-space:", "tdmfs:", "mfsrr:", "pmfs", "pmfs:", "pmfsrr:",
)  # fmt: skip

AUFS: tuple[Option, ...] = (
    Option("br", Takes.LAYERS, "branches, topmost first, separated by ':', each PATH[=PERM]"),
    Option("dirs", Takes.LAYERS, "same as br="),
    Option("add", Takes.LAYERS, "insert one branch: INDEX:PATH[=PERM]"),
    Option("ins", Takes.LAYERS, "same as add="),
    Option("append", Takes.LAYERS, "add one branch at the bottom: PATH[=PERM]"),
    Option("prepend", Takes.LAYERS, "add one branch at the top: PATH[=PERM]"),
    Option("del", Takes.LAYERS, "remove one branch: PATH"),
    Option("mod", Takes.LAYERS, "change the permission of one branch: PATH=PERM"),
    Option("xino", Takes.PATH, "path of the inode number table"),
    Option("noxino", Takes.NOTHING, "no inode number table", shown=True),
    Option("trunc_xino", Takes.NOTHING, "truncate the xino file when it grows large", shown=True),
    Option("notrunc_xino", Takes.NOTHING, "do not truncate the xino file"),
    Option("trunc_xino_path", Takes.PATH, "truncate the xino file of one branch now"),
    Option(
        "itrunc_xino", Takes.INTEGER, "truncate the xino file of the branch with this index now"
    ),
    Option("trunc_xib", Takes.NOTHING, "truncate the xino bitmap"),
    Option("notrunc_xib", Takes.NOTHING, "do not truncate the xino bitmap"),
    Option("plink", Takes.NOTHING, "pseudo-links: hard links across branches (default)"),
    Option("noplink", Takes.NOTHING, "no pseudo-links", shown=True),
    Option("clean_plink", Takes.NOTHING, "remove the pseudo-links"),
    Option(
        "udba",
        Takes.CHOICE,
        "how to notice direct changes to branches",
        ("none", "reval", "notify", "fsnotify"),
        shown=True,
    ),
    Option("dio", Takes.NOTHING, "allow O_DIRECT", shown=True),
    Option("nodio", Takes.NOTHING, "no O_DIRECT (default)"),
    Option("dirren", Takes.NOTHING, "rename directories without copying", shown=True),
    Option("nodirren", Takes.NOTHING, "no renaming of lower directories (default)"),
    Option("fhsm_sec", Takes.INTEGER, "seconds between checks of free space", least=0),
    Option(
        "diropq",
        Takes.CHOICE,
        "make new directories opaque always, or only over whiteouts",
        ("a", "w", "always", "whiteouted"),
        shown=True,
    ),
    Option("warn_perm", Takes.NOTHING, "warn if the permissions of branch roots differ"),
    Option(
        "nowarn_perm",
        Takes.NOTHING,
        "do not warn if the permissions of branch roots differ",
        shown=True,
    ),
    Option("shwh", Takes.NOTHING, "show whiteouts (read-only mounts)", shown=True),
    Option("noshwh", Takes.NOTHING, "hide whiteouts (default)"),
    Option("dirperm1", Takes.NOTHING, "only the topmost directory's permissions count", shown=True),
    Option(
        "nodirperm1", Takes.NOTHING, "the directory permissions of every branch count (default)"
    ),
    Option("verbose", Takes.NOTHING, "log more", shown=True),
    Option("v", Takes.NOTHING, "same as verbose"),
    Option("noverbose", Takes.NOTHING, "log less"),
    Option("quiet", Takes.NOTHING, "log less"),
    Option("q", Takes.NOTHING, "log less"),
    Option("silent", Takes.NOTHING, "log less"),
    Option("sum", Takes.NOTHING, "df shows the sum of all branches", shown=True),
    Option("nosum", Takes.NOTHING, "df shows the first branch (default)"),
    Option("wsum", Takes.NOTHING, "df shows the sum of the writable branches", shown=True),
    Option(
        "rdcache",
        Takes.INTEGER,
        "seconds to cache a directory listing",
        shown=True,
        most=AUFS_MAX_SECONDS,
    ),
    Option(
        "rdblk",
        Takes.INTEGER,
        "block size of a cached listing, in bytes",
        ("def",),
        shown=True,
        least=0,
    ),
    Option(
        "rdhash",
        Takes.INTEGER,
        "hash table size of a cached listing",
        ("def",),
        shown=True,
        least=0,
    ),
    Option("dirwh", Takes.INTEGER, "number of whiteouts that rmdir removes directly", shown=True),
    Option("acl", Takes.NOTHING, "respect POSIX ACLs of the branches"),
    Option("noacl", Takes.NOTHING, "ignore POSIX ACLs of the branches"),
    Option(
        "create", Takes.CHOICE, "which writable branch gets new files", _AUFS_CREATE, shown=True
    ),
    Option("create_policy", Takes.CHOICE, "same as create=", _AUFS_CREATE),
    Option(
        "cpup",
        Takes.CHOICE,
        "which writable branch gets copied-up files",
        ("tdp", "bup", "bu", "top-down-parent", "bottom-up-parent", "bottom-up"),
        shown=True,
    ),
    Option("copyup", Takes.CHOICE, "same as cpup=", ("tdp", "bup", "bu")),
    Option("copyup_policy", Takes.CHOICE, "same as cpup=", ("tdp", "bup", "bu")),
)

FUSE_OVERLAYFS: tuple[Option, ...] = (
    Option("lowerdir", Takes.LAYERS, "lower layers, topmost first, separated by ':'"),
    Option("upperdir", Takes.PATH, "the writable layer"),
    Option("workdir", Takes.PATH, "scratch space on the upper layer's filesystem"),
    Option("uidmapping", Takes.TEXT, "map owners: UID:MAPPED-UID:LENGTH"),
    Option("gidmapping", Takes.TEXT, "map groups: GID:MAPPED-GID:LENGTH"),
    Option("squash_to_root", Takes.NOTHING, "show all files as owned by root"),
    Option("squash_to_uid", Takes.NUMBER, "show all files as owned by this user"),
    Option("squash_to_gid", Takes.NUMBER, "show all files as owned by this group"),
    Option("static_nlink", Takes.NOTHING, "always report a link count of 1"),
    Option("noacl", Takes.NOTHING, "no POSIX ACLs"),
    Option("volatile", Takes.NOTHING, "never sync: fast, but a crash loses data"),
    Option("xattr_permissions", Takes.NUMBER, "keep modes and owners in extended attributes"),
    Option("allow_other", Takes.NOTHING, "allow other users to use the mount"),
    Option("allow_root", Takes.NOTHING, "allow root to use the mount"),
    Option("default_permissions", Takes.NOTHING, "let the kernel check permissions"),
    Option("clone_fd", Takes.NOTHING, "use a separate device descriptor per thread"),
    Option("max_threads", Takes.NUMBER, "maximum number of worker threads"),
    Option("max_idle_threads", Takes.NUMBER, "maximum number of idle worker threads"),
)

_FLAG_WORDS = {
    "ro": "read-only",
    "rw": "read-write",
    "nosuid": "ignore set-user-ID bits",
    "suid": "honour set-user-ID bits",
    "nodev": "do not allow access to device files",
    "dev": "allow access to device files",
    "noexec": "do not allow running programs",
    "exec": "allow running programs",
    "noatime": "do not update access times",
    "atime": "update access times by the kernel's default",
    "relatime": "update access times rarely",
    "norelatime": "the opposite of relatime",
    "strictatime": "always update access times",
    "nostrictatime": "the opposite of strictatime",
    "nodiratime": "do not update directory access times",
    "diratime": "update directory access times",
    "nosymfollow": "do not follow symbolic links",
    "symfollow": "follow symbolic links",
    "sync": "write all data to disk at once",
    "async": "buffer writes",
    "dirsync": "write directory changes to disk at once",
    "lazytime": "write timestamps to disk lazily",
    "nolazytime": "write timestamps to disk soon",
    "silent": "log fewer kernel messages",
    "loud": "log kernel messages as usual",
    "mand": "allow mandatory locks",
    "nomand": "do not allow mandatory locks",
    "iversion": "maintain inode versions",
    "noiversion": "do not maintain inode versions",
    "defaults": "use the default options",
}
FLAGS: tuple[Option, ...] = tuple(
    Option(name, Takes.NOTHING, text) for name, text in _FLAG_WORDS.items()
)

#: Words that mount(8) reads in fstab and never passes to the kernel.
USERSPACE_ONLY = frozenset(
    {
        "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group",
        "nogroup", "nofail", "_netdev",
    }
)  # fmt: skip

#: Options of the Linux security module; any filesystem accepts them if the module is active.
LSM_OPTIONS = frozenset({"context", "fscontext", "defcontext", "rootcontext", "seclabel"})

TABLES: dict[str, tuple[Option, ...]] = {
    "overlay": OVERLAY,
    "aufs": AUFS,
    "fuse-overlayfs": FUSE_OVERLAYFS,
}

#: Filesystem types by all the names that users know.
TYPE_NAMES = {
    "overlay": "overlay",
    "overlay2": "overlay",
    "overlayfs": "overlay",
    "aufs": "aufs",
    "fuse-overlayfs": "fuse-overlayfs",
    "auto": "overlay",
}


def integer(text: str) -> int | None:
    """Parse a number like kstrtoint() in the kernel; None if it is not a number."""
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
    """Return the row of an option, or None if it is unknown."""
    return next((option for option in TABLES.get(fstype, ()) if option.name == name), None)


def is_flag(name: str) -> bool:
    """Tell whether a word is a flag of any mount, or only for mount(8)."""
    return name.partition("=")[0] in _FLAG_WORDS or is_userspace(name)


def is_userspace(name: str) -> bool:
    """Tell whether a word is only for mount(8) or systemd, not for the kernel."""
    base = name.partition("=")[0]
    return base in USERSPACE_ONLY or base == "comment" or base.lower().startswith("x-")


def flag_value(word: str) -> str | None:
    """Return the value of a flag that must not have one, or None."""
    name, equals, value = word.partition("=")
    return value if equals and name in _FLAG_WORDS else None


def nearest(word: str, known: tuple[str, ...] | list[str]) -> list[str]:
    """Return up to three words of `known` that the user may have meant."""
    import difflib  # slow to import, and only a wrong word needs it

    return difflib.get_close_matches(word, known, n=3, cutoff=0.6)

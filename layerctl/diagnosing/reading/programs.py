"""Messages of programs about a mount: mount(8), container engines, FUSE, audit, systemd.

Each row is the wording of a program, from its source; errnos are in `meanings`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.reading.context import Context, Tier
from layerctl.diagnosing.reading.events import short
from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.model import Severity


class Saying(NamedTuple):
    """A wording: causes separated by spaces, the weight of the first, and when it counts.

    The text must have one of `errnos` and the word `about`, if given. `alone` marks a wording that
    is typical of layered filesystems even if nothing else names one.
    """

    words: str
    causes: tuple[str, ...]
    weight: int
    errnos: frozenset[str] = frozenset()
    about: str = ""
    severity: Severity | None = None
    alone: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """The pattern, compiled on first use."""
        return _pattern(self.words)


@functools.cache
def _pattern(words: str) -> re.Pattern[str]:
    return re.compile(words.replace(*_FAR), re.IGNORECASE)


#: The maximum distance of two words in a sentence, which keeps the time for long lines linear.
_FAR = ("[^\\n]*", "[^\\n]{0,200}")


def _say(
    pattern: str, causes: str, weight: int, errnos: str = "", about: str = "", *,
    severity: Severity | None = None, alone: bool = False,
) -> Saying:  # fmt: skip
    return Saying(
        pattern, tuple(causes.split()), weight, frozenset(errnos.split()), about, severity, alone
    )


_INFO = Severity.INFO

#: mount(8), umount(8), modprobe(8).
_MOUNT = (
    _say(r"mount point (?:\S+ )?(?:does not exist|is a symbolic link to nowhere)",
         "target-missing", 92),
    _say(r"mount point (?:\S+ )?is not a directory", "target-not-a-directory", 92),
    _say(r"drop permissions failed", "mount8-drop-permissions-userns", 94),
    _say(r"not mounted or bad option|mount point not mounted|not mounted already",
         "mount-point-not-mounted", 92),
    _say(r"already mounted (?:or mount point busy|on)|mount point busy",
         "already-mounted upperdir-in-use-index-on leaked-mount-busy", 86),
    _say(r"(?:failed|unable) to (?:attach|set) id-?mapping|X-mount\.idmap[^\n]*failed",
         "idmap-of-overlay-unsupported idmapping-refused", 90),
    _say(r"overlay directories may not overlap", "overlapping-layers", 94),
    _say(r"CONFIG_OVERLAY_FS(?:: missing| is not set|=n\b)", "overlay-not-in-kernel", 94),
    _say(r"CONFIG_AUFS_FS(?:: missing| is not set|=n\b)", "aufs-module-missing", 90),
    _say(r"/sys/fs/aufs\S*: no such", "aufs-module-missing", 94),
    _say(r"special device (?:overlay|none|\S+) does not exist",
         "missing-layer-directory mount-ordering-lower-not-mounted colon-in-path", 78),
    _say(r"must be superuser to use mount|only root can (?:do that|mount|use)",
         "missing-cap-sys-admin",
         92),
    _say(r"\bmount: [^\n]*permission denied",
         "missing-cap-sys-admin container-policy-denies-overlay-mount "
         "userns-overlay-not-permitted-old-kernel mount8-drop-permissions-userns", 66),
    # mount(8) tries again read-only after EACCES and EROFS, and overlay gives no EROFS.
    _say(r"cannot mount \S+ read-only",
         "container-policy-denies-overlay-mount layer-not-reachable selinux-denied", 76),
    _say(r"u?n?mount[^\n]*(?:target|device) is busy|target is busy", "leaked-mount-busy", 90),
    _say(r"unknown file ?system type [\"'`]*overlayfs",
         "fstype-name-overlayfs-obsolete overlay-not-in-kernel overlay-module-missing", 90),
    _say(r"unknown file ?system type [\"'`]*overlay\b",
         "overlay-not-in-kernel overlay-module-missing running-kernel-modules-removed "
         "wsl1-limited-overlay", 88),
    _say(r"unknown file ?system type [\"'`]*aufs", "aufs-module-missing", 95),
    _say(r"unknown file ?system type [\"'`]*fuse", "mount-helper-missing-fuse3", 88),
    _say(r"module '?aufs'? (?:is )?not found|(?:fail\w*|could not|cannot|unable) (?:to )?"
         r"(?:load|insert|modprobe) (?:the )?(?:kernel )?(?:module )?'?aufs\b",
         "aufs-module-missing running-kernel-modules-removed", 95),
    # Mainline has it since 3.18; only the 3.10.0 of enterprise distributions got it earlier.
    _say(r"module overlay(?:fs)? not found in directory /lib/modules/"
         r"(?:2\.|3\.(?:\d|1[0-7])\.(?!0-\d))", "overlay-not-in-kernel overlay-module-missing", 94),
    _say(r"module '?overlay(?:fs)?'? (?:is )?not found in directory /lib/modules",
         "running-kernel-modules-removed overlay-module-missing overlay-not-in-kernel", 90),
    _say(r"module '?overlay(?:fs)?'? (?:is )?not found|(?:fail\w*|could not|cannot|unable) (?:to )?"
         r"(?:load|insert|modprobe) (?:the )?(?:kernel )?(?:module )?'?overlay",
         "overlay-module-missing running-kernel-modules-removed overlay-not-in-kernel", 90),
    _say(r"filesystem was mounted, but any subsequent operation failed",
         "aufs-kernel-version-mismatch", 80, about="aufs"),
    _say(r"filesystem was mounted, but any subsequent operation failed",
         "io-error-below nested-overlay-kernel-bug", 55, about="overlay"),
)  # fmt: skip

#: The newer calls, as programs name them: the failed one shows what it was about.
_CALLS = (
    _say(r"move_mount[^\n]*(?:EINVAL|ENOTDIR|invalid argument|not a directory)",
         "target-not-a-directory", 88),
    _say(r"move_mount[^\n]*(?:ENOENT|no such file)", "target-missing", 90),
    _say(r"(?:fsconfig|set)\b[^\n]*(?:lowerdir|datadir|upperdir|workdir)\+?\b[^\n]*"
         r"(?:EOPNOTSUPP|ENOTSUP|EBADF|bad file descriptor|not supported)",
         "layers-by-descriptor-unsupported", 86),
    _say(r"fsconfig[^\n]*\"br:[^\n]*(?:EINVAL|invalid argument)", "aufs-br-colon-new-mount-api",
         94),
    _say(r"fsopen[^\n]*(?:ENODEV|no such device)",
         "overlay-module-missing overlay-not-in-kernel running-kernel-modules-removed", 88,
         about="overlay"),
)  # fmt: skip

#: A layer that fsconfig(2) refuses without a message.
_SILENT = Lazy(
    r"(?:fsconfig|FSCONFIG_SET_STRING)\b[^\n]*(?:lowerdir|upperdir|workdir)[^\n]*"
    r"(?:EINVAL|invalid argument)".replace(*_FAR), re.IGNORECASE,
)  # fmt: skip

#: Docker, containerd, podman and similar engines.
_ENGINES = (
    _say(r"overlay2?/l/[A-Z0-9]{26}['\"]?: (?:no such file|invalid argument|input/output)",
         "layer-link-missing-after-crash", 93),
    # Docker makes the directories and the target itself: what is missing is in its own store.
    _say(r"creating overlay mount to \S*/overlay2/[^\n]*no such file|"
         r"(?:l?stat|open|readlink) \S*/overlay2/[0-9a-f]{12,}(?!\S*/merged/)[^\n]*no such file",
         "layer-link-missing-after-crash missing-layer-directory", 78),
    _say(r"cannot mount using driver overlay in rootless mode",
         "fuse-overlayfs-not-installed userns-overlay-not-permitted-old-kernel", 88),
    _say(r"cannot move '[^\n]*to a subdirectory of itself", "zfs-no-rename-whiteout", 84,
         alone=True),
    # a rename within a directory, which only stacked filesystems and mount points refuse like this
    _say(r"(?:can't|cannot) (?:move|rename) '?(?P<dir>/[^\n']*/|\.?/?)[^/\n']+'? to "
         r"'?(?P=dir)[^/\n']+'?: invalid argument", "zfs-no-rename-whiteout", 78, alone=True),
    _say(r"['\"]?(?P<dir>/(?:[^\s'\"]*/)?)[^/\s'\"]+['\"]? (?:->|to) "
         r"['\"]?(?P=dir)[^/\s'\"]+['\"]?[^\n]*$", "redirect-dir-off-rename-exdev", 80, "EXDEV",
         alone=True),
    _say(r"rename\b", "redirect-dir-off-rename-exdev", 60, "EXDEV", alone=True),
    _say(r"max depth exceeded", "option-string-too-long too-many-layers", 90),
    _say(r"auplink\b[^\n]*(?:not found|no such file)", "aufs-tools-missing", 95),
    _say(r"mount\.aufs\b[^\n]*(?:not found|no such file)", "aufs-tools-missing", 90),
    _say(r"is not supported over overlay", "upperdir-fs-unsupported-overlay", 93),
    # the engine names the filesystem whatever its probe found; these can hold an upper layer
    _say(r"is not supported over (?:ext\w*|xfs|btrfs|tmpfs|f2fs)[^\n]*(?:/home/|/\.local/|/run/user)",
         "userns-overlay-not-permitted-old-kernel fuse-overlayfs-not-installed "
         "overlay-module-missing", 82),
    _say(r"is not supported over (?:ext\w*|xfs|btrfs|tmpfs|f2fs)",
         "overlay-module-missing running-kernel-modules-removed overlay-not-in-kernel "
         "userns-overlay-not-permitted-old-kernel", 76),
    _say(r"is not supported over (?:fuse\S*|fuseblk)", "upperdir-fs-unsupported-fuse", 93),
    _say(r"is not supported over zfs", "upperdir-fs-unsupported-zfs", 93),
    _say(r"is not supported over ecryptfs", "upperdir-fs-unsupported-ecryptfs", 93),
    _say(r"is not supported over (?:nfs|cifs|ceph|smb)", "upperdir-fs-unsupported-nfs", 93),
    _say(r"^(?![^\n]*is not supported over)[^\n]*backing file ?system is unsupported for this graph",
         "upperdir-fs-unsupported-overlay upperdir-fs-unsupported-zfs upperdir-fs-unsupported-nfs "
         "upperdir-fs-unsupported-fuse", 66),
    _say(r"without d_type support|ftype=[01]\b|\bd_type\b", "xfs-ftype0-no-dtype", 92),
    _say(r"not found as a supported filesystem on this host|^(?![^\n]*not supported over)[^\n]*does not "
         r"support overlay fs|"
         r"overlay support (?:is )?(?:not )?(?:loaded|enabled)",
         "overlay-module-missing overlay-not-in-kernel wsl1-limited-overlay "
         "running-kernel-modules-removed", 84),
    _say(r"for metacopy check", "unknown-mount-option-old-kernel upperdir-fs-unsupported-overlay",
         84, "EINVAL"),
    _say(r"snapshotter cannot be enabled|overlayfs is not supported|"
         r"kernel does not support overlay",
         "upperdir-fs-unsupported-overlay upperdir-fs-unsupported-nfs upperdir-fs-unsupported-zfs "
         "xfs-ftype0-no-dtype upperdir-fs-unsupported-fuse", 74, "EINVAL"),
    _say(r"kernel-style whiteout|convert whiteout file|mknod\b[^\n]*operation not permitted|"
         r"create ovlfs whiteout", "whiteout-mknod-eperm whiteout-on-overlay-eperm", 88),
    _say(r"mknod(?:at)?\([^\n]*S_IFCHR[^\n]*EPERM", "whiteout-mknod-eperm "
         "whiteout-on-overlay-eperm", 84, alone=True),
    _say(r"OverlayOpaque\([^\n]*input/output error",
         "userns-needs-userxattr tmpfs-upper-xattr-unsupported", 84),
    _say(r"OverlayOpaque\([^\n]*operation not permitted",
         "whiteout-mknod-eperm userns-needs-userxattr userns-overlay-not-permitted-old-kernel", 84),
    _say(r"readlink \S*/overlay2?(?:/l)?['\"]?: (?:invalid argument|no such file)|"
         r"mkdir \S*/overlay2?/l: file exists", "layer-link-missing-after-crash", 88),
    _say(r"(?:removing|replacing) mount point", "leaked-mount-busy layer-modified-while-mounted", 74,
         "ENOTEMPTY EBUSY"),
    _say(r"backing overlay\w* filesystem is unsupported", "upperdir-fs-unsupported-overlay", 92),
    _say(r"backing zfs filesystem is unsupported", "upperdir-fs-unsupported-zfs", 92),
    _say(r"backing (?:nfs|cifs|ceph)\w* filesystem is unsupported", "upperdir-fs-unsupported-nfs", 92),
    _say(r"backing fuse\w* filesystem is unsupported", "upperdir-fs-unsupported-fuse", 92),
    _say(r"backing ecryptfs filesystem is unsupported", "upperdir-fs-unsupported-ecryptfs", 92),
    _say(r"driver not supported: overlay|graphdriver: (?:overlay2?: )?driver not supported",
         "overlay-module-missing overlay-not-in-kernel upperdir-fs-unsupported-overlay", 74),
    _say(r"\bfsck\.aufs\b[^\n]*(?:no such|not found)", "aufs-tools-missing", 82),
    _say(r"/mapped/\d+/l/", "idmapped-layers-unsupported idmapping-refused", 78,
         "EACCES EINVAL EPERM"),
    _say(r"\bdocker rm\b|\bpodman rm\b", "leaked-mount-busy", 60, "EBUSY", alone=True),
    _say(r"does not support NFS export|requires fsid= for NFS export", "nfs-export-limits", 74,
         alone=True),
    _say(r"\bmount (?P<at>/\S*/overlay):(?P=at), flags", "container-policy-denies-overlay-mount "
         "missing-cap-sys-admin", 80, "EPERM EACCES"),
    _say(r"(?:trusted|user)\.overlay\.\w+", "userns-needs-userxattr "
         "userns-overlay-not-permitted-old-kernel", 78, "EPERM EACCES"),
    _say(r"(?:trusted|user)\.overlay\.\w+", "upper-fs-no-xattr tmpfs-upper-xattr-unsupported", 80,
         "EOPNOTSUPP"),
    _say(r"directory renamed before its status", "xino-off-inode-instability", 66, alone=True),
    _say(r"(?:processing|extract\w*|unpack\w*|untar\w*|apply\w*)[^\n]*(?:tar|layer|whiteout)[^\n]*"
         r"operation not permitted", "whiteout-mknod-eperm whiteout-on-overlay-eperm", 82),
    _say(r"(?:error|fail\w*)[^\n]*(?:remov|unmount|delet|unlinkat)[^\n]*(?:busy)",
         "leaked-mount-busy", 90),
    # Go's MountError: from mount(2) itself, where EACCES is from a security module.
    _say(r"\bmount [^\n]*, flags: 0x[0-9a-f]+[^\n]*: permission denied",
         "container-policy-denies-overlay-mount missing-cap-sys-admin selinux-denied", 72),
    _say(r"snapshotter not loaded: overlayfs",
         "xfs-ftype0-no-dtype overlay-module-missing upperdir-fs-unsupported-overlay", 74),
    _say(r"private-?users-?ownership=(?:map|auto|foreign)", "idmapped-layers-unsupported "
         "idmap-of-overlay-unsupported", 78, "EINVAL"),
    _say(r"(?:not supporting|does not support|supports?)[^\n]*idmap|idmapped? (?:layers|mount)",
         "idmapped-layers-unsupported idmap-of-overlay-unsupported", 60),
    _say(r"mount_setattr|MOUNT_ATTR_IDMAP|X-mount\.idmap",
         "idmap-of-overlay-unsupported idmap-filesystem-unsupported idmapped-layers-unsupported", 80,
         "EINVAL"),
    # a configured runsc need not be in use
    _say(r"^(?![^\n]*runtimes:)[^\n]*(?:\brunsc(?:\[\d+\])?[:. ]|runtime[=: ]\W*\S*runsc|\bgvisor\b)",
         "gvisor-overlay-limitation", 86),
    _say(r"microsoft-standard|\bwsl ?2\b", "overlay-module-missing", 30, "ENODEV"),
    _say(r"\d-microsoft\b(?!-standard)|\bwsl ?1\b", "wsl1-limited-overlay", 92),
    _say(r"lower-?dir\S* is in-use|already in use by another overlay", "lowerdir-in-use-as-upper",
         60),
)  # fmt: skip

#: FUSE and fuse-overlayfs.
_FUSE = (
    _say(r"fuse-overlayfs\[\d+\]: segfault|killed process \d+ \(fuse-overlayfs|"
         r"fuse-overlayfs\b[^\n]*(?:crashed|was killed|signal: |exited with|core dumped)",
         "fuse-overlayfs-crashed", 93),
    _say(r"transport endpoint is not connected|software caused connection abort",
         "fuse-overlayfs-crashed fuse-lower-misbehaves", 88, about="fuse-overlayfs"),
    _say(r"fuse: device not found|fuse device not found|(?:open|stat|access\w*) /dev/fuse\b|"
         r"/dev/fuse[^\n]*(?:no such|not exist|not found|permission)|modprobe fuse",
         "dev-fuse-missing", 93),
    _say(r"fusermount3?: mount failed: (?:operation not permitted|permission denied)",
         "container-policy-denies-overlay-mount dev-fuse-missing", 84),
    _say(r"fuse-overlayfs['\"]?:? [^\n]*"
         r"(?:executable file not found|command not found|not installed|\bnot found\b)|"
         r"(?:exec|fork/exec|stat)\S* \S*fuse-overlayfs[^\n]*no such file|"
         r"(?:executable|program|binary)[^\n]*fuse-overlayfs[^\n]*(?:not found|no such)|"
         r"command not found:? \S*fuse-overlayfs",
         "fuse-overlayfs-not-installed", 93),
    _say(r"cannot resolve path \S|cannot load store \(null\)|"
         r"cannot read (?:lower|upper|work) ?dirs?\b[^\n]*no such file",
         "missing-layer-directory mount-ordering-lower-not-mounted", 88),
    _say(r"fuse3\.|mount\.fuse3?\b", "mount-helper-missing-fuse3", 90, "ENODEV ENOENT"),
    _say(r"unknown argument ignored: (?:lazytime|relatime|noatime|nodev|nosuid|dev|suid|exec)",
         "benign-fuse-overlayfs-lazytime", 93, severity=_INFO),
    _say(r"unknown (?:argument|option)s?(?: ignored)?:? '?"
         r"(?!lazytime|relatime|noatime|nodev|nosuid)[a-z_]+",
         "fuse-overlayfs-unsupported-option", 90, about="fuse-overlayfs"),
    _say(r"unknown argument ignored: (?!lazytime|relatime|noatime|nodev|nosuid|dev|suid|exec)",
         "fuse-overlayfs-unsupported-option", 90),
    _say(r"posix_acl|\bsetfacl\b|\bgetfacl\b|\bACLs?\b|unique: \d+, error: -95",
         "fuse-overlayfs-acl-unsupported", 80, "EOPNOTSUPP"),
    _say(r"unique: \d+, error: -95", "fuse-overlayfs-acl-unsupported", 76, alone=True),
)  # fmt: skip

#: Security modules.
_POLICY = (
    _say(r"avc:\s+denied", "selinux-denied selinux-mislabelled-layers", 86),
    _say(r"avc:\s+denied[^\n]*tcontext=\S*:(?:unlabeled_t|default_t|file_t|user_home_t|"
         r"admin_home_t|var_lib_t|tmp_t|usr_t)\b", "selinux-mislabelled-layers", 88),
    _say(r"apparmor=.?\"?denied\"?[^\n]*(?:operation=\"?mount|fstype=\"?overlay)|"
         r"operation=\"?mount\"?[^\n]*apparmor", "container-policy-denies-overlay-mount", 95),
    _say(r"apparmor=\W*denied[^\n]*operation=\W*(?!mount|umount|pivotroot)\w+[^\n]*name=\W*\S*"
         r"(?:/overlay2?/|/aufs/|containers/storage|snapshotter)", "apparmor-denies-layer-path", 92),
    _say(r"type=1326|audit[^\n]*\bSECCOMP\b|syscall=165\b", "container-policy-denies-overlay-mount",
         85),
    _say(r"security_context_str_to_sid|context=\S*:c\d+", "context-option-comma-split", 62,
         "EINVAL"),
    _say(r"apparmor_restrict_unprivileged_userns|unprivileged_userns_clone|max_user_namespaces",
         "missing-user-namespace", 75),
    _say(r"unshare(?: failed)?: [^\n]*(?:not permitted|no space left)",
         "missing-user-namespace container-policy-denies-overlay-mount", 85),
)  # fmt: skip

#: What users see after a successful mount.
_LATER = (
    _say(r"[c-]\?{9}\s+\?", "xfs-ftype0-no-dtype old-kernel-overlay-bug "
         "layer-modified-while-mounted", 70, alone=True),
    _say(r"unknown error 524|errno 524|-524\b", "remote-lower-misbehaves", 78),
    _say(r"\b(?:mmfs|gpfs|lustre|beegfs)\b", "remote-lower-misbehaves", 60, "EIO ENODATA ESTALE"),
    _say(r"\bnfs4_acl\b|system\.nfs4", "nfs4-acl-copy-up", 88),
    _say(r"rpmdb|\brpm\b[^\n]*checksum", "copy-up-stale-readonly-fd", 82, alone=True),
    _say(r"\binotify\b|\btail\"?[, '\"]*-{1,2}(?:F|follow)", "inotify-lower-inode", 78, alone=True),
    _say(r"\bnlink\b|\blinks?: \d|hard ?link", "hardlink-nlink-inconsistent "
         "hardlink-broken-across-overlay", 62),
    _say(r"\bgetfattr\b|\blistxattr\b", "lower-fs-no-xattr", 62, "EOPNOTSUPP", alone=True),
    _say(r"reading directory", "fuse-lower-misbehaves", 62, "EROFS", alone=True),
    _say(r"(?:ls|cat|stat): (?:cannot|can't) (?:access|open|stat)", "metacopy-mismatch "
         "io-error-below", 50, "EIO", alone=True),
    _say(r"\bmetacopy\b", "metacopy-mismatch", 60, "EIO ENODATA"),
    _say(r"\binode numbers?\b|\bst_ino\b|\bfile changed (?:as|while) we read|"
         r"directory cycle|not the same file", "xino-off-inode-instability", 66),
    _say(r"RIP: [^\n]*\bvfs_|kernel bug at|general protection|null pointer|BUG: unable|WARNING: CPU",
         "aufs-kernel-version-mismatch", 80, about="aufs"),
    _say(r"RIP: [^\n]*\bovl_|kernel bug at fs/overlayfs|BUG: [^\n]*ovl_|\? ?ovl_\w+\+0x",
         "nested-overlay-kernel-bug old-kernel-overlay-bug", 70),
)  # fmt: skip

SAYINGS = (*_MOUNT, *_CALLS, *_ENGINES, *_FUSE, *_POLICY, *_LATER)


def clues(context: Context) -> Iterator[Clue]:
    """Yield the clues of messages of programs, in lines that can be about a layered mount."""
    if context.tier is Tier.NONE:
        return
    errnos = context.errnos
    lines = [short(line.text) for line in context.said]
    for saying in SAYINGS if lines else ():
        if context.tier <= Tier.PECULIAR and not saying.alone:
            continue
        if saying.errnos and not saying.errnos & errnos:
            continue
        if saying.about and saying.about not in context.small:
            continue
        line = next((text for text in lines if saying.pattern.search(text)), None)
        if line is None:
            continue
        for step, cause in enumerate(saying.causes):
            yield Clue(cause, (line,), severity=saying.severity, weight=saying.weight - 6 * step)


def silent_call(context: Context) -> Iterator[Clue]:
    """fsconfig(2) itself refuses a value that is too long, without a message."""
    found = _SILENT.search(context.plain)
    if found is not None and not context.matches:
        yield Clue("new-mount-api-string-limit", (found[0],), weight=94)

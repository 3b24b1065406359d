"""What programs say around a mount: mount(8), container engines, FUSE, audit, systemd.

Each row is about a program's own wording, as its source has it; what only an errno tells is in
`causes_of`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from layerctl.doctor.reading.context import Context
from layerctl.doctor.reading.result import Clue
from layerctl.model import Severity


@dataclass(frozen=True, slots=True)
class Saying:
    """A wording: causes with blanks between, the weight of the first, and when it counts.

    `errnos` are those of which the text must tell one, `about` a word that it must have.
    """

    pattern: re.Pattern[str]
    causes: tuple[str, ...]
    weight: int
    errnos: frozenset[str] = frozenset()
    about: str = ""
    severity: Severity | None = None


#: Two words of one sentence stand near each other: this keeps the cost of a long line linear.
_FAR = ("[^\\n]*", "[^\\n]{0,200}")


def _say(
    pattern: str, causes: str, weight: int, errnos: str = "", about: str = "", *,
    severity: Severity | None = None,
) -> Saying:  # fmt: skip
    return Saying(
        re.compile(pattern.replace(*_FAR), re.IGNORECASE), tuple(causes.split()), weight,
        frozenset(errnos.split()), about, severity,
    )  # fmt: skip


_INFO = Severity.INFO
#: A sentence of a program stands within the first characters of its line.
_READ = 4000
_LAYERED = r"(?:overlay|aufs)"

#: mount(8), umount(8), modprobe(8).
_MOUNT = (
    _say(r"mount point (?:\S+ )?(?:does not exist|is a symbolic link to nowhere)",
         "target-missing", 92),
    _say(r"mount point (?:\S+ )?is not a directory", "target-not-a-directory", 92),
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
    # Mainline has it since 3.18; only the long-lived 3.10.0 of the enterprises got it earlier.
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

#: The new calls, as programs name them: which one failed tells what it was about.
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

#: A layer that fsconfig(2) refuses without a word from the kernel.
_SILENT = re.compile(
    r"(?:fsconfig|FSCONFIG_SET_STRING)\b[^\n]*(?:lowerdir|upperdir|workdir)[^\n]*"
    r"(?:EINVAL|invalid argument)".replace(*_FAR), re.IGNORECASE,
)  # fmt: skip

#: Docker, containerd, podman and their like.
_ENGINES = (
    _say(r"overlay2?/l/[A-Z0-9]{26}['\"]?: (?:no such file|invalid argument|input/output)",
         "layer-link-missing-after-crash", 93),
    # Docker makes the directories and the target itself: what is missing is in its own store.
    _say(r"creating overlay mount to \S*/overlay2/[^\n]*no such file|"
         r"(?:l?stat|open|readlink) \S*/overlay2/[0-9a-f]{12,}[^\n]*no such file",
         "layer-link-missing-after-crash missing-layer-directory", 78),
    _say(r"cannot mount using driver overlay in rootless mode",
         "fuse-overlayfs-not-installed userns-overlay-not-permitted-old-kernel", 88),
    _say(r"cannot move '[^\n]*to a subdirectory of itself", "zfs-no-rename-whiteout", 84),
    _say(r"max depth exceeded", "option-string-too-long too-many-layers", 90),
    _say(r"auplink\b[^\n]*(?:not found|no such file)", "aufs-tools-missing", 95),
    _say(r"mount\.aufs\b[^\n]*(?:not found|no such file)", "aufs-tools-missing", 90),
    _say(r"is not supported over overlay|overlayfs? is not supported over overlay",
         "upperdir-fs-unsupported-overlay", 93),
    _say(r"is not supported over (?:fuse\S*|fuseblk)", "upperdir-fs-unsupported-fuse", 93),
    _say(r"is not supported over zfs", "upperdir-fs-unsupported-zfs", 93),
    _say(r"is not supported over ecryptfs", "upperdir-fs-unsupported-ecryptfs", 93),
    _say(r"is not supported over (?:nfs|cifs|ceph|smb)", "upperdir-fs-unsupported-nfs", 93),
    _say(r"backing file ?system is unsupported for this graph driver",
         "upperdir-fs-unsupported-overlay upperdir-fs-unsupported-zfs upperdir-fs-unsupported-nfs "
         "upperdir-fs-unsupported-fuse", 66),
    _say(r"without d_type support|ftype=[01]\b|\bd_type\b", "xfs-ftype0-no-dtype", 92),
    _say(r"not found as a supported filesystem on this host|does not support overlay fs|"
         r"overlay support (?:is )?(?:not )?(?:loaded|enabled)",
         "overlay-module-missing overlay-not-in-kernel wsl1-limited-overlay "
         "running-kernel-modules-removed", 84),
    _say(r"for metacopy check", "unknown-mount-option-old-kernel upperdir-fs-unsupported-overlay",
         84, "EINVAL"),
    _say(r"snapshotter cannot be enabled|overlayfs is not supported|"
         r"kernel does not support overlay",
         "upperdir-fs-unsupported-overlay upperdir-fs-unsupported-nfs upperdir-fs-unsupported-zfs "
         "xfs-ftype0-no-dtype upperdir-fs-unsupported-fuse", 74, "EINVAL"),
    _say(r"kernel-style whiteout|convert whiteout file|mknod\b[^\n]*operation not permitted",
         "whiteout-mknod-eperm whiteout-on-overlay-eperm", 88),
    _say(r"(?:processing|extract\w*|unpack\w*|untar\w*|apply\w*)[^\n]*(?:tar|layer|whiteout)[^\n]*"
         r"operation not permitted", "whiteout-mknod-eperm whiteout-on-overlay-eperm", 82),
    _say(r"(?:error|fail\w*)[^\n]*(?:remov|unmount|delet|unlinkat)[^\n]*(?:busy)",
         "leaked-mount-busy", 90),
    # Go's MountError: mount(2) itself said it, and EACCES there is a security module's word.
    _say(r"\bmount [^\n]*, flags: 0x[0-9a-f]+[^\n]*: permission denied",
         "container-policy-denies-overlay-mount missing-cap-sys-admin selinux-denied", 72),
    _say(r"snapshotter not loaded: overlayfs",
         "xfs-ftype0-no-dtype overlay-module-missing upperdir-fs-unsupported-overlay", 74),
    _say(r"private-?users-?ownership=(?:map|auto|foreign)", "idmapped-layers-unsupported "
         "idmap-of-overlay-unsupported", 78, "EINVAL"),
    _say(r"(?:not supporting|does not support|supports?)[^\n]*idmap|idmapped? (?:layers|mount)",
         "idmapped-layers-unsupported idmap-of-overlay-unsupported", 60),
    _say(r"mount_setattr|MOUNT_ATTR_IDMAP|X-mount\.idmap",
         "idmap-of-overlay-unsupported idmapped-layers-unsupported", 80, "EINVAL"),
    _say(r"runsc|gvisor", "gvisor-overlay-limitation", 86),
    _say(r"microsoft-standard|\bwsl ?2\b", "overlay-module-missing", 30, "ENODEV"),
    _say(r"\d-microsoft\b(?!-standard)|\bwsl ?1\b", "wsl1-limited-overlay", 92),
    _say(r"lower-?dir\S* is in-use|already in use by another overlay", "lowerdir-in-use-as-upper",
         60),
)  # fmt: skip

#: FUSE and fuse-overlayfs.
_FUSE = (
    _say(r"fuse: device not found|fuse device not found|(?:open|stat|access\w*) /dev/fuse\b|"
         r"/dev/fuse[^\n]*(?:no such|not exist|not found|permission)|modprobe fuse",
         "dev-fuse-missing", 93),
    _say(r"fusermount3?: mount failed: (?:operation not permitted|permission denied)",
         "container-policy-denies-overlay-mount dev-fuse-missing", 84),
    _say(r"fuse-overlayfs['\"]?:? [^\n]*"
         r"(?:executable file not found|command not found|not installed)|"
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
    _say(r"unique: \d+, error: -95", "fuse-overlayfs-acl-unsupported", 76),
)  # fmt: skip

#: Security modules.
_POLICY = (
    _say(r"avc:\s+denied", "selinux-denied selinux-mislabelled-layers", 86),
    _say(r"avc:\s+denied[^\n]*tcontext=\S*:(?:unlabeled_t|default_t|file_t|user_home_t|"
         r"admin_home_t|var_lib_t|tmp_t|usr_t)\b", "selinux-mislabelled-layers", 88),
    _say(r"apparmor=.?\"?denied\"?[^\n]*(?:operation=\"?mount|fstype=\"?overlay)|"
         r"operation=\"?mount\"?[^\n]*apparmor", "container-policy-denies-overlay-mount", 95),
    _say(r"type=1326|audit[^\n]*\bSECCOMP\b|syscall=165\b", "container-policy-denies-overlay-mount",
         85),
    _say(r"security_context_str_to_sid|context=\S*:c\d+", "context-option-comma-split", 62,
         "EINVAL"),
    _say(r"apparmor_restrict_unprivileged_userns|unprivileged_userns_clone|max_user_namespaces",
         "missing-user-namespace", 75),
    _say(r"unshare(?: failed)?: [^\n]*(?:not permitted|no space left)",
         "missing-user-namespace container-policy-denies-overlay-mount", 85),
)  # fmt: skip

#: What users see after a mount that succeeded.
_LATER = (
    _say(r"[c-]\?{9}\s+\?", "xfs-ftype0-no-dtype old-kernel-overlay-bug "
         "layer-modified-while-mounted", 70),
    _say(r"\bnfs4_acl\b|system\.nfs4", "nfs4-acl-copy-up", 88),
    _say(r"rpmdb|\brpm\b[^\n]*checksum", "copy-up-stale-readonly-fd", 82),
    _say(r"\binotify\b|\btail\"?[, '\"]*-{1,2}(?:F|follow)", "inotify-lower-inode", 78),
    _say(r"\bnlink\b|\blinks?: \d|hard ?link", "hardlink-nlink-inconsistent "
         "hardlink-broken-across-overlay", 62),
    _say(r"\bmetacopy\b", "metacopy-mismatch", 60, "EIO ENODATA"),
    _say(r"\binode numbers?\b|\bst_ino\b|\bfile changed (?:as|while) we read|"
         r"directory cycle|not the same file", "xino-off-inode-instability", 66),
    _say(r"kernel bug at|general protection|null pointer|BUG: unable|WARNING: CPU",
         "aufs-kernel-version-mismatch", 80, about="aufs"),
    _say(r"RIP: [^\n]*\bovl_|kernel bug at fs/overlayfs|BUG: [^\n]*ovl_|\? ?ovl_\w+\+0x",
         "nested-overlay-kernel-bug old-kernel-overlay-bug", 70),
)  # fmt: skip

SAYINGS = (*_MOUNT, *_CALLS, *_ENGINES, *_FUSE, *_POLICY, *_LATER)


def clues(context: Context) -> Iterator[Clue]:
    """Yield what the words of programs point to."""
    told = context.errnos
    kernels = {id(line) for line, _ in context.matches}
    others = [one for one in context.lines if id(one) not in kernels]
    for saying in SAYINGS:
        if saying.errnos and not saying.errnos & told:
            continue
        if saying.about and saying.about not in context.small:
            continue
        line = next((one for one in others if saying.pattern.search(one.text, 0, _READ)), None)
        if line is None:
            continue
        for step, cause in enumerate(saying.causes):
            yield Clue(cause, saying.weight - 6 * step, line.text, severity=saying.severity)


def silent_call(context: Context) -> Iterator[Clue]:
    """A value that is too long is refused by fsconfig(2) itself: the context has nothing to say."""
    found = _SILENT.search(context.plain)
    if found is not None and not context.matches:
        yield Clue("new-mount-api-string-limit", 94, found[0])


#: What an errno means: where a mount was tried, and where something was done in a mounted tree.
_AT_MOUNT: dict[str, str] = {
    "EPERM": "missing-cap-sys-admin container-policy-denies-overlay-mount "
    "userns-overlay-not-permitted-old-kernel userns-needs-userxattr",
    "EACCES": "container-policy-denies-overlay-mount missing-cap-sys-admin layer-not-reachable "
    "selinux-denied",
    "ENOENT": "missing-layer-directory target-missing mount-ordering-lower-not-mounted "
    "colon-in-path",
    "ENODEV": "overlay-module-missing overlay-not-in-kernel running-kernel-modules-removed "
    "wsl1-limited-overlay",
    "EINVAL": "upperdir-fs-unsupported-overlay unknown-mount-option-old-kernel "
    "upper-missing-required-features workdir-upperdir-different-mount max-stacking-depth",
    "ELOOP": "overlapping-layers",
    "EBUSY": "upperdir-in-use-index-on lowerdir-in-use-as-upper leaked-mount-busy",
    "ESTALE": "index-estale-lower-changed layer-modified-while-mounted",
    "ENOTDIR": "layer-not-a-directory target-not-a-directory",
    "ENOMEM": "not-enough-memory option-string-too-long too-many-layers missing-layer-directory",
    "ENAMETOOLONG": "option-string-too-long colon-in-path",
    "E2BIG": "option-string-too-long too-many-layers",
    "EXDEV": "redirect-dir-off-rename-exdev btrfs-subvolume-upper-exdev",
    "EIO": "workdir-upperdir-different-mount metacopy-mismatch userns-needs-userxattr",
    "ENOSPC": "upper-enospc",
    "EDQUOT": "upper-enospc",
    "EROFS": "upper-readonly workdir-not-writable-mounted-ro",
    "EOPNOTSUPP": "upper-fs-no-xattr tmpfs-upper-xattr-unsupported idmapped-layers-unsupported",
    "ENOTCONN": "layer-not-reachable fuse-lower-misbehaves",
}
_AFTER: dict[str, str] = {
    "EPERM": "whiteout-on-overlay-eperm whiteout-mknod-eperm userns-needs-userxattr",
    "EACCES": "selinux-denied selinux-mislabelled-layers",
    "ENOENT": "layer-modified-while-mounted missing-layer-directory",
    "EINVAL": "zfs-no-rename-whiteout xfs-ftype0-no-dtype old-kernel-overlay-bug",
    "EBUSY": "leaked-mount-busy",
    "ESTALE": "layer-modified-while-mounted index-estale-lower-changed",
    "EXDEV": "redirect-dir-off-rename-exdev btrfs-subvolume-upper-exdev upper-fs-no-xattr",
    "EIO": "metacopy-mismatch userns-needs-userxattr tmpfs-upper-xattr-unsupported",
    "ENOSPC": "upper-enospc",
    "EDQUOT": "upper-enospc",
    "EROFS": "workdir-not-writable-mounted-ro fuse-lower-misbehaves upper-readonly",
    "EOPNOTSUPP": "tmpfs-upper-xattr-unsupported nfs4-acl-copy-up lower-fs-no-xattr "
    "upper-fs-no-xattr",
    "ENOTCONN": "fuse-lower-misbehaves",
    "ENODATA": "metacopy-mismatch",
}
_AUFS: dict[str, str] = {
    "EINVAL": "aufs-branch-fs-unsupported aufs-xino-fs-unsupported aufs-branch-overlapping "
    "missing-layer-directory aufs-br-syntax",
    "ENODEV": "aufs-module-missing",
    "EPERM": "missing-cap-sys-admin aufs-kernel-version-mismatch aufs-userns-not-allowed",
    "EACCES": "missing-cap-sys-admin aufs-userns-not-allowed",
    "ENOENT": "aufs-xino-directory-missing missing-layer-directory",
    "EEXIST": "aufs-xino-exists",
    "EIO": "aufs-entry-and-whiteout-conflict aufs-io-error",
    "EOPNOTSUPP": "aufs-copyup-bug-xfs aufs-io-error",
    "ENOSPC": "aufs-too-many-branches upper-enospc",
    "E2BIG": "aufs-too-many-branches",
    "EROFS": "aufs-branch-readonly-fs aufs-no-writable-branch",
    "EBUSY": "leaked-mount-busy",
    "EDOM": "aufs-branch-no-hard-links",
    "ERANGE": "aufs-branch-no-hard-links",
    "EXDEV": "aufs-io-error",
}
_BY_FUSE: dict[str, str] = {
    "EPERM": "fuse-overlayfs-permission fuse-overlayfs-nfs-permission dev-fuse-missing",
    "EACCES": "fuse-overlayfs-permission fuse-overlayfs-nfs-permission dev-fuse-missing",
    "ENOENT": "dev-fuse-missing layer-modified-while-mounted missing-layer-directory",
    "ENODEV": "mount-helper-missing-fuse3 dev-fuse-missing",
    "EOPNOTSUPP": "fuse-overlayfs-acl-unsupported",
    "EIO": "layer-modified-while-mounted",
    "EBUSY": "leaked-mount-busy",
    "EINVAL": "fuse-overlayfs-unsupported-option",
}

#: Errnos that have so few reasons at a mount that they nearly name the cause.
_TELLING = {"ELOOP": 82, "ESTALE": 80, "EXDEV": 74, "ENOSPC": 70, "ENODEV": 70, "EBUSY": 66}


#: What EINVAL can mean where there is no upper directory.
_LOWERS_ONLY = (
    "lowerdir-fs-unsupported-case-insensitive max-stacking-depth unknown-mount-option-old-kernel "
    "idmapped-layers-unsupported casefold-capable-fs old-kernel-overlay-bug"
)
#: Docker's overlay drivers refuse zfs by name, so what is odd in their trees is xfs.
_DOCKER = re.compile(r"/overlay2?/[0-9a-f]{64}(?:-init)?/merged/")


def _lowers_only(context: Context) -> bool:
    """Tell whether every mount that the text tells of is of lower directories alone."""
    stacks = [one.stack for one in context.tried]
    return bool(stacks) and all(
        one is not None and one.layers and one.upper is None for one in stacks
    )


def _by_filesystem(context: Context, line: str) -> Iterator[Clue]:
    """Yield what a filesystem that the text names would have to do with EINVAL."""
    for family in context.families:
        if family in ("nfs", "fuse", "zfs", "ecryptfs", "virtiofs"):
            yield Clue(f"upperdir-fs-unsupported-{family}", 58, line)
        elif family == "names":
            yield Clue("lowerdir-fs-unsupported-case-insensitive", 58, line)
        elif family == "xfs":
            yield Clue("xfs-ftype0-no-dtype", 50, line)


#: What to think of where a mount failed and nothing says how.
_UNSAID = (
    "upperdir-fs-unsupported-overlay", "overlay-module-missing", "old-kernel-overlay-bug",
    "missing-cap-sys-admin",
)  # fmt: skip
_FAILED = re.compile(
    r"(?:fail\w*|can't|cannot|can not|could not|unable|error)[^\n]{0,200}mount\w*[^\n]{0,200}"
    r"(?:overlay|aufs)|(?:overlay|aufs)[^\n]{0,200}mount\w*[^\n]{0,200}fail|"
    r"mount\w* (?:overlay|aufs)[^\n]{0,200}(?:fail|error)"
)
_MOUNTING = re.compile(
    r"\bmount\w*[ :.]|\bmounting\b|fsconfig|fsmount|\bfs-?type\b|creating (?:overlay|aufs)|"
    r"native overlay|snapshotter|error creating|\brootfs\b|superblock"
)

_WORKING = re.compile(
    r"(?<![-\w])(?:[gs]etfattr|ls|cat|rm|mv|cp|touch|mkdir|chmod|chown|sed|dpkg|rpm|yum|apt|tar|"
    r"rename\w*|open\w*|read\w*|writ\w+|stat|unlink\w*|link|setxattr|python|oserror|npm|conda)\b"
)
#: A path inside the merged tree of an engine's container, before the errno.
_INSIDE = re.compile(
    r"(?:/merged|/aufs/mnt/[0-9a-f]{12,}(?:-init)?)/[^\s:'\"]+[^\n:]*: "
    r"(?!(?:failed|error)[^\n]*mount)"
)
_READING = re.compile(r"(?<![-\w])(?:ls|cat|find|readdir|getdents)\b|reading directory")


def causes_of(context: Context) -> Iterator[Clue]:
    """Yield what the errnos of a text mean, the likeliest cause of each first."""
    for told in context.named:  # mount(8) itself says what it is, in any language
        weight = 78 if told.cause == "missing-layer-directory" else 90
        yield Clue(told.cause, weight, _quote(context, told.words))
    table = _table(context)
    if context.booting and "ENODEV" in context.told and table is _AT_MOUNT:
        # an initramfs has the modules that it was made with, whatever the kernel was built with
        yield Clue("overlay-module-missing", 92, _quote(context, context.told["ENODEV"]))
    for name, words in context.told.items():
        line = _quote(context, words)
        first = _TELLING.get(name, 48) if table is not _BY_FUSE else 56
        if name == "EINVAL" and table is _AT_MOUNT:
            yield from _by_filesystem(context, line)
        causes = table.get(name, "")
        if name == "EINVAL" and table is _AT_MOUNT and _lowers_only(context):
            causes = _LOWERS_ONLY
        elif name == "EINVAL" and table is _AFTER and _DOCKER.search(context.small):
            yield Clue("xfs-ftype0-no-dtype", 58, line)
        for step, cause in enumerate(causes.split()):
            yield Clue(cause, max(first - (4 if first < 60 else 14) * step, 30), line)
        if name == "EROFS" and _READING.search(context.small):
            yield Clue("fuse-lower-misbehaves", 56, line)
    if not context.told and not context.matches and _FAILED.search(context.small):
        line = next((one.text for one in context.lines if _FAILED.search(one.text.lower())), "")
        for step, cause in enumerate(_UNSAID):
            yield Clue(cause, 38 - 2 * step, line)


def while_mounting(context: Context) -> bool:
    """Tell whether the errnos of a text are those of a mount, not of work in a mounted tree."""
    return _table(context) in (_AT_MOUNT, _AUFS)


def _table(context: Context) -> dict[str, str]:
    if context.by_fuse_overlayfs:
        return _BY_FUSE
    if context.fstype == "aufs":
        return _AUFS
    if context.removing and "EBUSY" in context.told:
        return _AFTER
    if _INSIDE.search(context.small) and not context.tried:
        return _AFTER
    if _MOUNTING.search(context.small) or not _WORKING.search(context.small):
        return _AT_MOUNT
    return _AFTER


def _quote(context: Context, words: str) -> str:
    """Return the line that tells an errno."""
    from layerctl.doctor.reading.text import folded

    for line in context.lines:
        if not line.kernel and (words in line.text or words in folded(line.text)):
            return line.text
    return words

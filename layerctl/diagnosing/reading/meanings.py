"""What the errno of an event means: a table per stage and program, most likely first."""

from __future__ import annotations

from collections.abc import Iterator

from layerctl.diagnosing.clue import Clue
from layerctl.diagnosing.reading.context import Context, Tier
from layerctl.diagnosing.reading.events import Event, Stage, Subject
from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.model import Role

#: mount(2) of an overlay.
_MOUNT: dict[str, str] = {
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
    "EIO": "io-error-below workdir-upperdir-different-mount metacopy-mismatch "
    "userns-needs-userxattr",
    "ENOSPC": "mount-count-limit upper-enospc",
    "EDQUOT": "upper-enospc",
    "EROFS": "upper-readonly workdir-not-writable-mounted-ro",
    "EOPNOTSUPP": "upper-fs-no-xattr tmpfs-upper-xattr-unsupported idmapped-layers-unsupported",
    "ENOTCONN": "layer-not-reachable fuse-lower-misbehaves",
    "EEXIST": "workdir-not-empty",
    "ENXIO": "layer-not-reachable io-error-below",
    "ENOSYS": "container-policy-denies-overlay-mount overlay-not-in-kernel",
    "EHOSTDOWN": "layer-not-reachable remote-lower-misbehaves",
    "ENODATA": "metacopy-mismatch io-error-below",
}
#: The same with only lower layers, where the upper layer cannot be the cause.
_LOWERS_ONLY = (
    "lowerdir-fs-unsupported-case-insensitive max-stacking-depth unknown-mount-option-old-kernel "
    "idmapped-layers-unsupported casefold-capable-fs old-kernel-overlay-bug"
)
#: Engines create directories and targets themselves, so what is missing is in their store.
_ENGINE = {
    "ENOENT": "layer-link-missing-after-crash missing-layer-directory "
    "mount-ordering-lower-not-mounted",
    "EINVAL": "upperdir-fs-unsupported-overlay xfs-ftype0-no-dtype upperdir-fs-unsupported-nfs "
    "unknown-mount-option-old-kernel upperdir-fs-unsupported-zfs",
}
_STORE = Lazy(
    r"/overlay2?/|containers/storage|snapshotter\.v1\.overlayfs|containerd-mount|rootfs component|"
    r"creating overlay mount|snapshotter|graphdriver"
)
#: Work in a mounted tree.
_USE: dict[str, str] = {
    "EPERM": "whiteout-on-overlay-eperm whiteout-mknod-eperm userns-needs-userxattr",
    "EACCES": "selinux-denied selinux-mislabelled-layers apparmor-denies-layer-path",
    "ENOENT": "layer-modified-while-mounted missing-layer-directory",
    "EINVAL": "zfs-no-rename-whiteout xfs-ftype0-no-dtype old-kernel-overlay-bug",
    "EBUSY": "leaked-mount-busy",
    "ESTALE": "layer-modified-while-mounted index-estale-lower-changed",
    "EXDEV": "redirect-dir-off-rename-exdev btrfs-subvolume-upper-exdev upper-fs-no-xattr",
    "EIO": "metacopy-mismatch userns-needs-userxattr tmpfs-upper-xattr-unsupported io-error-below",
    "ENOSPC": "upper-enospc",
    "EDQUOT": "upper-enospc",
    "EROFS": "workdir-not-writable-mounted-ro fuse-lower-misbehaves upper-readonly",
    "EOPNOTSUPP": "tmpfs-upper-xattr-unsupported nfs4-acl-copy-up lower-fs-no-xattr "
    "upper-fs-no-xattr",
    "ENOTCONN": "fuse-overlayfs-crashed fuse-lower-misbehaves layer-not-reachable",
    "ECONNABORTED": "fuse-overlayfs-crashed",
    "ENODATA": "metacopy-mismatch",
    "ELOOP": "layer-modified-while-mounted",
    "EMLINK": "hardlink-nlink-inconsistent",
    "EEXIST": "layer-modified-while-mounted",
    "ENOTEMPTY": "layer-modified-while-mounted old-kernel-overlay-bug",
    "EOVERFLOW": "idmap-owner-unmapped idmapped-layers-unsupported xino-off-inode-instability",
}
#: mount_setattr(2) with MOUNT_ATTR_IDMAP, on a layer.
_MAP: dict[str, str] = {
    "EINVAL": "idmap-filesystem-unsupported idmap-of-overlay-unsupported "
    "idmapped-layers-unsupported",
    "EPERM": "idmapping-refused",
    "ENOSYS": "idmapped-layers-unsupported",
    "EOVERFLOW": "idmap-owner-unmapped",
}
#: Unmounting, and removing a container or its layers.
_REMOVE: dict[str, str] = {
    "EBUSY": "leaked-mount-busy",
    "ENOTEMPTY": "leaked-mount-busy layer-modified-while-mounted",
    "EPERM": "upper-immutable missing-cap-sys-admin",
    "EROFS": "upper-readonly mounted-read-only",
    "EIO": "io-error-below",
    "ENOTCONN": "fuse-overlayfs-crashed",
    "ESTALE": "layer-modified-while-mounted index-estale-lower-changed",
    "ENOENT": "layer-link-missing-after-crash layer-modified-while-mounted",
    "ENOSPC": "upper-enospc",
}
#: Unpacking an archive into a layer, which creates devices and attributes.
_UNPACK: dict[str, str] = {
    "EPERM": "whiteout-mknod-eperm whiteout-on-overlay-eperm userns-needs-userxattr",
    "EACCES": "whiteout-mknod-eperm selinux-denied",
    "EIO": "userns-needs-userxattr tmpfs-upper-xattr-unsupported io-error-below",
    "EOPNOTSUPP": "tmpfs-upper-xattr-unsupported upper-fs-no-xattr",
    "ENOSPC": "upper-enospc",
    "EDQUOT": "upper-enospc",
    "EROFS": "upper-readonly",
    "ENOENT": "layer-link-missing-after-crash",
    "EINVAL": "xfs-ftype0-no-dtype upperdir-fs-unsupported-nfs",
    "ENOTCONN": "fuse-overlayfs-crashed",
    "ECONNABORTED": "fuse-overlayfs-crashed",
    "ESTALE": "upperdir-fs-unsupported-nfs layer-modified-while-mounted",
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
    "ESTALE": "aufs-branch-changed-underneath",
}
_FUSE: dict[str, str] = {
    "EPERM": "fuse-overlayfs-permission fuse-overlayfs-nfs-permission dev-fuse-missing",
    "EACCES": "fuse-overlayfs-permission fuse-overlayfs-nfs-permission dev-fuse-missing",
    "ENOENT": "dev-fuse-missing layer-modified-while-mounted missing-layer-directory",
    "ENODEV": "mount-helper-missing-fuse3 dev-fuse-missing",
    "EOPNOTSUPP": "fuse-overlayfs-acl-unsupported",
    "EIO": "layer-modified-while-mounted",
    "EBUSY": "leaked-mount-busy",
    "EINVAL": "fuse-overlayfs-unsupported-option",
    "ENOTCONN": "fuse-overlayfs-crashed",
    "ECONNABORTED": "fuse-overlayfs-crashed",
    "ENOSPC": "upper-enospc",
}
#: Work in the tree of a fuse-overlayfs.
_FUSE_TREE = {**_FUSE, "ENOENT": "layer-modified-while-mounted"}
#: Programs that set owners and modes: for the owner of the file, only a server refuses.
_OWNERS = Lazy(r"\b(?:chmod|chown|changing (?:permissions|ownership))")
#: Layers in a home directory are those of an engine or a root of a user namespace.
_HOME = Lazy(r"(?:lowerdir|upperdir)\+?=\S*?/(?:home|run/user)/|/\.local/share/")
_STAGES = {
    Stage.MOUNT: _MOUNT, Stage.UNMOUNT: _REMOVE, Stage.REMOVE: _REMOVE, Stage.UNPACK: _UNPACK,
    Stage.USE: _USE, Stage.LOAD: {}, Stage.CHECK: {},
}  # fmt: skip

#: Errnos of a mount that have very few causes.
_TELLING = {
    "ELOOP": 82,
    "ESTALE": 80,
    "EXDEV": 74,
    "ENOSPC": 70,
    "ENODEV": 70,
    "EBUSY": 66,
    "ENOTCONN": 66,
    "ECONNABORTED": 72,
    "EMLINK": 64,
}
#: A program, or a path, to which an errno belongs.
_NAMED = Lazy(r"^\W*[\w./-]+: |/|['\"`]")
_VOLATILE = Lazy(r"[\[,( ]volatile[\], ]")  # fmt: skip
#: Docker's overlay drivers refuse zfs, so problems in their trees are those of xfs.
_DOCKER = Lazy(r"/overlay2?/[0-9a-f]{64}(?:-init)?/merged/")
_READING = Lazy(r"(?<![-\w])(?:ls|cat|find|readdir|getdents)\b|reading directory")


def clues(context: Context) -> Iterator[Clue]:
    """Yield the clues of the errnos of the events that count."""
    if context.tier <= Tier.PECULIAR:
        yield from _alone(context)
        return
    for event in context.failures:
        for named in event.errnos:
            if named.cause and event.stage is not Stage.USE:  # mount(8) prints it, in any language
                weight = 78 if named.cause == "missing-layer-directory" else 90
                yield Clue(named.cause, (event.line.text,), weight=weight)
        for name in dict.fromkeys(one.name for one in event.errnos):
            yield from _meaning(context, event, name)
    if context.tier is Tier.LAYERED and not context.errno_words and not context.matches:
        yield from _unsaid(context)


#: Errnos that are more common for a mount than for work in a tree.
_OF_MOUNTS = ("EPERM", "EACCES", "ENODEV", "ENOENT", "ENOTDIR", "ELOOP", "EBUSY", "ENOMEM")


def _alone(context: Context) -> Iterator[Clue]:
    """Yield what an errno can mean if it is the whole text, assuming a layered mount."""
    whole = [line.text for line in context.lines]
    if len(whole) > 3 or any(len(text) > 60 or _NAMED.search(text) for text in whole):
        return
    for event in context.failures:
        for name in dict.fromkeys(one.name for one in event.errnos):
            table = _MOUNT if name in _OF_MOUNTS else _USE
            for step, cause in enumerate(table.get(name, "").split()):
                yield Clue(cause, (event.line.text,), weight=40 - 2 * step)


def _meaning(context: Context, event: Event, name: str) -> Iterator[Clue]:
    """Yield what one errno of an event means."""
    line = event.line.text
    table = _table(context, event)
    first = _TELLING.get(name, 48) if table not in (_FUSE, _FUSE_TREE) else 56
    causes = table.get(name, "")
    if table is _MOUNT:
        yield from _of_mount(context, name, line)
        if name == "EINVAL" and lowers_only(context):
            causes = _LOWERS_ONLY
        elif name in _ENGINE and _STORE.search(line):
            causes = _ENGINE[name]
            first = 64 if name == "ENOENT" else 56
    elif table is _USE:
        yield from _of_use(name, line)
        if name == "EACCES" and "nfs" in context.families:
            yield Clue("nfs4-acl-copy-up", (line,), weight=62)
    elif table is _AUFS and name == "ENODEV":  # the type is what is missing
        yield Clue("aufs-module-missing", (line,), weight=92)
    elif table is _FUSE_TREE and name in ("EPERM", "EACCES") and _OWNERS.search(line):
        yield Clue("fuse-overlayfs-nfs-permission", (line,), weight=66)
    for step, cause in enumerate(causes.split()):
        yield Clue(cause, (line,), weight=max(first - (4 if first < 60 else 14) * step, 30))


def _of_mount(context: Context, name: str, line: str) -> Iterator[Clue]:
    """Yield further causes for an errno of mount(2)."""
    if name == "EINVAL":
        if _VOLATILE.search(line):
            yield Clue("volatile-incompat-dirty", (line,), weight=60)
        yield from _by_filesystem(context, line)
    if name == "ENODEV" and context.booting:
        # an initramfs has only some modules, whatever the kernel's build
        yield Clue("overlay-module-missing", (line,), weight=92)
    if name in ("EPERM", "EACCES") and _HOME.search(context.plain):
        # root on the host seldom mounts there, and mount(8) asks others for a password
        yield Clue("userns-overlay-not-permitted-old-kernel", (line,), weight=74)


def _of_use(name: str, line: str) -> Iterator[Clue]:
    """Yield further causes for an errno of work in a tree."""
    if name == "EINVAL" and _DOCKER.search(line):
        yield Clue("xfs-ftype0-no-dtype", (line,), weight=66)
    if name == "EROFS" and _STORE.search(line) and "/merged/" not in line:
        yield Clue("upper-readonly", (line,), weight=66)
    if name == "EROFS" and _READING.search(line):
        yield Clue("fuse-lower-misbehaves", (line,), weight=56)


def _table(context: Context, event: Event) -> dict[str, str]:
    if context.by_fuse_overlayfs and not context.by_kernel(event):
        return _FUSE_TREE if event.subject is Subject.PLAIN else _FUSE
    if event.fstype == "aufs" or context.fstype == "aufs":
        return _AUFS if event.stage not in (Stage.REMOVE, Stage.UNMOUNT) else _REMOVE
    if event.subject is Subject.PLAIN and event.stage is Stage.MOUNT:
        return _USE
    return _STAGES[event.stage]


def lowers_only(context: Context) -> bool:
    """Tell whether every mount in the text has only lower directories."""
    stacks = [one.stack for one in context.tried]
    return bool(stacks) and all(
        one is not None and one.of_role(Role.LOWER) and one.upper is None for one in stacks
    )


def _by_filesystem(context: Context, line: str) -> Iterator[Clue]:
    """Yield causes of EINVAL for a filesystem that the text names."""
    for family in context.families:
        if family in ("nfs", "fuse", "zfs", "ecryptfs", "virtiofs", "overlay"):
            yield Clue(f"upperdir-fs-unsupported-{family}", (line,), weight=62)
        elif family == "names":
            yield Clue("lowerdir-fs-unsupported-case-insensitive", (line,), weight=58)
        elif family == "xfs":
            yield Clue("xfs-ftype0-no-dtype", (line,), weight=50)


#: Causes for a failed mount without an errno.
_UNSAID = (
    "upperdir-fs-unsupported-overlay", "overlay-module-missing", "old-kernel-overlay-bug",
    "missing-cap-sys-admin",
)  # fmt: skip


def _unsaid(context: Context) -> Iterator[Clue]:
    for event in context.failures:
        if event.failed and event.stage is Stage.MOUNT and event.fstype == "overlay":
            for step, cause in enumerate(_UNSAID):
                yield Clue(cause, (event.line.text,), weight=38 - 2 * step)
            return


#: The operations, as text, and what each errno can mean.
_WHILE: tuple[tuple[str, dict[str, str]], ...] = (
    ("mounting an overlay", _MOUNT),
    ("mapping the owners of a layer", _MAP),
    ("using a mounted overlay", _USE),
    ("unmounting, or removing a container", _REMOVE),
    ("unpacking an archive into a layer", _UNPACK),
    ("aufs", _AUFS),
    ("fuse-overlayfs", _FUSE),
)


def by_errno(name: str) -> dict[str, tuple[str, ...]]:
    """Return the causes that an errno (`EXDEV`) can have, most likely first, by operation.

    Empty if it means nothing here.
    """
    return {what: tuple(table[name].split()) for what, table in _WHILE if name in table}

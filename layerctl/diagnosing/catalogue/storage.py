"""Causes in the filesystem of a layer."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_F = Severity.FAILURE
_ELSEWHERE = (
    "Put upper and work on a local filesystem (ext4, xfs with ftype=1, btrfs, tmpfs); this one "
    "works as a lower layer."
)

CAUSES = table(
    Cause(
        "upper-readonly",
        _F,
        "The upper directory is on a read-only mount",
        "Overlay writes every change to the upper layer, so both its filesystem and its mount must "
        "be writable.",
        "Make it writable, use a writable upper directory, or use it as a lower layer without an "
        "upper.",
        ("mount -o remount,rw {mountpoint}",),
        ("findmnt -no OPTIONS -T {upper}",),
        links=(OVERLAY_DOC,),
        of_upper=True,
        foreseen=True,
    ),
    Cause(
        "upper-immutable",
        Severity.WARNING,
        "The upper directory is immutable or append-only (chattr +i or +a)",
        "Overlay mounts and looks writable, but the filesystem refuses every change at the top of "
        "the tree with EPERM.",
        "Remove the attribute, or use another upper directory.",
        ("chattr -{flag} {upper}", "{command}"),
        ("lsattr -d {upper}",),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "upperdir-fs-unsupported-overlay",
        _F,
        "The upper directory is itself on an overlay",
        "Overlay needs whiteouts and other markers in its upper layer, and an overlay cannot hold "
        "those of another overlay. The root filesystem of a container usually is an overlay.",
        "Put upper and work on a volume or a tmpfs; an overlay works as a lower layer.",
        ("mount -t tmpfs tmpfs {scratch}",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
        of_upper=True,
        foreseen=True,
    ),
    Cause(
        "upperdir-fs-unsupported-nfs",
        _F,
        "The upper directory is on a network filesystem",
        "NFS and similar filesystems have neither RENAME_WHITEOUT nor all the attributes that "
        "overlay needs. Before 5.7 the kernel refused any remote upper; since then it checks for "
        "the features.",
        _ELSEWHERE,
        ("findmnt -T {upper}",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "upperdir-fs-unsupported-fuse",
        _F,
        "The upper directory is on a FUSE filesystem that lacks what overlay needs",
        "The kernel treats FUSE filesystems as remote: before 5.7 overlay refused them as upper, "
        "and since then it accepts only those with whiteouts, extended attributes and file types "
        "in readdir. Most lack RENAME_WHITEOUT.",
        _ELSEWHERE + " fuse-overlayfs itself works on it.",
        ("fuse-overlayfs -o lowerdir={lower},upperdir={upper},workdir={work} {target}",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "upperdir-fs-unsupported-virtiofs",
        _F,
        "The upper directory is on virtiofs without what overlay needs",
        "virtiofs passes every call to a daemon on the host, where extended attributes are off by "
        "default and trusted.* attributes need a mapping. Without them, overlay refuses it as "
        "upper.",
        "Start virtiofsd with extended attributes mapped, or put upper and work on the guest's own "
        "disk.",
        ("virtiofsd --xattr --xattrmap=':map::user.virtiofs.:' --modcaps=+sys_admin",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "upperdir-fs-unsupported-ecryptfs",
        _F,
        "The upper directory is on ecryptfs",
        "ecryptfs is a stacked filesystem without RENAME_WHITEOUT and O_TMPFILE, so overlay "
        "accepts it only as a lower layer. Encrypted home directories of old Ubuntu releases use "
        "it.",
        _ELSEWHERE,
        ("findmnt -T {upper}",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "upperdir-fs-unsupported-zfs",
        _F,
        "The upper directory is on a version of ZFS that overlay cannot use",
        "OpenZFS before 2.2 has no RENAME_WHITEOUT and counts as remote, so overlay refuses it as "
        "upper.",
        "Use OpenZFS 2.2 or later, or a volume with ext4 or xfs for upper and work.",
        ("zfs version",),
        ("findmnt -T {upper}", "zfs version"),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "lowerdir-fs-unsupported-case-insensitive",
        _F,
        "A layer is on a filesystem with its own name comparison",
        "vfat, exfat, ntfs and similar filesystems compare names by their own rules, which overlay "
        "cannot follow, so it refuses them for any layer.",
        "Copy the layer to a case-sensitive filesystem (ext4, xfs, btrfs, tmpfs).",
        ("cp -a {path} ELSEWHERE",),
        ("findmnt -T {path}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upper-fs-no-xattr",
        _F,
        "The upper filesystem cannot hold overlay's attributes",
        "Overlay stores opaque directories, redirects and origins in trusted.overlay.* attributes. "
        "It refuses a remote filesystem without them; on a local one it mounts with features "
        "turned off, and deleted directories may reappear.",
        "Put upper and work on a filesystem with extended attributes, or enable them on this one "
        "(ext4: user_xattr, juicefs: --enable-xattr, virtiofsd: --xattr).",
        (),
        (
            "setfattr -n trusted.overlay.test -v y {upper} && setfattr -x trusted.overlay.test "
            "{upper}",
        ),
        links=(OVERLAY_DOC + "#upper-and-lower",),
        of_upper=True,
    ),
    Cause(
        "upper-missing-required-features",
        _F,
        "The upper filesystem lacks what overlay needs",
        "A remote upper (NFS, FUSE, virtiofs, ZFS, ecryptfs, ...) must have file types in readdir, "
        "RENAME_WHITEOUT and extended attributes. The lines before 'missing required features' "
        "name the missing ones.",
        _ELSEWHERE,
        (),
        ("findmnt -T {upper}", "dmesg | grep 'upper fs'"),
        since="5.7",
        links=(OVERLAY_DOC + "#upper-and-lower",),
        of_upper=True,
    ),
    Cause(
        "xfs-ftype0-no-dtype",
        Severity.WARNING,
        "The filesystem does not return file types in readdir (d_type)",
        "Overlay recognises whiteouts by the file type in a directory listing. XFS created with "
        "ftype=0 (the default until 2015, and in RHEL 7) and ext4 without filetype do not have it, "
        "so deleted files are still listed. Container engines refuse such a filesystem.",
        "Recreate the filesystem with ftype=1 (it cannot be changed later), or put upper and work "
        "on an image or another filesystem.",
        (
            "truncate -s 20G overlay.img && mkfs.ext4 -q overlay.img && mount -o loop overlay.img "
            "{scratch}",
        ),
        ("xfs_info {mountpoint} | grep ftype", "dumpe2fs -h DEVICE | grep filetype"),
        links=(OVERLAY_DOC + "#upper-and-lower",),
    ),
    Cause(
        "tmpfs-upper-xattr-unsupported",
        Severity.WARNING,
        "This tmpfs cannot hold the attributes that overlay needs",
        "tmpfs supports user.* attributes only since 6.6, and only with CONFIG_TMPFS_XATTR. In a "
        "user namespace overlay keeps its metadata in user.overlay.*, so without them replacing a "
        "directory fails with EIO or 'Operation not supported'.",
        "Use a disk filesystem for upper and work, or a newer kernel.",
        (),
        ("setfattr -n user.test -v y {upper} && setfattr -x user.test {upper}",),
        until="6.6",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "zfs-no-rename-whiteout",
        Severity.WARNING,
        "This filesystem has no RENAME_WHITEOUT",
        "To rename a lower file, overlay leaves a whiteout behind in the same operation. If the "
        "upper filesystem cannot do that, renames of lower files fail with EINVAL or leave the old "
        "name. ZFS supports it since OpenZFS 2.2.",
        "Use OpenZFS 2.2 or later, or put upper and work on ext4, xfs, btrfs or tmpfs.",
        (),
        ("zfs version", "dmesg | grep RENAME_WHITEOUT"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "casefold-capable-fs",
        _F,
        "A layer is on a filesystem with the casefold feature",
        "Before Linux 6.18 overlay refused a filesystem created with casefold (a feature of ext4 "
        "and f2fs), whether or not any directory used it. Since then all layers must agree, "
        "directory by directory.",
        "Turn the feature off if nothing on the ext4 uses it, or move the layers elsewhere.",
        ("tune2fs -O ^casefold DEVICE",),
        ("dumpe2fs -h DEVICE | grep casefold", "lsattr -d {path}"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "lower-fs-no-xattr",
        Severity.WARNING,
        "The filesystem of a lower layer returns errors for extended attributes",
        "A copy-up includes the extended attributes of the file. It fails if the lower filesystem "
        "answers 'not supported', or has attributes that the upper one refuses.",
        "Put the upper layer on a filesystem that supports the same attributes, or touch the "
        "directory through the merged tree once as root.",
        (),
        ("getfattr -d -m - {lower}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "nfs4-acl-copy-up",
        Severity.WARNING,
        "Files on an NFSv4 lower layer cannot be copied up with their ACLs",
        "NFSv4 exposes its ACLs as system.nfs4_acl, which no local filesystem accepts, so a "
        "copy-up that includes them fails with 'Operation not supported'.",
        "Mount the lower filesystem with noacl or as NFSv3, or use Linux 5.15 or later, which "
        "leaves them out.",
        ("mount -o remount,noacl {mountpoint}",),
        ("getfattr -d -m - {lower}",),
        until="5.15",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upper-enospc",
        Severity.WARNING,
        "The upper filesystem is full or nearly full",
        "The first write to a lower file copies the whole file up. Without free space or inodes "
        "the write fails with ENOSPC, or the mount becomes read-only, even if the lower filesystem "
        "has space.",
        "Free up space or inodes, or move upper and work to a larger filesystem; a tmpfs can be "
        "enlarged. Until then, you can mount it read-only (-r).",
        ("mount -o remount,size=2G,nr_inodes=1M {mountpoint}",),
        ("df -h {upper}", "df -i {upper}"),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "btrfs-subvolume-upper-exdev",
        Severity.WARNING,
        "Upper and work are in different btrfs subvolumes",
        "A rename cannot cross subvolumes, even on one mount, so overlay's renames from work to "
        "upper fail with EXDEV at the first copy-up or deletion.",
        "Put the work directory in the same subvolume as the upper directory.",
        ("mkdir -p {work}", "{command}"),
        ("btrfs subvolume show {upper}", "btrfs subvolume show {work}"),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "idmapped-layers-unsupported",
        _F,
        "A layer is an idmapped mount, which overlay on this kernel does not support",
        "Overlay accepts idmapped layers since 5.19, if the filesystem of the layer supports "
        "idmapping. Older kernels answer EINVAL.",
        "Use Linux 5.19 or later, or change the ownership of the layer instead.",
        (),
        ("uname -r", "findmnt -o TARGET,OPTIONS -T {path}"),
        until="5.19",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "idmap-filesystem-unsupported",
        _F,
        "The filesystem of a layer does not support idmapping",
        "mount_setattr(2) with MOUNT_ATTR_IDMAP needs a filesystem that supports it "
        "(FS_ALLOW_IDMAP): ext4, xfs, btrfs, f2fs, erofs and squashfs do, tmpfs since Linux 6.3; "
        "overlay, NFS, procfs and most FUSE filesystems do not. The kernel answers EINVAL.",
        "Move the layer to a filesystem that supports idmapping, or change the ownership of its "
        "files instead.",
        (),
        ("findmnt -T {path}", "uname -r"),
        since="5.12",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "idmap-owner-unmapped",
        Severity.WARNING,
        "The owner of a file is not in the ID map of its layer",
        "Through an idmapped layer, an owner that the map does not contain is shown as nobody "
        "(65534), and the kernel refuses to change the file (EOVERFLOW, or EACCES). The same "
        "happens to a user whose id the map does not yield, such as root of the host: nothing can "
        "be created in a mapped upper directory (EOVERFLOW).",
        "Map every owner that the layer has, and write as a user whose id the map yields.",
        ("layerctl mount --map 0:100000:65536 -l LOWER -u UPPER TARGET",),
        ("ls -ln {path}", "find {path} -printf '%U:%G\\n' | sort | uniq -c"),
        since="5.12",
    ),
    Cause(
        "idmap-of-overlay-unsupported",
        _F,
        "An overlay cannot be idmapped as a whole",
        "mount_setattr(2) with MOUNT_ATTR_IDMAP needs a filesystem that supports it "
        "(FS_ALLOW_IDMAP). Overlay does not: its layers can be idmapped, but the merged tree "
        "cannot.",
        "Idmap the layers instead of the overlay, or change the ownership.",
        ("mount --bind -o X-mount.idmap=b:0:100000:65536 {lower} {scratch}",),
        ("uname -r",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "fuse-lower-misbehaves",
        Severity.WARNING,
        "A FUSE lower layer does not behave as overlay expects",
        "If a FUSE filesystem answers readdir or getxattr wrongly, or has unstable inode numbers, "
        "the merged tree shows errors or missing files.",
        "Copy the layer to a disk filesystem, or use a newer version of the FUSE filesystem.",
        ("cp -a {lower} ELSEWHERE",),
        ("getfattr -d -m - {lower}", "ls -la {lower}"),
        links=(OVERLAY_DOC,),
    ),
)

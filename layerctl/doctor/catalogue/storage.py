"""Causes that lie in the filesystem below a layer."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_F = Severity.FAILURE
_ELSEWHERE = (
    "Put upper and work on a local filesystem (ext4, xfs with ftype=1, btrfs, tmpfs); as a lower "
    "layer this one is fine."
)

CAUSES = table(
    Cause(
        "upper-readonly",
        _F,
        "The upper directory is on a read-only mount",
        "Overlay writes every change to the upper layer, so its mount must be writable: the "
        "filesystem itself and the mount of it.",
        "Make it writable, name a writable upper directory, or leave the upper out and use it as "
        "a lower layer.",
        ("mount -o remount,rw {mountpoint}",),
        ("findmnt -no OPTIONS -T {upper}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upper-immutable",
        Severity.WARNING,
        "The upper directory itself may not be changed (chattr +i or +a)",
        "Overlay mounts all the same and looks writable, but every change at the top of the tree "
        "goes to this directory, where the filesystem refuses it with EPERM.",
        "Take the attribute away, or name another upper directory.",
        ("chattr -{flag} {upper}", "{command}"),
        ("lsattr -d {upper}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upperdir-fs-unsupported-overlay",
        _F,
        "The upper directory is itself on an overlay",
        "Overlay needs whiteouts and marks in its upper layer, and an overlay cannot hold those "
        "of another. Inside a container the root filesystem usually is an overlay.",
        "Put upper and work on a volume or a tmpfs; as a lower layer an overlay is fine.",
        ("mount -t tmpfs tmpfs {scratch}",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upperdir-fs-unsupported-nfs",
        _F,
        "The upper directory is on a network filesystem",
        "NFS and its like have neither RENAME_WHITEOUT nor all the attributes that overlay marks "
        "files with. Before 5.7 the kernel refused any remote upper; since then it looks for "
        "what is missing.",
        _ELSEWHERE,
        ("findmnt -T {upper}",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upperdir-fs-unsupported-fuse",
        _F,
        "The upper directory is on a FUSE filesystem that lacks what overlay needs",
        "A FUSE filesystem is remote to the kernel: before 5.7 overlay took none as upper, and "
        "since then only one with whiteouts, extended attributes and file types in readdir. Most "
        "have no RENAME_WHITEOUT.",
        _ELSEWHERE + " fuse-overlayfs itself works on it.",
        ("fuse-overlayfs -o lowerdir={lower},upperdir={upper},workdir={work} {target}",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upperdir-fs-unsupported-virtiofs",
        _F,
        "The upper directory is on virtiofs without what overlay needs",
        "virtiofs hands every call to the host's daemon; extended attributes are off there unless "
        "asked for, and trusted.* ones need a mapping. Without them overlay refuses it as upper.",
        "Start virtiofsd with extended attributes mapped, or put upper and work on the guest's own "
        "disk.",
        ("virtiofsd --xattr --xattrmap=':map::user.virtiofs.:' --modcaps=+sys_admin",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upperdir-fs-unsupported-ecryptfs",
        _F,
        "The upper directory is on ecryptfs",
        "ecryptfs is a stacked filesystem without RENAME_WHITEOUT and tmpfile, so that overlay "
        "takes it as a lower layer only. An encrypted home directory of old Ubuntu is one.",
        _ELSEWHERE,
        ("findmnt -T {upper}",),
        ("findmnt -T {upper}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upperdir-fs-unsupported-zfs",
        _F,
        "The upper directory is on a ZFS that overlay cannot use",
        "OpenZFS before 2.2 has no RENAME_WHITEOUT, and looks remote to overlay; the kernel "
        "refuses it as upper.",
        "Use OpenZFS 2.2 or newer, or a volume with ext4 or xfs for upper and work.",
        ("zfs version",),
        ("findmnt -T {upper}", "zfs version"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "lowerdir-fs-unsupported-case-insensitive",
        _F,
        "A layer is on a filesystem with names of its own kind",
        "vfat, exfat, ntfs and the like compare names by their own rules, which overlay cannot "
        "follow: it refuses them as any layer.",
        "Copy the layer to a filesystem with plain names (ext4, xfs, btrfs, tmpfs).",
        ("cp -a {path} ELSEWHERE",),
        ("findmnt -T {path}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upper-fs-no-xattr",
        _F,
        "The upper filesystem cannot hold overlay's attributes",
        "Overlay marks opaque directories, redirects and origins in trusted.overlay.* attributes. "
        "A filesystem without them is refused where it is remote; a local one is mounted with "
        "features off, and deleted directories may shine through again.",
        "Put upper and work on a filesystem with extended attributes, or mount this one with "
        "them (ext: user_xattr, juicefs: --enable-xattr, virtiofsd: --xattr).",
        (),
        (
            "setfattr -n trusted.overlay.test -v y {upper} && setfattr -x trusted.overlay.test "
            "{upper}",
        ),
        links=(OVERLAY_DOC + "#upper-and-lower",),
    ),
    Cause(
        "upper-missing-required-features",
        _F,
        "The upper filesystem lacks what overlay needs",
        "A remote upper (NFS, FUSE, virtiofs, ZFS, ecryptfs ...) must have file types in readdir, "
        "RENAME_WHITEOUT and extended attributes. The lines before 'missing required features' "
        "say which of them are not there.",
        _ELSEWHERE,
        (),
        ("findmnt -T {upper}", "dmesg | grep 'upper fs'"),
        since="5.7",
        links=(OVERLAY_DOC + "#upper-and-lower",),
    ),
    Cause(
        "xfs-ftype0-no-dtype",
        Severity.WARNING,
        "The filesystem gives no file types in readdir (d_type)",
        "Overlay tells whiteouts from files by the type in a directory listing. XFS made with "
        "ftype=0 (the default until 2015, and RHEL 7's) or ext4 without filetype has none: "
        "deleted files stay listed. Engines refuse it.",
        "Make the filesystem anew with ftype=1 (it cannot be changed afterwards), or put upper "
        "and work on an image or another filesystem.",
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
        "tmpfs has user.* attributes only since 6.6, and only with CONFIG_TMPFS_XATTR. In a user "
        "namespace, where overlay keeps its marks in user.overlay.*, replacing a directory then "
        "fails with EIO or 'Operation not supported'.",
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
        "Overlay renames a lower file by leaving a whiteout behind in one step. Where the upper "
        "filesystem cannot, renames of lower files fail with EINVAL or leave the old name; ZFS "
        "has it since OpenZFS 2.2.",
        "Use OpenZFS 2.2 or newer, or put upper and work on ext4, xfs, btrfs or tmpfs.",
        (),
        ("zfs version", "dmesg | grep RENAME_WHITEOUT"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "casefold-capable-fs",
        _F,
        "A layer is on a filesystem that can compare names without case",
        "A filesystem made with casefold (ext4 and f2fs features) was refused as a whole before "
        "Linux 6.18, whether any directory uses it or not; since then all layers must agree, "
        "directory by directory.",
        "Take the feature off an ext4 that does not use it, or move the layers elsewhere.",
        ("tune2fs -O ^casefold DEVICE",),
        ("dumpe2fs -h DEVICE | grep casefold", "lsattr -d {path}"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "lower-fs-no-xattr",
        Severity.WARNING,
        "A lower layer's filesystem gives an error for attributes",
        "A copy-up takes a file's extended attributes along. A lower filesystem that answers "
        "'not supported', or has attributes that the upper one refuses, stops the copy.",
        "Give the upper layer a filesystem that holds the same attributes, or touch the directory "
        "through the merged tree once as root.",
        (),
        ("getfattr -d -m - {lower}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "nfs4-acl-copy-up",
        Severity.WARNING,
        "Files of an NFSv4 lower layer cannot be copied up with their ACL",
        "NFSv4 shows its access lists as system.nfs4_acl, which no local filesystem takes. A "
        "copy-up that is to keep them fails with 'Operation not supported'.",
        "Mount the lower one with noacl, or as NFSv3, or use a kernel from 5.15 on that leaves "
        "them out.",
        ("mount -o remount,noacl {mountpoint}",),
        ("getfattr -d -m - {lower}",),
        until="5.15",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "upper-enospc",
        Severity.WARNING,
        "The upper filesystem is full, or almost",
        "The first write to a lower file copies the whole file up. Without space or inodes the "
        "write fails with ENOSPC, or the mount comes out read-only, though the lower disk has "
        "room.",
        "Free space or inodes there, or move upper and work to a larger filesystem; a tmpfs can "
        "grow. Until then it can be mounted for reading (-r).",
        ("mount -o remount,size=2G,nr_inodes=1M {mountpoint}",),
        ("df -h {upper}", "df -i {upper}"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "btrfs-subvolume-upper-exdev",
        Severity.WARNING,
        "Upper and work lie in different btrfs subvolumes",
        "A rename cannot leave its subvolume, though both are one mount: overlay's renames from "
        "work to upper fail with EXDEV at the first copy-up or deletion.",
        "Put the work directory in the upper one's subvolume.",
        ("mkdir -p {work}", "{command}"),
        ("btrfs subvolume show {upper}", "btrfs subvolume show {work}"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "idmapped-layers-unsupported",
        _F,
        "A layer is an idmapped mount, and this kernel cannot have it in an overlay",
        "Overlay takes idmapped layers since 5.19, and only where the layer's filesystem can be "
        "mounted so. Before, the kernel answers EINVAL.",
        "Use Linux 5.19 or newer, or change the owners of the layer instead.",
        (),
        ("uname -r", "findmnt -o TARGET,OPTIONS -T {path}"),
        until="5.19",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "idmap-of-overlay-unsupported",
        _F,
        "An overlay cannot be idmapped as a whole",
        "mount_setattr(2) with MOUNT_ATTR_IDMAP needs a filesystem that takes it (FS_ALLOW_IDMAP), "
        "and overlay does not: its layers can be idmapped, the merged tree cannot.",
        "Map the layers instead of the overlay, or change owners.",
        ("mount --bind -o X-mount.idmap=b:0:100000:65536 {lower} {scratch}",),
        ("uname -r",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "fuse-lower-misbehaves",
        Severity.WARNING,
        "A FUSE lower layer answers as overlay does not expect",
        "Overlay reads its lower layers through the kernel's interfaces for directories and "
        "attributes. A FUSE filesystem that answers wrongly (readdir, getxattr, inode numbers) "
        "makes the merged tree fail or vanish.",
        "Copy the layer to a disk filesystem, or look for a newer version of the FUSE filesystem.",
        ("cp -a {lower} ELSEWHERE",),
        ("getfattr -d -m - {lower}", "ls -la {lower}"),
        links=(OVERLAY_DOC,),
    ),
)

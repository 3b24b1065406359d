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
)

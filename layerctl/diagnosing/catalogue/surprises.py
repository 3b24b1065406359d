"""Causes of surprises after a successful mount."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_W = Severity.WARNING
_NONSTANDARD = OVERLAY_DOC + "#non-standard-behavior"

CAUSES = table(
    Cause(
        "redirect-dir-off-rename-exdev",
        _W,
        "Renaming a directory of a lower layer fails with EXDEV",
        "Overlay can rename a lower directory only by writing a redirect to the upper layer. With "
        "redirect_dir off, the default, rename(2) fails with 'Invalid cross-device link'. mv(1) "
        "works around that by copying; other programs may not.",
        "Mount with redirect_dir=on, or make the program copy instead.",
        ("{command}",),
        ("cat /sys/module/overlay/parameters/redirect_dir", "findmnt -no OPTIONS {target}"),
        links=(OVERLAY_DOC + "#renaming-directories",),
    ),
    Cause(
        "xino-off-inode-instability",
        _W,
        "Inode numbers may change or clash",
        "Inode numbers are unique only within one filesystem. With xino off, the inode number of a "
        "directory or the device number of a file can change at copy-up, which can confuse find, "
        "du, tar and backup programs.",
        "Mount with xino=on, or put all layers on one filesystem.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        since="4.17",
        links=(OVERLAY_DOC + "#inode-properties",),
    ),
    Cause(
        "xino-off-fallback-info",
        Severity.INFO,
        "The kernel does not use xino here",
        "A lower filesystem without file handles, or with a UUID that is not unique, cannot "
        "provide persistent inode numbers. The overlay works, with inode numbers as before Linux "
        "4.17.",
        "No action is needed. If inode numbers matter, put the layers on one filesystem.",
        (),
        ("findmnt -no OPTIONS {target}",),
        since="4.17",
        links=(OVERLAY_DOC + "#inode-properties",),
    ),
    Cause(
        "hardlink-broken-across-overlay",
        _W,
        "Writing to one name of a hard link separates it from the others",
        "A copy-up copies a lower file under one of its names; its other names still refer to the "
        "lower file. With index=on they stay linked.",
        "Mount with index=on.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        links=(_NONSTANDARD,),
    ),
    Cause(
        "hardlink-nlink-inconsistent",
        _W,
        "The link count of a file is wrong",
        "The count comes from the layer that holds the name, and the names of one file may be in "
        "several layers. index=on corrects this; fuse-overlayfs counts in its own way.",
        "Mount with index=on, and do not rely on link counts.",
        ("{command}",),
        ("stat -c %h {target}/FILE",),
        links=(_NONSTANDARD,),
    ),
    Cause(
        "copy-up-stale-readonly-fd",
        _W,
        "A file opened for reading does not see later writes",
        "A file descriptor opened read-only before the copy-up still reads the lower file, while "
        "writers use the copy. Programs that open a file twice (rpm, databases) see two files. "
        "Since 4.19 read(2) sees the copy, but a shared mapping does not.",
        "Touch the file (or its directory tree) before starting the program, to copy it up first, "
        "or use a volume.",
        ("touch {target}/FILE",),
        ("uname -r",),
        until="4.19",
        links=(_NONSTANDARD,),
    ),
    Cause(
        "inotify-lower-inode",
        _W,
        "inotify does not report changes to a file that was copied up",
        "A watch is set on an inode. Before the copy-up that is the inode of the lower file, which "
        "does not change any more, so tail -F shows nothing.",
        "Touch the file before watching it, watch its directory, or use polling (tail "
        "---disable-inotify).",
        ("touch {target}/FILE",),
        links=(_NONSTANDARD,),
    ),
    Cause(
        "metacopy-mismatch",
        _W,
        "A file has metadata in one layer but no data in any",
        "With metacopy=on, overlay copies up only the metadata until data is written. If the "
        "layers are mounted later without metacopy or with other lower layers, such a file has no "
        "data: reading it fails with EIO, or it is empty. Engines that export the upper layer lose "
        "the data.",
        "Mount with metacopy=on,redirect_dir=on and the same lower layers, or turn metacopy off "
        "before you export layers.",
        ("{command}",),
        ("getfattr -n trusted.overlay.metacopy {upper}/FILE",),
        since="4.19",
        links=(OVERLAY_DOC + "#metadata-only-copy-up",),
    ),
    Cause(
        "whiteout-mknod-eperm",
        _W,
        "Creating a whiteout failed with EPERM",
        "A whiteout is a character device 0:0. Before 5.8, creating one with mknod(2) requires "
        "CAP_MKNOD in the initial user namespace, and a container's device policy can forbid it. "
        "It happens when layers are unpacked in a user namespace.",
        "Use Linux 5.8 or later, fuse-overlayfs or the vfs driver, or allow mknod.",
        (),
        ("mknod test c 0 0", "uname -r"),
        links=(OVERLAY_DOC + "#whiteouts-and-opaque-directories",),
    ),
    Cause(
        "whiteout-on-overlay-eperm",
        _W,
        "A whiteout cannot be created through an overlay",
        "To overlay, a 0:0 device is a marker and not a file, so mknod(2) of one in a merged tree "
        "fails with EPERM. It happens when image layers are unpacked onto an overlay.",
        "Unpack to a filesystem that is not an overlay, or to a volume.",
        ("mount -t tmpfs tmpfs {scratch}",),
        ("findmnt -T {path}",),
        links=(OVERLAY_DOC + "#whiteouts-and-opaque-directories",),
    ),
    Cause(
        "whiteout-sharing-disabled",
        Severity.INFO,
        "Whiteouts no longer share one inode",
        "The upper filesystem reached its link limit or refused a hard link. Each whiteout then "
        "has its own inode; the overlay works the same.",
        "No action is needed.",
        since="5.8",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "volatile-upper",
        _W,
        "The overlay is volatile: a crash can lose or damage the upper layer",
        "With volatile (fsync=volatile) nothing is synced, not even by fsync(2). After a crash the "
        "upper layer must be discarded.",
        "If the data matters, mount without volatile.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        since="5.10",
        links=(OVERLAY_DOC + "#volatile-mount",),
        of_upper=True,
    ),
    Cause(
        "mounted-read-only",
        _W,
        "The overlay is read-only although it has an upper layer",
        "At mount time the kernel could not use the work directory, and mounted read-only with a "
        "line in its log; or the upper filesystem has become read-only since.",
        "Repair the work directory or the upper filesystem, then mount again.",
        ("umount {target}", "{command}"),
        ("findmnt -no OPTIONS {target}", "dmesg | grep 'mounting read-only'"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "layer-gone",
        Severity.FAILURE,
        "A layer of the mount is no longer at its path",
        "The mount holds the directory itself and keeps working, but its path now leads elsewhere, "
        "so it cannot be mounted again.",
        "Put the directory back before you unmount.",
        (),
        ("ls -ld {path}",),
    ),
    Cause(
        "markers-without-effect",
        _W,
        "Markers in a layer have no effect with these options",
        "Overlay reads trusted.overlay.* or, with userxattr, user.overlay.*, but never both. It "
        "follows redirects and metacopy only if they are on.",
        "Mount with the options that the layers were created with.",
        ("{command}",),
        ("getfattr -Rd -m overlay {path}",),
        links=(OVERLAY_DOC + "#user-xattr",),
    ),
    Cause(
        "aufs-whiteouts-in-overlay",
        _W,
        "A layer of an overlay contains aufs whiteouts",
        "Names that start with .wh. are whiteouts in aufs and in the archives of OCI images. To "
        "overlay they are ordinary files: they show up in the mount and hide nothing, so deleted "
        "files reappear. A layer of an aufs or an image was copied or unpacked without converting "
        "them.",
        "Unpack the layer with a program that converts them to overlay whiteouts, or convert them "
        "yourself while the layer is not mounted: remove each .wh.NAME and create the device NAME; "
        "replace .wh..wh..opq with the opaque attribute on its directory.",
        (
            "rm .wh.NAME && mknod NAME c 0 0",
            "rm DIR/.wh..wh..opq && setfattr -n trusted.overlay.opaque -v y DIR",
        ),
        ("find {path} -name '.wh.*'",),
        links=(OVERLAY_DOC + "#whiteouts-and-opaque-directories",),
    ),
    Cause(
        "corrupt-upper-marks",
        _W,
        "Markers in a layer are unreadable or inconsistent",
        "A redirect, an origin, a metacopy digest or the index refers to something that does not "
        "exist: the layers were changed offline or copied without attributes, or the lower layers "
        "are different.",
        "Mount with the original layers; otherwise copy what is visible into a new upper layer.",
        (),
        ("getfattr -Rd -m overlay -e hex {upper}",),
        links=(OVERLAY_DOC + "#changes-to-underlying-filesystems",),
    ),
    Cause(
        "io-error-below",
        _W,
        "An operation on a layer failed",
        "The underlying filesystem returned an error while overlay looked up, copied up or cleaned "
        "up a file. The errno in the message comes from that filesystem.",
        "Look in the kernel log for errors of the layer's device or filesystem.",
        (),
        ("dmesg | tail -50",),
    ),
    Cause(
        "volatile-upper-error",
        Severity.FAILURE,
        "The upper filesystem had a write error",
        "A volatile mount would lose track of it, so the kernel requires a sync of the filesystem "
        "first.",
        "Sync the upper filesystem, and check its disk for errors.",
        ("sync -f {upper}", "{command}"),
        since="5.10",
        links=(OVERLAY_DOC + "#volatile-mount",),
        of_upper=True,
    ),
    Cause(
        "nfs-export-limits",
        Severity.INFO,
        "NFS export of the overlay is limited",
        "A file handle could not be encoded or decoded; clients may get ESTALE for that file.",
        "Export with no_subtree_check and mount with nfs_export=on,index=on.",
        (),
        ("exportfs -v",),
        since="4.16",
        links=(OVERLAY_DOC + "#nfs-export",),
    ),
    Cause(
        "benign-fallback-nfs-export-metacopy",
        Severity.INFO,
        "NFS export is off because metacopy is on (harmless)",
        "The two features exclude each other. If both are on only by the kernel's defaults, the "
        "kernel turns nfs_export off.",
        "No action is needed.",
        since="4.19",
        links=(OVERLAY_DOC + "#nfs-export",),
    ),
    Cause(
        "benign-feature-probe",
        Severity.INFO,
        "A program probed the kernel's features (harmless)",
        "Docker, containerd and others mount small overlays at startup to find out which features "
        "work (in directories such as check-overlayfs-support, metacopy-check or "
        "opaque-bug-check). The kernel logs each one that does not.",
        "No action is needed.",
    ),
    Cause(
        "benign-kernel-note",
        Severity.INFO,
        "The kernel reports what it does (harmless)",
        "The line reports a decision of the kernel, or an option that has no effect here.",
        "No action is needed.",
        links=(OVERLAY_DOC,),
    ),
)

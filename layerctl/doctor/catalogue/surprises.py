"""Causes of what surprises after a mount that succeeded."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_W = Severity.WARNING
_NONSTANDARD = OVERLAY_DOC + "#non-standard-behavior"

CAUSES = table(
    Cause(
        "redirect-dir-off-rename-exdev",
        _W,
        "Renaming a directory of a lower layer fails with EXDEV",
        "A lower directory can be renamed only by a redirect in the upper layer. With redirect_dir "
        "off, the default, rename(2) answers 'Invalid cross-device link', which mv(1) works "
        "around by copying and other programs do not.",
        "Mount with redirect_dir=on, or let the program copy instead.",
        ("{command}",),
        ("cat /sys/module/overlay/parameters/redirect_dir", "findmnt -no OPTIONS {target}"),
        links=(OVERLAY_DOC + "#renaming-directories",),
    ),
    Cause(
        "xino-off-inode-instability",
        _W,
        "Inode numbers may change or clash",
        "Layers on several filesystems have inode numbers that mean nothing together. With xino "
        "off, a directory's number or a file's device changes when it is copied up, which find, "
        "du, tar and backup programs notice.",
        "Mount with xino=on, or have all layers on one filesystem.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        since="4.17",
        links=(OVERLAY_DOC + "#inode-properties",),
    ),
    Cause(
        "xino-off-fallback-info",
        Severity.INFO,
        "The kernel goes without xino here",
        "A lower filesystem without file handles, or one that shares its UUID, has no inode "
        "numbers that last. The overlay works; its inode numbers are as they always were "
        "before 4.17.",
        "Nothing needs to be done. Where numbers matter, put the layers on one filesystem.",
        (),
        ("findmnt -no OPTIONS {target}",),
        since="4.17",
        links=(OVERLAY_DOC + "#inode-properties",),
    ),
    Cause(
        "hardlink-broken-across-overlay",
        _W,
        "Writing to one name of a hard link parts it from the others",
        "A copy-up copies one name of a lower file; its other names stay below. With index=on they "
        "stay together.",
        "Mount with index=on.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        links=(_NONSTANDARD,),
    ),
    Cause(
        "hardlink-nlink-inconsistent",
        _W,
        "The link count of a file is not what it should be",
        "The count comes from the layer that a name is in, and names of the same file may be in "
        "several. It settles with index=on; fuse-overlayfs counts in its own way.",
        "Mount with index=on, and do not rely on link counts.",
        ("{command}",),
        ("stat -c %h {target}/FILE",),
        links=(_NONSTANDARD,),
    ),
    Cause(
        "copy-up-stale-readonly-fd",
        _W,
        "A file opened for reading does not see what is written to it afterwards",
        "A descriptor opened read-only before the copy-up still reads the lower file, while "
        "writers have the copy. Programs that open a file twice (rpm, databases) see two files. "
        "Since 4.19 reads follow, but a shared mapping does not.",
        "Touch the file (or its directory tree) before the program starts, so that it is copied "
        "up first, or use a volume.",
        ("touch {target}/FILE",),
        ("uname -r",),
        until="4.19",
        links=(_NONSTANDARD,),
    ),
    Cause(
        "inotify-lower-inode",
        _W,
        "inotify does not see changes of a file that was copied up",
        "A watch is kept on an inode. Before the copy-up that is the lower file's, which nobody "
        "writes any more; tail -F then shows nothing.",
        "Touch the file before watching it, watch its directory, or poll "
        "(tail ---disable-inotify).",
        ("touch {target}/FILE",),
        links=(_NONSTANDARD,),
    ),
    Cause(
        "metacopy-mismatch",
        _W,
        "A file has its metadata in one layer and no data behind it",
        "With metacopy=on only metadata is copied up until data is written. Mounted later without "
        "metacopy, or with other lowers, such a file has no content: EIO, or an empty file. "
        "Engines that export the upper layer lose it.",
        "Mount with metacopy=on,redirect_dir=on and the same lowers, or switch metacopy off "
        "before layers are exported.",
        ("{command}",),
        ("getfattr -n trusted.overlay.metacopy {upper}/FILE",),
        since="4.19",
        links=(OVERLAY_DOC + "#metadata-only-copy-up",),
    ),
    Cause(
        "whiteout-mknod-eperm",
        _W,
        "A whiteout could not be made (EPERM)",
        "A whiteout is a character device 0:0. Making one by mknod(2) needs CAP_MKNOD in the first "
        "user namespace before 5.8, and a container's device policy may forbid it; unpacking "
        "layers in a user namespace meets it.",
        "Use a kernel from 5.8 on, fuse-overlayfs, or the vfs driver; or allow mknod.",
        (),
        ("mknod test c 0 0", "uname -r"),
        links=(OVERLAY_DOC + "#whiteouts-and-opaque-directories",),
    ),
    Cause(
        "whiteout-on-overlay-eperm",
        _W,
        "A whiteout cannot be made through an overlay",
        "A 0:0 device is a mark to the overlay that it is made in, not a file: mknod(2) of one "
        "inside a merged tree answers EPERM. Unpacking image layers onto an overlay fails so.",
        "Unpack to a plain filesystem or a volume.",
        ("mount -t tmpfs tmpfs {scratch}",),
        ("findmnt -T {path}",),
        links=(OVERLAY_DOC + "#whiteouts-and-opaque-directories",),
    ),
    Cause(
        "whiteout-sharing-disabled",
        Severity.INFO,
        "Whiteouts are no longer hard links of each other",
        "The upper filesystem reached its limit of links, or refused one. Each whiteout is then an "
        "inode of its own; it works the same.",
        "Nothing needs to be done.",
        since="5.8",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "volatile-upper",
        _W,
        "The overlay is volatile: a crash may lose or break its upper layer",
        "With volatile (fsync=volatile) nothing is synced, not even when asked. After a crash the "
        "upper layer must be thrown away.",
        "Mount without volatile where the data matters.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        since="5.10",
        links=(OVERLAY_DOC + "#volatile-mount",),
    ),
    Cause(
        "mounted-read-only",
        _W,
        "The overlay has an upper layer and is read-only all the same",
        "The work directory could not be used when it was mounted, or the upper filesystem has "
        "become read-only since. The kernel then mounts read-only with a line in its log.",
        "Mend the work directory or the upper filesystem, then mount again.",
        ("umount {target}", "{command}"),
        ("findmnt -no OPTIONS {target}", "dmesg | grep 'mounting read-only'"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "layer-gone",
        Severity.FAILURE,
        "A layer of a live mount is no longer at its path",
        "The mount holds the directory itself, so it goes on; but the path leads elsewhere, and it "
        "can be mounted again no more.",
        "Put the directory back before you unmount.",
        (),
        ("ls -ld {path}",),
    ),
    Cause(
        "markers-without-effect",
        _W,
        "Marks in a layer have no effect with these options",
        "Overlay reads trusted.overlay.* or, with userxattr, user.overlay.*, never both; redirects "
        "and metacopy count only where they are on.",
        "Mount with the options that the layers were made with.",
        ("{command}",),
        ("getfattr -Rd -m overlay {path}",),
        links=(OVERLAY_DOC + "#user-xattr",),
    ),
    Cause(
        "aufs-whiteouts-in-overlay",
        _W,
        "A layer of an overlay holds whiteouts of aufs",
        "Names that begin with .wh. mean something to aufs, and in the archives of OCI images. To "
        "overlay they are files like any other: they show in the mount, and hide nothing, so "
        "that what was deleted is there again. A layer of aufs or of an image was copied or "
        "unpacked as it is.",
        "Unpack the layer with a program that makes overlay's whiteouts of them, or do it by "
        "hand while nothing has the layer mounted: for each .wh.NAME remove it and make the "
        "device NAME; .wh..wh..opq marks its directory as opaque.",
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
        "Marks in a layer cannot be read or do not fit",
        "Redirects, origins, metacopy digests or the index name something that is not there: the "
        "layers were changed while nobody had them mounted, copied without attributes, or an "
        "other lower lies below.",
        "Mount with the layers that belong together; else copy what can be seen into a fresh "
        "upper layer.",
        (),
        ("getfattr -Rd -m overlay -e hex {upper}",),
        links=(OVERLAY_DOC + "#changes-to-underlying-filesystems",),
    ),
    Cause(
        "io-error-below",
        _W,
        "An operation on a layer failed",
        "Overlay met an error of the filesystem below while it looked up, copied up or cleaned up. "
        "The errno in the message is the lower filesystem's own.",
        "Look for errors of the device or filesystem of the layer in the kernel log.",
        (),
        ("dmesg | tail -50",),
    ),
    Cause(
        "volatile-upper-error",
        Severity.FAILURE,
        "The upper filesystem has seen a write error",
        "A volatile mount would lose track of it, so the kernel wants the filesystem synced first.",
        "Sync the upper filesystem, and look for errors of its disk.",
        ("sync -f {upper}", "{command}"),
        since="5.10",
        links=(OVERLAY_DOC + "#volatile-mount",),
    ),
    Cause(
        "nfs-export-limits",
        Severity.INFO,
        "Exporting the overlay by NFS meets a limit",
        "A file handle could not be made or found again; clients may see ESTALE for that file.",
        "Export with no_subtree_check and mount with nfs_export=on,index=on.",
        (),
        ("exportfs -v",),
        since="4.16",
        links=(OVERLAY_DOC + "#nfs-export",),
    ),
    Cause(
        "benign-fallback-nfs-export-metacopy",
        Severity.INFO,
        "NFS export is off because metacopy is on: nothing is wrong",
        "The two features exclude each other. Where neither was asked for by name, the kernel's "
        "defaults met, and nfs_export gives way.",
        "Nothing needs to be done.",
        since="4.19",
        links=(OVERLAY_DOC + "#nfs-export",),
    ),
    Cause(
        "benign-feature-probe",
        Severity.INFO,
        "A program tried out what the kernel can do: nothing is wrong",
        "Docker, containerd and others mount small overlays when they start, to see which "
        "features work (directories named check-overlayfs-support, metacopy-check, "
        "opaque-bug-check ...). The kernel logs each no.",
        "Nothing needs to be done.",
    ),
    Cause(
        "benign-kernel-note",
        Severity.INFO,
        "The kernel says what it does: nothing is wrong",
        "The line informs of a choice that the kernel made, or of an option that is of no use "
        "here.",
        "Nothing needs to be done.",
        links=(OVERLAY_DOC,),
    ),
)

"""Causes that are aufs's own."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import AUFS_DOC, Cause, table
from layerctl.model import Severity

_F = Severity.FAILURE

CAUSES = table(
    Cause(
        "aufs-module-missing",
        _F,
        "This kernel has no aufs",
        "aufs was never part of Linux: it is a patch that some distributions ship. Debian and "
        "Ubuntu dropped it (Ubuntu with 5.15), slax, puppy and antiX build it in, and others have "
        "it as a module package or as aufs-standalone to build.",
        "Install it where your distribution has it (Debian's aufs-dkms up to bookworm, a kernel "
        "with aufs elsewhere), or use overlay, which every kernel has.",
        ("apt install aufs-dkms && modprobe aufs", "{command}"),
        ("grep aufs /proc/filesystems", "modinfo aufs"),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-userns-not-allowed",
        _F,
        "aufs may not be mounted in a user namespace",
        "aufs is for root of the machine unless its module was loaded with allow_userns=1.",
        "Mount as root of the machine, reload the module with the parameter, or use overlay.",
        ("modprobe -r aufs && modprobe aufs allow_userns=1",),
        ("cat /sys/module/aufs/parameters/allow_userns",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-duplicated",
        _F,
        "A branch was named twice",
        "aufs keeps each directory once in a stack; a second mention is 'duplicated'.",
        "Name each branch once.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-overlapping",
        _F,
        "One branch lies inside another",
        "A file would be in two branches at once, and a whiteout in one would hide it in both. "
        "aufs refuses a branch that is above or below another on the same filesystem.",
        "Name directories that lie side by side.",
        ("{command}",),
        ("realpath {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-fs-unsupported",
        _F,
        "A branch is on a filesystem that aufs does not take",
        "aufs takes no pseudo filesystem, no ramfs, no ecryptfs, no aufs and nothing that is "
        "stacked already, such as overlay: a container's root filesystem is one.",
        "Put the branch on a disk filesystem or a tmpfs.",
        ("findmnt -T {path}",),
        ("findmnt -T {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-readonly-fs",
        _F,
        "A writable branch is on a read-only filesystem",
        "A branch that is rw must be writable: its filesystem, its mount and its directory. The "
        "first branch is rw unless it is said otherwise.",
        "Name the branch read-only (=ro), or make its filesystem writable.",
        ("{command}",),
        ("findmnt -no OPTIONS -T {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-no-hard-links",
        _F,
        "A writable branch is on a filesystem without hard links",
        "aufs makes its whiteouts as hard links of one file, which vfat and the like do not have.",
        "Give the branch the attribute +nolwh and mount with noplink.",
        ("{command}",),
        ("findmnt -T {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-no-writable-branch",
        Severity.WARNING,
        "No branch is writable",
        "aufs wants its first branch to be rw; with none, the mount is read-only in effect and "
        "the xino file goes to /tmp.",
        "Make the first branch rw, or mount read-only (-r) to say that it is meant.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-xino-fs-unsupported",
        _F,
        "The xino file would lie on a filesystem that cannot hold it",
        "aufs keeps its inode numbers in a file on the first writable branch, else in /tmp, and "
        "xfs, btrfs, overlay, NFS and FUSE cannot hold it. mount(8) says only 'wrong fs type'.",
        "Name a place for it on a tmpfs (xino=), or do without (noxino).",
        ("{command}",),
        ("findmnt -T {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-xino-exists",
        _F,
        "Something stands already where the xino file goes",
        "aufs makes its xino file anew, and takes none that exists: it would belong to another "
        "mount, or be a file of yours.",
        "Name a path where nothing stands, in a directory that exists.",
        ("{command}",),
        ("ls -ld {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-xino-directory-missing",
        _F,
        "The directory of the xino file does not exist",
        "aufs makes the file, but no directory for it. mount(8) then says 'special device none "
        "does not exist'.",
        "Create the directory, or name another place.",
        ("mkdir -p {path}",),
        ("ls -ld {path}",),
        links=(AUFS_DOC,),
    ),
)

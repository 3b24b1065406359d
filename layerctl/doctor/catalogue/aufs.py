"""Causes that are aufs's own."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import AUFS_DOC, Cause, table
from layerctl.model import Severity

_F, _W = Severity.FAILURE, Severity.WARNING

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
        "aufs-shwh-writable",
        Severity.WARNING,
        "Whiteouts are shown on a writable mount",
        "With shwh a deleted name is listed as its whiteout, and programs that see it may change "
        "it. aufs takes it all the same, and says in its log that it should be used with ro.",
        "Mount read-only, or leave shwh out.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-xino-fs-unsupported",
        _F,
        "The xino file would lie on a filesystem that cannot hold it",
        "aufs keeps its inode numbers in a file on the first writable branch, else in /tmp, and "
        "xfs, btrfs, overlay, NFS and FUSE cannot hold it. mount(8) says only 'wrong fs type'.",
        "Name a place for it on a tmpfs (xino=/dev/shm/aufs.xino), or do without (noxino).",
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
    Cause(
        "aufs-br-syntax",
        _F,
        "The list of branches is not well formed",
        "Branches stand in br= or dirs=, parted by colons, each with =PERMISSION. An empty one is "
        "dropped together with all that follow, and a path with ',' ':' or '=' cannot be given.",
        "Write one colon between two branches, and br= with an equals sign.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-br-colon-new-mount-api",
        _F,
        "br: with a colon does not work with the new mount calls",
        "util-linux 2.39 and newer hand options over one by one, and the kernel takes br:/a for "
        "the name of an option that does not exist. br= works everywhere.",
        "Write br= instead of br:.",
        ("{command}",),
        ("mount --version",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-permission-unknown",
        _W,
        "aufs does not know a branch permission or attribute",
        "An unknown permission becomes ro, and an unknown attribute is dropped, with a line in the "
        "kernel log alone. On the first branch that leaves nothing writable.",
        "Write rw, ro or rr, and an attribute that goes with it (ro+wh, rw+nolwh ...).",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-too-many-branches",
        _F,
        "There are more branches than aufs takes",
        "The limit is compiled in, 127 mostly (Docker's 'max depth' of 42 in its first days). More "
        "than about 84 in one call crash some kernels: layerctl adds the rest by remount.",
        "Merge some branches into one directory.",
        (),
        ("grep . /sys/fs/aufs/config",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-copyup-bug-xfs",
        _W,
        "aufs fails to copy up to this filesystem",
        "Some pairs of aufs and kernel versions break copy-up on xfs or with certain attributes: "
        "the write fails with EOPNOTSUPP or EIO.",
        "Update aufs, or have the writable branch on ext4 or tmpfs.",
        (),
        ("uname -r", "modinfo aufs | grep version"),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-dirperm1-info",
        Severity.INFO,
        "aufs reminds of dirperm1: nothing is wrong",
        "With dirperm1 the topmost directory's permissions count alone, so that lower ones no "
        "longer protect. Docker asks for it on purpose.",
        "Nothing needs to be done.",
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-entry-and-whiteout-conflict",
        _W,
        "A name and its whiteout stand in one branch",
        "aufs takes a branch with NAME and .wh.NAME for broken and answers EIO for that name. It "
        "comes of a crash, of copying branches together, or of another program writing there.",
        "Remove the whiteout (or the file) from the branch, with nothing mounted on it.",
        ("rm {path}/.wh.NAME",),
        ("find {path} -name '.wh.*'",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-kernel-version-mismatch",
        _F,
        "This aufs was made for another kernel version",
        "aufs follows each kernel closely. Built for another release, it mounts and then fails or "
        "warns in vfs functions whose rules have changed.",
        "Build the branch of aufs-standalone that bears the kernel's version.",
        (),
        ("uname -r", "modinfo aufs | grep version"),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-tools-missing",
        _W,
        "aufs-tools are not installed",
        "auplink flushes pseudo-links before unmounting, and mount.aufs helps mount(8). Without "
        "them hard links made through aufs may break after an unmount.",
        "Install aufs-tools, or mount with noplink.",
        ("apt install aufs-tools",),
        ("command -v auplink",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-udba-needs-xino",
        _W,
        "udba=notify needs the xino file",
        "aufs watches its branches by inode numbers, which are kept in the xino file. With noxino "
        "it cannot.",
        "Give it a xino file, or use udba=reval.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-attributes-differ",
        Severity.INFO,
        "Owner or mode of the branches' roots differ: nothing is wrong",
        "aufs tells that a branch's root directory has another owner or mode than the topmost. "
        "Access is checked on the topmost one that counts.",
        "Where it matters, give the branches the same owner and mode.",
        ("chmod --reference={upper} {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-changed-underneath",
        _W,
        "A branch was changed behind the mount",
        "aufs holds the branches' roots; one that is moved, removed or replaced, or an entry that "
        "changes behind its back, makes names fail.",
        "Mount again, and change files through the merged tree alone (or use udba=notify).",
        ("umount {target}", "{command}"),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-io-error",
        _W,
        "aufs met an error it could not mend",
        "An operation on a branch failed, or its own files there (.wh..wh.*) could not be kept. "
        "The number is the errno, with a minus.",
        "Look for errors of the branch's filesystem in the kernel log; mount again afterwards.",
        (),
        ("dmesg | tail -50",),
        links=(AUFS_DOC,),
    ),
)

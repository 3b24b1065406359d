"""Causes of aufs."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import AUFS_DOC, Cause, table
from layerctl.model import Severity

_F, _W = Severity.FAILURE, Severity.WARNING

CAUSES = table(
    Cause(
        "aufs-module-missing",
        _F,
        "This kernel does not have aufs",
        "aufs was never part of Linux: it is a patch that some distributions ship. Debian and "
        "Ubuntu dropped it (Ubuntu with 5.15); Slax, Puppy and antiX build it in; others have a "
        "module package, or you can build aufs-standalone.",
        "Install aufs if your distribution has it (aufs-dkms up to Debian bookworm, a kernel with "
        "aufs elsewhere), or use overlay.",
        ("apt install aufs-dkms && modprobe aufs", "{command}"),
        ("grep aufs /proc/filesystems", "modinfo aufs"),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-userns-not-allowed",
        _F,
        "aufs cannot be mounted in a user namespace",
        "Only root on the host can mount aufs, unless the module was loaded with allow_userns=1.",
        "Mount as root on the host, reload the module with the parameter, or use overlay.",
        ("modprobe -r aufs && modprobe aufs allow_userns=1",),
        ("cat /sys/module/aufs/parameters/allow_userns",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-duplicated",
        _F,
        "A branch was named twice",
        "A directory can be in an aufs only once; the kernel reports a second one as 'duplicated'.",
        "Name each branch once.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-overlapping",
        _F,
        "One branch is inside another",
        "A file would be in two branches at once, and a whiteout in one would hide it in both. "
        "aufs refuses a branch that contains another branch or is inside one.",
        "Use directories that do not contain each other.",
        ("{command}",),
        ("realpath {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-fs-unsupported",
        _F,
        "A branch is on a filesystem that aufs does not support",
        "aufs does not accept branches on pseudo filesystems, ramfs, ecryptfs, aufs, or stacked "
        "filesystems such as overlay, which is usually the root filesystem of a container.",
        "Put the branch on a disk filesystem or on tmpfs.",
        ("findmnt -T {path}",),
        ("findmnt -T {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-readonly-fs",
        _F,
        "A writable branch is on a read-only filesystem",
        "For a rw branch the filesystem, the mount and the directory must be writable. The first "
        "branch is rw by default.",
        "Make the branch read-only (=ro), or make its filesystem writable.",
        ("{command}",),
        ("findmnt -no OPTIONS -T {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-no-hard-links",
        _F,
        "A writable branch is on a filesystem without hard links",
        "aufs creates whiteouts as hard links to one file, and vfat and similar filesystems do not "
        "support hard links.",
        "Give the branch the attribute +nolwh, and mount with noplink.",
        ("{command}",),
        ("findmnt -T {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-no-writable-branch",
        Severity.WARNING,
        "No branch is writable",
        "aufs expects the first branch to be rw. Without a writable branch the mount is "
        "effectively read-only, and the xino file goes to /tmp.",
        "Make the first branch rw, or mount read-only (-r) if that is intended.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-shwh-writable",
        Severity.WARNING,
        "Whiteouts are shown on a writable mount",
        "With shwh, deleted files are listed as their whiteouts, and programs that see them can "
        "change them. aufs accepts it, but logs that it should be used with ro.",
        "Mount read-only, or remove shwh.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-xino-fs-unsupported",
        _F,
        "The xino file would be on a filesystem that cannot hold it",
        "aufs keeps its inode numbers in a file on the first writable branch, or else in /tmp. "
        "xfs, btrfs, overlay, NFS and FUSE cannot hold this file. mount(8) reports only 'wrong fs "
        "type'.",
        "Put it on a tmpfs (xino=/dev/shm/aufs.xino), or do without it (noxino).",
        ("{command}",),
        ("findmnt -T {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-xino-exists",
        _F,
        "The path of the xino file already exists",
        "aufs always creates its xino file and never reuses an existing file, which might belong "
        "to another mount or to you.",
        "Use a path that does not exist, in a directory that does.",
        ("{command}",),
        ("ls -ld {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-xino-directory-missing",
        _F,
        "The directory of the xino file does not exist",
        "aufs creates the file, but not its directory. mount(8) then reports 'special device none "
        "does not exist'.",
        "Create the directory, or use another path.",
        ("mkdir -p {path}",),
        ("ls -ld {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-br-syntax",
        _F,
        "The list of branches is malformed",
        "br= or dirs= lists the branches, separated by colons, each with =PERMISSION. aufs drops "
        "an empty branch together with all that follow, and a path cannot contain ',', ':' or '='.",
        "Put one colon between two branches, and write br= with an equals sign.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-br-colon-new-mount-api",
        _F,
        "br: with a colon does not work with the new mount API",
        "util-linux 2.39 and later pass options one by one, and the kernel takes br:/a for the "
        "name of an unknown option. br= works everywhere.",
        "Write br= instead of br:.",
        ("{command}",),
        ("mount --version",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-permission-unknown",
        _W,
        "aufs does not know a branch permission or attribute",
        "aufs treats an unknown permission as ro and drops an unknown attribute, and says so only "
        "in the kernel log. On the first branch, that leaves nothing writable.",
        "Use rw, ro or rr, with an attribute that it supports (ro+wh, rw+nolwh, ...).",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-too-many-branches",
        _F,
        "There are more branches than aufs supports",
        "The limit is compiled in, usually as 127 (early versions of Docker stopped at a 'max "
        "depth' of 42). More than about 84 in one call crash some kernels, so layerctl adds the "
        "rest by remounting.",
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
        "Update aufs, or put the writable branch on ext4 or tmpfs.",
        (),
        ("uname -r", "modinfo aufs | grep version"),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-dirperm1-info",
        Severity.INFO,
        "aufs mentions dirperm1 (harmless)",
        "With dirperm1 only the permissions of the topmost directory count, so those of lower "
        "directories no longer protect anything. Docker sets it on purpose.",
        "No action is needed.",
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-entry-and-whiteout-conflict",
        _W,
        "A branch contains both a name and its whiteout",
        "aufs considers a branch with both NAME and .wh.NAME broken and answers EIO for that name. "
        "A crash, merging branches by copying, or another program writing there can cause it.",
        "Remove the whiteout (or the file) from the branch while it is not mounted.",
        ("rm {path}/.wh.NAME",),
        ("find {path} -name '.wh.*'",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-kernel-version-mismatch",
        _F,
        "This aufs was built for another kernel version",
        "aufs depends on kernel internals. Built for another release, it may mount and then fail "
        "or warn in VFS functions whose rules have changed.",
        "Build the aufs-standalone branch that matches the kernel version.",
        (),
        ("uname -r", "modinfo aufs | grep version"),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-tools-missing",
        _W,
        "aufs-tools are not installed",
        "auplink flushes pseudo-links before unmounting, and mount.aufs helps mount(8). Without "
        "them, hard links made through aufs can break after unmounting.",
        "Install aufs-tools, or mount with noplink.",
        ("apt install aufs-tools",),
        ("command -v auplink",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-udba-needs-xino",
        _W,
        "udba=notify needs the xino file",
        "aufs watches its branches by inode number, and keeps the numbers in the xino file. It "
        "cannot do that with noxino.",
        "Give it an xino file, or use udba=reval.",
        ("{command}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-attributes-differ",
        Severity.INFO,
        "The branches' root directories differ in owner or mode (harmless)",
        "aufs reports that a branch's root directory has a different owner or mode than the "
        "topmost one, whose permissions count.",
        "If it matters, give the branches the same owner and mode.",
        ("chmod --reference={upper} {path}",),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-branch-changed-underneath",
        _W,
        "A branch was changed directly, not through the mount",
        "aufs holds the root directories of its branches. If one is moved, removed or replaced, or "
        "if an entry is changed directly, accesses can fail.",
        "Mount it again, and change files only through the merged tree (or use udba=notify).",
        ("umount {target}", "{command}"),
        links=(AUFS_DOC,),
    ),
    Cause(
        "aufs-io-error",
        _W,
        "aufs could not recover from an error",
        "An operation on a branch failed, or aufs could not maintain its own files there "
        "(.wh..wh.*). The number is the negated errno.",
        "Look for errors of the branch's filesystem in the kernel log, then mount it again.",
        (),
        ("dmesg | tail -50",),
        links=(AUFS_DOC,),
    ),
)

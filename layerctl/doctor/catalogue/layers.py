"""Causes that lie in the directories of a stack and how they lie to each other."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import OVERLAY_DOC, USERNS_DOC, Cause, table
from layerctl.model import Severity

_F = Severity.FAILURE

CAUSES = table(
    Cause(
        "missing-layer-directory",
        _F,
        "A directory of the stack does not exist",
        "The kernel resolves every layer's path when it mounts, and takes nothing that is not "
        "there. mount(8) then says 'special device overlay does not exist', since ENOENT of "
        "mount(2) may mean either.",
        "Create the directory, or correct the path (a relative one is taken from the working "
        "directory of who mounts).",
        ("mkdir -p {path}",),
        ("ls -ld {path}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "layer-not-a-directory",
        _F,
        "A layer is not a directory",
        "A layer is a directory of a mounted filesystem. An image file or a block device holds a "
        "filesystem, but must be mounted first, and its mount point named.",
        "Name a directory; mount an image first and name where it is mounted.",
        ("mount -o loop,ro {path} MOUNTPOINT",),
        ("stat -L {path}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "layer-not-reachable",
        _F,
        "A directory of the stack cannot be reached",
        "The kernel walks to each layer with the rights of who mounts, through every directory on "
        "the way. A directory that may not be entered, a loop of symbolic links or a dead network "
        "or FUSE mount on the way ends the walk.",
        "See what stands in the way: every directory of the path needs the right to be entered.",
        ("namei -l {path}",),
        ("ls -ld {path}",),
    ),
    Cause(
        "untrusted-symlink",
        _F,
        "A symbolic link on the way belongs to somebody else",
        "Who may write to the directory that holds the link can change it at any moment, so that "
        "root would mount, make or remove something elsewhere. Links are followed only where root "
        "and the caller alone can have put them.",
        "Name the directory itself, without the link.",
        ("realpath {path}",),
        ("namei -l {path}",),
    ),
    Cause(
        "swappable-directory",
        Severity.WARNING,
        "A directory can be replaced by another user",
        "Somebody else may write to a directory on the way, and can put another directory in the "
        "place of this one. layerctl opens it once and mounts what it checked, but not what is "
        "found under its name later: changing a layer of a live overlay is undefined.",
        "Keep upper, work and target below directories that only root can write to.",
        (),
        ("namei -l {path}",),
    ),
    Cause(
        "too-few-layers",
        _F,
        "There are too few layers",
        "An overlay is made of at least one lower layer and an upper one, or of two lower layers. "
        "Without an upper directory one lower layer would be nothing but a bind mount.",
        "Name an upper directory or a second lower layer; to see one directory elsewhere, bind it.",
        ("mount --bind {lower} {target}",),
        links=(OVERLAY_DOC + "#multiple-lower-layers",),
    ),
    Cause(
        "too-many-layers",
        _F,
        "There are more lower layers than overlay takes",
        "OVL_MAX_STACK, 500, is compiled into the kernel; data-only layers count too. Some "
        "releases around 6.7 took only 499 in one lowerdir list.",
        "Merge some layers into one directory, or mount a part of them and use that mount as one "
        "lower layer.",
        links=(OVERLAY_DOC + "#multiple-lower-layers",),
    ),
    Cause(
        "missing-workdir",
        _F,
        "An upper directory needs a work directory",
        "Overlay prepares files in the work directory and renames them into the upper one, so that "
        "no half-copied file is ever seen. It is an empty directory on the upper one's mount.",
        "Make an empty directory beside the upper one and name it.",
        ("mkdir -p {work}", "{command}"),
        since="3.18",
        links=(OVERLAY_DOC + "#upper-and-lower",),
    ),
    Cause(
        "workdir-upperdir-different-mount",
        _F,
        "The upper and the work directory are not on the same mount",
        "Overlay renames finished files from work to upper, and a rename cannot leave its mount. "
        "Even two bind mounts of one filesystem are two mounts.",
        "Put the work directory beside the upper one.",
        ("mkdir -p {work}", "{command}"),
        ("findmnt -T {upper}", "findmnt -T {oldwork}"),
        links=(OVERLAY_DOC + "#upper-and-lower",),
    ),
    Cause(
        "workdir-upperdir-not-separate",
        _F,
        "The upper and the work directory lie one inside the other",
        "What overlay prepares in the work directory would show up as content of the upper layer. "
        "The kernel wants two trees apart from each other on one mount.",
        "Use two directories side by side.",
        ("mkdir -p {work}", "{command}"),
        links=(OVERLAY_DOC + "#upper-and-lower",),
    ),
    Cause(
        "workdir-not-empty",
        Severity.WARNING,
        "The work directory is not empty",
        "Overlay uses the folder 'work' inside it and clears that at each mount; what else lies "
        "there stays and may be mistaken for the stack's own. What cannot be cleared makes the "
        "mount fall back to read-only.",
        "Give each overlay an empty work directory of its own.",
        ("mkdir -p {work}", "{command}"),
        ("find {work} -mindepth 1",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "workdir-not-writable-mounted-ro",
        Severity.WARNING,
        "The work directory cannot be used: the mount comes out read-only",
        "Overlay makes a folder 'work' in it, and where that fails it does not refuse: it mounts "
        "read-only with one line in the kernel log. Full, immutable and pseudo filesystems do "
        "this.",
        "Make the work directory writable (space, inodes, chattr -i), then mount again.",
        ("chattr -i {work}", "{command}"),
        ("mkdir {work}/probe && rmdir {work}/probe", "df -h {work}", "df -i {work}"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "overlapping-layers",
        _F,
        "Two layers are one directory, or one lies inside the other",
        "One file would be in two layers at once, and a change in one would change the other. "
        "Since 5.2 the kernel answers ELOOP ('too many levels of symbolic links') where it sees "
        "it; no symbolic link has to do with it.",
        "Name each directory once, and none inside another.",
        ("{command}",),
        ("realpath {path}",),
        since="4.19",
        links=(OVERLAY_DOC + "#changes-to-underlying-filesystems",),
    ),
    Cause(
        "mountpoint-overlaps-layer",
        Severity.WARNING,
        "The target lies in a layer, or is one",
        "The layer's own files hide behind the mount, and who walks the layer meets the merged "
        "tree inside it. The kernel takes it and calls what comes of changes undefined.",
        "Mount on a directory that is in no layer.",
        ("mkdir -p {newtarget}", "{command}"),
        ("findmnt -T {target}",),
        links=(OVERLAY_DOC + "#changes-to-underlying-filesystems",),
    ),
    Cause(
        "target-is-a-lower",
        Severity.WARNING,
        "The target is one of the mount's own lower layers",
        "The mount covers that directory: its files are then reached only through the overlay, "
        "which is a usual way to make a directory writable without changing it. The lower layer "
        "itself stays as it is beneath the mount, where layerctl reads it; another program finds "
        "it only where its filesystem is mounted a second time.",
        "Nothing, if that is meant. Else mount on another directory.",
        ("mkdir -p {newtarget}", "{command}"),
        ("findmnt -T {target}",),
    ),
    Cause(
        "layer-covered",
        Severity.INFO,
        "A mount covers the directory of a layer",
        "The kernel uses the directory that it found when it mounted; what has that name now is "
        "another one. layerctl reads the layer beneath the mount that covers it. Other programs "
        "do not, and the same mount command would now take the other directory.",
        "Nothing, if that is meant. Else unmount what covers the layer.",
        (),
        ("findmnt -A {path}",),
    ),
    Cause(
        "target-missing",
        _F,
        "The target directory does not exist",
        "A mount covers a directory that is there. The kernel makes none.",
        "Create the directory, or let --mkdir do it.",
        ("mkdir -p {target}",),
        ("ls -ld {target}",),
    ),
    Cause(
        "target-not-a-directory",
        _F,
        "The target is not a directory",
        "The root of an overlay or aufs is a directory, and only a directory can be covered by "
        "one. The kernel answers ENOTDIR.",
        "Name a directory as the target.",
        ("mkdir -p {newtarget}", "{command}"),
        ("stat -L {target}",),
    ),
    Cause(
        "mount-ordering-lower-not-mounted",
        _F,
        "A layer lies on a filesystem that is not mounted yet",
        "The directory appears only when another mount is there: at boot, or in an fstab, the "
        "overlay came first. The kernel sees a path that leads nowhere, or an empty directory.",
        "Mount the layer's filesystem first, and say so: x-systemd.requires-mounts-for= in the "
        "fstab line, or depends in the initramfs.",
        ("mount {mountpoint}", "{command}"),
        ("findmnt {mountpoint}", "findmnt --fstab"),
        links=("https://www.freedesktop.org/software/systemd/man/latest/systemd.mount.html",),
    ),
    Cause(
        "lowerdir-in-use-as-upper",
        _F,
        "A lower layer is the upper or work directory of another overlay",
        "Files that the other overlay writes would change below this one. With index=on (a kernel "
        "default on some distributions) the kernel answers EBUSY; without it, it takes it with a "
        "warning.",
        "Unmount the other overlay first, or mount with index=off where nothing writes to it.",
        ("umount {other}", "{command}"),
        ("findmnt -t overlay -o TARGET,OPTIONS",),
        since="4.13",
        links=(OVERLAY_DOC + "#sharing-and-copying-layers",),
    ),
    Cause(
        "upperdir-in-use-index-on",
        _F,
        "The upper or work directory belongs to another overlay that is mounted",
        "An upper and a work directory serve one overlay at a time. With index=on the kernel holds "
        "that (EBUSY); the other mount may be in another mount namespace, such as a container's.",
        "Unmount the other overlay, or use an upper and a work directory of its own for each.",
        ("umount {other}", "{command}"),
        ("grep -l {upper} /proc/[0-9]*/mountinfo",),
        since="4.13",
        links=(OVERLAY_DOC + "#sharing-and-copying-layers",),
    ),
    Cause(
        "upper-shared-warning",
        Severity.WARNING,
        "The upper or work directory is used by another overlay at the same time",
        "Without index=on the kernel only warns: two overlays write to one upper directory, and "
        "what both then show is undefined. Some engines do it on purpose for nested mounts.",
        "Use an upper and a work directory of its own for each overlay.",
        ("mkdir -p {newupper} {newwork}", "{command}"),
        ("grep -l {upper} /proc/[0-9]*/mountinfo",),
        since="4.13",
        links=(OVERLAY_DOC + "#sharing-and-copying-layers",),
    ),
    Cause(
        "volatile-incompat-dirty",
        _F,
        "The work directory bears the mark of a volatile mount",
        "An overlay mounted with volatile never syncs, so a crash may leave its upper layer "
        "half-written. The kernel marks the work directory and refuses it afterwards, clean or "
        "not, until the mark is taken away.",
        "If the data is good, or can be lost, remove the mark; else start with a fresh upper.",
        ("rm -r {work}/work/incompat", "{command}"),
        ("ls -R {work}/work/incompat",),
        since="5.10",
        links=(OVERLAY_DOC + "#volatile-mount",),
    ),
    Cause(
        "index-estale-lower-changed",
        _F,
        "The upper layer belongs to other lower layers than these",
        "With index=on (and with nfs_export) the upper root and the index remember the layers that "
        "they were made with, by file handle. Other layers, or copies of them, answer ESTALE; no "
        "NFS has to do with it.",
        "Mount with the first layers, or start with a fresh work directory and upper mark, or "
        "mount with index=off.",
        ("{command}",),
        ("getfattr -d -m trusted.overlay -e hex {upper}", "ls {work}/index"),
        since="4.13",
        links=(OVERLAY_DOC + "#index",),
    ),
    Cause(
        "lowerdir-submounts-hidden",
        Severity.WARNING,
        "Mounts inside a lower layer do not show in the overlay",
        "An overlay sees each layer's own filesystem, not what is mounted inside it: the directory "
        "below shows up, usually empty. It is so by design, since layers are private clones.",
        "Name the submount's directory as a layer of its own overlay, or bind it into the merged "
        "tree after mounting.",
        ("{command}", "mount --bind {submount} {target}/{inner}"),
        ("findmnt -R {lower}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "userns-lower-with-submounts",
        _F,
        "In a user namespace a lower layer must not have locked submounts",
        "A mount that came with the namespace may hide something below it. The kernel refuses to "
        "clone such a layer ('failed to clone lowerpath'), since the overlay would show it.",
        "Use a layer without mounts inside it, or a copy of it (a bind mount of the tree keeps "
        "the lock).",
        ("mkdir -p {scratch}", "cp -ax {lower}/. {scratch}", "{command}"),
        ("findmnt -R {lower}",),
        since="5.11",
        links=(USERNS_DOC,),
    ),
    Cause(
        "leaked-mount-busy",
        _F,
        "Something still holds the mount or the directory (EBUSY)",
        "A process has a file open or its working directory inside, or another mount namespace "
        "has a copy of the mount. umount answers 'target is busy', and so does removing the "
        "directory below.",
        "End or move the holder; umount -l only hides the mount until the last one lets go.",
        ("umount {target}",),
        ("fuser -vm {target}", "grep -l {target} /proc/[0-9]*/mountinfo"),
    ),
    Cause(
        "layer-modified-while-mounted",
        Severity.WARNING,
        "A layer was changed underneath a mount",
        "The kernel keeps what it looked up once. Whoever changes a layer behind the mount sees "
        "old names, missing files or ESTALE; the documentation calls it undefined.",
        "Change files through the merged tree alone; unmount before the layers are changed, or "
        "mount again now.",
        ("umount {target}", "{command}"),
        links=(OVERLAY_DOC + "#changes-to-underlying-filesystems",),
    ),
)

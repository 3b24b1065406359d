"""Causes in the directories of a stack and their relations."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import OVERLAY_DOC, USERNS_DOC, Cause, table
from layerctl.model import Severity

_F = Severity.FAILURE

CAUSES = table(
    Cause(
        "missing-layer-directory",
        _F,
        "A directory of the stack does not exist",
        "The kernel resolves the path of every layer at mount time. If one does not exist, "
        "mount(8) may report 'special device overlay does not exist', because ENOENT from mount(2) "
        "can mean either.",
        "Create the directory, or correct the path (relative paths start at the caller's working "
        "directory).",
        ("mkdir -p {path}",),
        ("ls -ld {path}",),
        links=(OVERLAY_DOC,),
        foreseen=True,
    ),
    Cause(
        "layer-not-a-directory",
        _F,
        "A layer is not a directory",
        "A layer is a directory in a mounted filesystem. layerctl mount attaches images that are "
        "lower layers; for other programs an image or a block device must be mounted first.",
        "Name a directory; if it is an image, mount it first and name its mount point.",
        ("mount -o loop,ro {path} MOUNTPOINT",),
        ("stat -L {path}",),
        links=(OVERLAY_DOC,),
        foreseen=True,
    ),
    Cause(
        "layer-not-reachable",
        _F,
        "A directory of the stack cannot be reached",
        "The kernel looks up each layer with the caller's credentials. The lookup fails if a "
        "directory on the path lacks search permission, or if there is a loop of symbolic links or "
        "a dead network or FUSE mount.",
        "Check every directory on the path: each needs search permission.",
        ("namei -l {path}",),
        ("ls -ld {path}",),
        foreseen=True,
    ),
    Cause(
        "untrusted-symlink",
        _F,
        "A symbolic link on the path belongs to another user",
        "Anyone who can write to the directory that contains the link can change it at any time, "
        "and make root mount, create or remove something elsewhere. layerctl follows only links "
        "that root or the caller put there.",
        "Name the directory itself instead of the link.",
        ("realpath {path}",),
        ("namei -l {path}",),
    ),
    Cause(
        "swappable-directory",
        Severity.WARNING,
        "A directory can be replaced by another user",
        "Another user can write to a directory on the path and put another directory in place of "
        "this one. layerctl opens the directory once and mounts what it checked, but cannot "
        "prevent a later replacement; changing a layer of a mounted overlay is undefined.",
        "Keep upper, work and target in directories that only root can write to.",
        (),
        ("namei -l {path}",),
    ),
    Cause(
        "too-few-layers",
        _F,
        "There are too few layers",
        "An overlay needs at least one lower and one upper layer, or two lower layers. One lower "
        "layer without an upper is only a bind mount.",
        "Add an upper directory or a second lower layer; to show one directory elsewhere, use a "
        "bind mount.",
        ("mount --bind {lower} {target}",),
        links=(OVERLAY_DOC + "#multiple-lower-layers",),
    ),
    Cause(
        "too-many-layers",
        _F,
        "There are more lower layers than overlay supports",
        "The limit of 500 (OVL_MAX_STACK) is compiled into the kernel and includes data-only "
        "layers. Some releases around 6.7 accept only 499 in one lowerdir= list.",
        "Merge some layers into one directory, or mount some of them first and use that mount as "
        "one lower layer.",
        links=(OVERLAY_DOC + "#multiple-lower-layers",),
        foreseen=True,
    ),
    Cause(
        "missing-workdir",
        _F,
        "An upper directory needs a work directory",
        "Overlay prepares files in the work directory and renames them into the upper one, so that "
        "nobody ever sees a partial copy. It must be an empty directory on the same mount as the "
        "upper directory.",
        "Create an empty directory next to the upper directory, and name it.",
        ("mkdir -p {work}", "{command}"),
        since="3.18",
        links=(OVERLAY_DOC + "#upper-and-lower",),
        of_upper=True,
    ),
    Cause(
        "workdir-upperdir-different-mount",
        _F,
        "The upper and the work directory are not on the same mount",
        "Overlay renames finished files from work to upper, and a rename cannot cross mounts. Two "
        "bind mounts of one filesystem are also two mounts.",
        "Put the work directory next to the upper directory.",
        ("mkdir -p {work}", "{command}"),
        ("findmnt -T {upper}", "findmnt -T {oldwork}"),
        links=(OVERLAY_DOC + "#upper-and-lower",),
        of_upper=True,
        foreseen=True,
    ),
    Cause(
        "workdir-upperdir-not-separate",
        _F,
        "The upper and work directories contain each other",
        "Temporary files in the work directory would show up in the upper layer. The kernel "
        "requires two separate directory trees on one mount.",
        "Use two separate directories next to each other.",
        ("mkdir -p {work}", "{command}"),
        links=(OVERLAY_DOC + "#upper-and-lower",),
        of_upper=True,
        foreseen=True,
    ),
    Cause(
        "workdir-not-empty",
        Severity.WARNING,
        "The work directory is not empty",
        "Overlay uses the subdirectory 'work' in it and clears that at each mount; anything else "
        "stays and may be mistaken for overlay's own files. If clearing fails, the mount falls "
        "back to read-only.",
        "Give each overlay its own empty work directory.",
        ("mkdir -p {work}", "{command}"),
        ("find {work} -mindepth 1",),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "workdir-not-writable-mounted-ro",
        Severity.WARNING,
        "The work directory is unusable, so the mount becomes read-only",
        "Overlay creates a subdirectory 'work' in it. If that fails, it does not refuse the mount, "
        "but mounts read-only with one line in the kernel log. This happens on full, immutable and "
        "pseudo filesystems.",
        "Make the work directory writable (space, inodes, chattr -i), then mount again.",
        ("chattr -i {work}", "{command}"),
        ("mkdir {work}/probe && rmdir {work}/probe", "df -h {work}", "df -i {work}"),
        links=(OVERLAY_DOC,),
        of_upper=True,
    ),
    Cause(
        "overlapping-layers",
        _F,
        "Two layers are the same directory, or one contains the other",
        "A file would be in two layers at once, and a change in one would change the other. If it "
        "detects that, the kernel (5.2 or later) answers ELOOP ('too many levels of symbolic "
        "links'), although no symbolic link is involved.",
        "Name each directory once, and none that contains another.",
        ("{command}",),
        ("realpath {path}",),
        since="4.19",
        links=(OVERLAY_DOC + "#changes-to-underlying-filesystems",),
        foreseen=True,
    ),
    Cause(
        "mountpoint-overlaps-layer",
        Severity.WARNING,
        "The target is a layer or inside one",
        "The mount hides files of the layer, and the merged tree appears inside the layer. The "
        "kernel allows this, but the result of changes is undefined.",
        "Mount on a directory outside all layers.",
        ("mkdir -p {newtarget}", "{command}"),
        ("findmnt -T {target}",),
        links=(OVERLAY_DOC + "#changes-to-underlying-filesystems",),
    ),
    Cause(
        "target-is-a-lower",
        Severity.WARNING,
        "The target is one of the mount's own lower layers",
        "The mount covers that directory, so its files are reached only through the overlay. This "
        "is a common way to make a directory writable without changing it. The lower layer itself "
        "stays unchanged beneath the mount, where layerctl reads it; other programs can reach it "
        "only if its filesystem is mounted a second time.",
        "No action is needed if this is intended. Otherwise mount on another directory.",
        ("mkdir -p {newtarget}", "{command}"),
        ("findmnt -T {target}",),
    ),
    Cause(
        "layer-covered",
        Severity.INFO,
        "A mount covers the directory of a layer",
        "The kernel uses the directory that it found at mount time; another directory has that "
        "name now. layerctl reads the layer beneath the mount that covers it. Other programs do "
        "not, and the same mount command would now use the other directory.",
        "No action is needed if this is intended. Otherwise unmount what covers the layer.",
        (),
        ("findmnt -A {path}",),
    ),
    Cause(
        "target-missing",
        _F,
        "The target directory does not exist",
        "A mount needs an existing directory as its mount point. The kernel does not create one.",
        "Create the directory, or use --mkdir.",
        ("mkdir -p {target}",),
        ("ls -ld {target}",),
        foreseen=True,
    ),
    Cause(
        "target-not-a-directory",
        _F,
        "The target is not a directory",
        "The root of an overlay or aufs is a directory, so it can be mounted only on a directory. "
        "The kernel answers ENOTDIR.",
        "Name a directory as the target.",
        ("mkdir -p {newtarget}", "{command}"),
        ("stat -L {target}",),
        foreseen=True,
    ),
    Cause(
        "mount-ordering-lower-not-mounted",
        _F,
        "A layer is on a filesystem that is not mounted yet",
        "The directory exists only once another filesystem is mounted, but at boot or in fstab the "
        "overlay came first. The kernel finds no directory there, or an empty one.",
        "Mount the layer's filesystem first, and declare the dependency: "
        "x-systemd.requires-mounts-for= in the fstab line, or depends in the initramfs.",
        ("mount {mountpoint}", "{command}"),
        ("findmnt {mountpoint}", "findmnt --fstab"),
        links=("https://www.freedesktop.org/software/systemd/man/latest/systemd.mount.html",),
        foreseen=True,
    ),
    Cause(
        "lowerdir-in-use-as-upper",
        _F,
        "A lower layer is the upper or work directory of another overlay",
        "Writes to the other overlay would change a lower layer of this one. With index=on (the "
        "default on some distributions) the kernel answers EBUSY; without it, it mounts with a "
        "warning.",
        "Unmount the other overlay first, or mount with index=off if nothing writes to it.",
        ("umount {other}", "{command}"),
        ("findmnt -t overlay -o TARGET,OPTIONS",),
        since="4.13",
        links=(OVERLAY_DOC + "#sharing-and-copying-layers",),
    ),
    Cause(
        "upperdir-in-use-index-on",
        _F,
        "The upper or work directory is in use by another mounted overlay",
        "An upper and a work directory can serve only one overlay at a time. With index=on the "
        "kernel enforces that (EBUSY). The other mount may be in another mount namespace, such as "
        "a container's.",
        "Unmount the other overlay, or use separate upper and work directories for each.",
        ("umount {other}", "{command}"),
        ("grep -l {upper} /proc/[0-9]*/mountinfo",),
        since="4.13",
        links=(OVERLAY_DOC + "#sharing-and-copying-layers",),
        of_upper=True,
    ),
    Cause(
        "upper-shared-warning",
        Severity.WARNING,
        "Another overlay uses the upper or work directory at the same time",
        "Without index=on the kernel only warns. Two overlays then write to one upper directory, "
        "and the result is undefined. Some engines do this on purpose for nested mounts.",
        "Use separate upper and work directories for each overlay.",
        ("mkdir -p {newupper} {newwork}", "{command}"),
        ("grep -l {upper} /proc/[0-9]*/mountinfo",),
        since="4.13",
        links=(OVERLAY_DOC + "#sharing-and-copying-layers",),
        of_upper=True,
    ),
    Cause(
        "volatile-incompat-dirty",
        _F,
        "The work directory was used by a volatile mount",
        "An overlay mounted with volatile never syncs, so a crash may leave the upper layer "
        "half-written. The kernel marks the work directory and refuses it afterwards, whether or "
        "not there was a crash, until the marker is removed.",
        "If the data is intact or expendable, remove the marker; otherwise start with a new upper "
        "directory.",
        ("rm -r {work}/work/incompat", "{command}"),
        ("ls -R {work}/work/incompat",),
        since="5.10",
        links=(OVERLAY_DOC + "#volatile-mount",),
        of_upper=True,
    ),
    Cause(
        "index-estale-lower-changed",
        _F,
        "The upper layer belongs to different lower layers",
        "With index=on or nfs_export=on, the upper root and the index record the original layers "
        "by file handle. With other layers, or copies of them, the kernel answers ESTALE, although "
        "no NFS is involved.",
        "Mount with the original layers or with index=off, or use a new work directory and remove "
        "trusted.overlay.origin from the upper directory.",
        ("{command}",),
        ("getfattr -d -m trusted.overlay -e hex {upper}", "ls {work}/index"),
        since="4.13",
        links=(OVERLAY_DOC + "#index",),
    ),
    Cause(
        "lowerdir-submounts-hidden",
        Severity.WARNING,
        "Mounts inside a lower layer are not visible in the overlay",
        "An overlay sees the layer's own filesystem, not what is mounted inside it; the mount "
        "point shows up as a directory, usually empty. This is by design, because layers are "
        "private clones.",
        "Make a separate overlay for the submount, or bind it into the merged tree after mounting.",
        ("{command}", "mount --bind {submount} {target}/{inner}"),
        ("findmnt -R {lower}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "userns-lower-with-submounts",
        _F,
        "In a user namespace, a lower layer cannot have locked submounts",
        "A mount inherited by the namespace may hide something beneath it. The kernel refuses to "
        "clone such a layer ('failed to clone lowerpath'), because the overlay would reveal it.",
        "Use a layer without mounts inside it, or a copy of it (a bind mount of the tree keeps the "
        "submounts locked).",
        ("mkdir -p {scratch}", "cp -ax {lower}/. {scratch}", "{command}"),
        ("findmnt -R {lower}",),
        since="5.11",
        links=(USERNS_DOC,),
    ),
    Cause(
        "leaked-mount-busy",
        _F,
        "The mount or the directory is busy (EBUSY)",
        "A process has a file open or its working directory there, or another mount namespace has "
        "a copy of the mount. umount reports 'target is busy', and removing the directory fails as "
        "well.",
        "Stop what is using it; umount -l only detaches the mount, which stays until the last user "
        "is gone.",
        ("umount {target}",),
        ("fuser -vm {target}", "grep -l {target} /proc/[0-9]*/mountinfo"),
    ),
    Cause(
        "layer-modified-while-mounted",
        Severity.WARNING,
        "A layer was changed while it was mounted",
        "The kernel caches lookups. After a direct change to a layer, the mount may show old "
        "names, missing files or ESTALE; the kernel documentation calls the behaviour undefined.",
        "Change files only through the merged tree, and unmount before you change a layer. To "
        "recover, mount it again.",
        ("umount {target}", "{command}"),
        links=(OVERLAY_DOC + "#changes-to-underlying-filesystems",),
    ),
)

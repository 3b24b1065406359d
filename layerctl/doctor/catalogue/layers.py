"""Causes that lie in the directories of a stack and how they lie to each other."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import OVERLAY_DOC, Cause, table
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
        since="5.2",
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
)

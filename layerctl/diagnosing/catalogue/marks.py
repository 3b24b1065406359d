"""Causes that `layerctl check` finds: markers in layers that are wrong, or have no effect."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import AUFS_DOC, OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_W, _F, _I = Severity.WARNING, Severity.FAILURE, Severity.INFO
_REPAIR = "layerctl check --repair={id} -u {upper} -l {lower}"
_DEREF = "layerctl deref -u {upper} -l {lower} --into NEW"
_WHITEOUTS = OVERLAY_DOC + "#whiteouts-and-opaque-directories"
_REDIRECTS = OVERLAY_DOC + "#renaming-directories"
_METACOPY = OVERLAY_DOC + "#metadata-only-copy-up"


def _cause(
    name: str,
    severity: Severity,
    title: str,
    why: str,
    fix: str,
    *links: str,
    mends: bool = True,
    deref: bool = False,
) -> Cause:
    commands = (_REPAIR.replace("{id}", name),) if mends else ((_DEREF,) if deref else ())
    return Cause(name, severity, title, why, fix, commands, links=links or (OVERLAY_DOC,))


CAUSES = table(
    # Whiteouts
    _cause(
        "whiteout-not-merged",
        _W,
        "A whiteout is in a directory that is not merged",
        "The kernel filters whiteouts out of a listing only where it merges layers. In a directory "
        "of one layer the 0:0 device is listed, a lookup of it fails with ENOENT, and rmdir(2) of "
        "the directory fails with ENOTEMPTY.",
        "Remove the whiteout: it hides nothing.",
        _WHITEOUTS,
    ),
    _cause(
        "whiteout-over-nothing",
        _W,
        "A whiteout hides a name that no lower layer has",
        "The kernel creates a whiteout only over a lower file. This one was left when the lower "
        "layer changed, or another program created it. It has no effect.",
        "Remove the whiteout.",
        _WHITEOUTS,
    ),
    _cause(
        "xattr-whiteout-in-upper",
        _W,
        "A whiteout by attribute is in the upper layer",
        "Whiteouts by attribute are meant for lower layers whose directories are marked with "
        "opaque=x. In the upper layer the file is listed, and a lookup of it fails with ENOENT.",
        "Replace it with a 0:0 device.",
        _WHITEOUTS,
    ),
    _cause(
        "xattr-whiteout-not-announced",
        _W,
        "A whiteout by attribute is in a directory that does not announce it",
        "A listing leaves such files out only in a merged directory that is marked with opaque=x, "
        "in this or another layer. Without it, the file is listed, and a lookup of it fails with "
        "ENOENT.",
        "Replace it with a 0:0 device, or remove it if it hides nothing.",
        _WHITEOUTS,
    ),
    _cause(
        "xattr-whiteout-not-empty",
        _W,
        "A file with the whiteout attribute holds data",
        "The kernel takes only an empty file for a whiteout, so this file is visible. Either the "
        "attribute or the data is wrong.",
        "Find out whether the file was deleted; then empty it, or remove the attribute.",
        _WHITEOUTS,
        mends=False,
    ),
    _cause(
        "fuse-opaque-device",
        _W,
        "A marker of fuse-overlayfs is a 0:0 device here",
        "fuse-overlayfs marks opaque directories with a file named .wh..wh..opq. Copied by a "
        "program that turns such files into whiteouts, it is a device that hides nothing.",
        "Remove the device; the directory's attribute keeps it opaque.",
        _WHITEOUTS,
    ),
    # Opaque directories
    _cause(
        "opaque-value",
        _W,
        "The opaque attribute has a value that the kernel ignores",
        "Only 'y' makes a directory opaque, and 'x' announces whiteouts by attribute. With any "
        "other value the directory is merged as if the attribute were missing.",
        "Remove the attribute, or set it to 'y' if lower layers must not show through.",
        _WHITEOUTS,
    ),
    _cause(
        "opaque-without-effect",
        _W,
        "The opaque attribute is where it has no effect",
        "It means something only on a directory below the root of a layer. On a file, and on the "
        "upper layer's own directory, the kernel ignores it.",
        "Remove the attribute.",
        _WHITEOUTS,
    ),
    # Redirects
    _cause(
        "redirect-to-nothing",
        _W,
        "A redirect leads to nothing",
        "No layer below has a directory at the place that the redirect names, so the directory "
        "shows what its own layer holds and nothing else. If a lower layer has a directory of the "
        "same name, that one would be merged once the redirect is removed.",
        "Remove the redirect; make the directory opaque if a lower one has the same name.",
        _REDIRECTS,
    ),
    _cause(
        "redirect-invalid",
        _F,
        "A redirect cannot be read",
        "It must be one name, or an absolute path without empty components. Every lookup of the "
        "directory fails with EINVAL ('invalid redirect').",
        "Remove the redirect; the directory then shows what its own layer holds.",
        _REDIRECTS,
    ),
    _cause(
        "redirect-not-followed",
        _F,
        "A directory has a redirect, and the mount does not follow redirects",
        "With redirect_dir=nofollow, and with userxattr, every lookup of the directory fails with "
        "EPERM ('refusing to follow redirect').",
        "Mount with redirect_dir=follow, if the layers can be trusted, or copy the layer without "
        "redirects by layerctl deref.",
        _REDIRECTS,
        mends=False,
        deref=True,
    ),
    _cause(
        "redirect-uncovered",
        _F,
        "A renamed directory is still visible at its old place",
        "When overlay renames a directory it leaves a whiteout at the old name. Without it, the "
        "two names lead to one directory: the kernel shows the one that is looked up first, and "
        "the other fails with ESTALE.",
        "Put a whiteout at the old place, in the layer that has the redirect.",
        _REDIRECTS,
    ),
    _cause(
        "redirect-twice",
        _F,
        "Two paths lead to one directory of a lower layer",
        "Two directories redirect to it, as after copying a renamed directory within an upper "
        "layer, or one redirects to it that another one is merged with. The kernel shows the one "
        "that is looked up first, and the other fails with ESTALE.",
        "Keep one of the two: a repair lets the other show only what its own layer holds.",
        _REDIRECTS,
    ),
    # Files with metadata only
    _cause(
        "metacopy-without-data",
        _F,
        "The data of a file are missing",
        "The file has only metadata, and no layer below has a file that holds its data. Opening "
        "it fails with EIO ('metacopy with no lower data found').",
        "Restore the lower layer; if it is lost, remove the file.",
        _METACOPY,
    ),
    _cause(
        "metacopy-not-followed",
        _F,
        "A file has only metadata, and the mount does not look for its data",
        "With metacopy=off, every lookup of the file fails with EPERM ('refusing to follow "
        "metacopy origin').",
        "Mount with metacopy=on, if the layers can be trusted, or use layerctl deref.",
        _METACOPY,
        mends=False,
        deref=True,
    ),
    _cause(
        "metacopy-too-short",
        _F,
        "A metacopy attribute is too short",
        "It is empty, or has at least four bytes. With one to three, every lookup of the file "
        "fails with EIO ('has too small xattr').",
        "Remove the file; what it changed is lost, and the lower file shows again.",
        _METACOPY,
    ),
    _cause(
        "metacopy-invalid",
        _W,
        "A metacopy attribute has a wrong version or length",
        "The kernel reads its contents only with verity, and then refuses the file with EIO.",
        "Remove the file, or write the attribute again with the tool that made the layer.",
        _METACOPY,
    ),
    _cause(
        "metacopy-size",
        _F,
        "A file and its data have different sizes",
        "The file has only metadata, and the size in it is not that of the lower file that holds "
        "its data: the lower layer was changed. stat(2) gives one size, and reading another.",
        "Restore the lower layer as it was when the upper one was made.",
        _METACOPY,
        mends=False,
    ),
    _cause(
        "metacopy-over-data",
        _W,
        "A file with the metacopy attribute holds data",
        "The kernel ignores the file's own data and shows those of the lower file. Either the "
        "attribute or the data is wrong.",
        "Find out which data are right; then remove the attribute, or the file.",
        _METACOPY,
    ),
    _cause(
        "data-file-missing",
        _F,
        "A data-only layer lacks a file",
        "The file's redirect names a file of a data-only layer that does not exist. Opening it "
        "fails with ENOENT ('lazy lowerdata lookup failed') or EIO.",
        "Add the missing file to the data-only layer.",
        OVERLAY_DOC + "#data-only-lower-layers",
        mends=False,
    ),
    _cause(
        "verity-digest-missing",
        _F,
        "A file has no digest, and the mount requires one",
        "With verity=require the kernel opens a file with metadata only if its metacopy attribute "
        "holds the digest of its data; else it fails with EIO ('no digest specified').",
        "Write the digest with the tool that made the layer, or mount with verity=on.",
        OVERLAY_DOC + "#fs-verity-support",
        mends=False,
    ),
    _cause(
        "verity-digest-wrong",
        _F,
        "The digest of a file is not that of its data",
        "With verity=on or verity=require the kernel compares the digest in the metacopy attribute "
        "with the fs-verity digest of the data. If they differ, or the data have none, opening the "
        "file fails with EIO ('wrong fs-verity digest', 'no fs-verity digest').",
        "Restore the data file and enable fs-verity on it, as the maker of the layer did.",
        OVERLAY_DOC + "#fs-verity-support",
        mends=False,
    ),
    # Origins and the index
    _cause(
        "origin-invalid",
        _W,
        "The origin of a file cannot be read",
        "The attribute is not a file handle as overlay writes it. The kernel logs 'invalid "
        "origin', and the inode number of the file may change.",
        "Set the attribute to empty, which means that the origin is unknown.",
    ),
    _cause(
        "origin-of-another-type",
        _W,
        "The origin of a file is a file of another type",
        "The inode that it names was reused since. The kernel logs 'invalid origin' with two "
        "types, and goes on without it.",
        "Set the attribute to empty, which means that the origin is unknown.",
    ),
    _cause(
        "origin-twice",
        _F,
        "Two files of the upper layer have the same origin",
        "A copied-up file was copied with its attributes (cp -a) within the upper layer. The "
        "kernel keeps one inode for both: the one that is looked up second fails with ESTALE.",
        "Set the origin of one of them to empty.",
    ),
    _cause(
        "impure-missing",
        _W,
        "A directory holds copied-up files and is not marked impure",
        "Overlay marks a directory impure when it puts a copied-up file into it. Without the "
        "mark, a listing may give other inode numbers than stat(2).",
        "Set the attribute.",
    ),
    _cause(
        "index-other-lower",
        _F,
        "The upper layer was indexed over another lower layer",
        "With index=on, the upper layer remembers the first lower layer. The mount over another "
        "one, or over a copy of it, fails with ESTALE ('failed to verify upper root origin').",
        "Mount it over the right layer. If this is the right one, drop the origin and the index.",
        OVERLAY_DOC + "#inode-properties",
    ),
    _cause(
        "index-other-upper",
        _F,
        "The index belongs to another upper layer",
        "The upper layer was copied or moved together with its work directory. The mount fails "
        "with ESTALE ('failed to verify index dir').",
        "Remove the index: the kernel makes a new one.",
    ),
    _cause(
        "index-foreign-name",
        _F,
        "The index holds a name that is not an entry",
        "The names in it are file handles in hexadecimal. Another one makes the mount fail with "
        "EINVAL ('failed index dir cleanup').",
        "Move it out of the index.",
    ),
    _cause(
        "nlink-invalid",
        _W,
        "The number of names of an indexed file cannot be read",
        "For a file with several names, an index holds one copy, whose attribute must be U or L, a "
        "sign and a number. If it is missing or not, the kernel logs 'failed to get index nlink' "
        "and shows the number of links of the copy.",
        "Write it again for a file in the index; remove it from any other, where nothing reads it.",
    ),
    _cause(
        "protattr-invalid",
        _W,
        "The protected attributes of a file cannot be read",
        "The attribute holds the letters a (append-only) and i (immutable). Anything else is "
        "ignored, with 'incompatible overlay.protattr format' in the kernel log.",
        "Remove the attribute.",
    ),
    _cause(
        "uuid-invalid",
        _W,
        "The UUID of the upper layer cannot be read",
        "It must have 16 bytes. The kernel falls back to uuid=null, so the file system id changes.",
        "Remove the attribute: the kernel writes a new one.",
    ),
    # The work directory
    _cause(
        "uuid-twice",
        _W,
        "Two layers have the same UUID",
        "The upper layer was copied with its attributes. Mounts of the two have the same file "
        "system id (statfs(2), f_fsid), so that programs take them for one. Only the layers of the "
        "stack, and directories near the upper layer, are compared.",
        "Give the upper layer a new UUID.",
    ),
    _cause(
        "workdir-incompat",
        _F,
        "The work directory forbids the mount",
        "A mount with a feature that may leave the upper layer incomplete, such as volatile, "
        "leaves a file in work/incompat if it is not unmounted cleanly. The next mount fails with "
        "EINVAL ('incompat feature').",
        "Check the contents of the upper layer; if they are good, remove the file.",
        OVERLAY_DOC + "#volatile-mount",
    ),
    _cause(
        "workdir-too-deep",
        _F,
        "The work directory holds more than the kernel removes",
        "The kernel empties it at each mount, two levels deep. A full directory below that makes "
        "the mount read-only ('cleanup of ... failed').",
        "Remove the directory.",
    ),
    _cause(
        "workdir-immutable",
        _F,
        "A file in the work directory is immutable",
        "The kernel cannot empty the work directory, so the mount becomes read-only.",
        "Remove the flag with chattr -i.",
    ),
    # Markers of others
    _cause(
        "foreign-marker",
        _I,
        "A marker belongs to the other name space",
        "A mount reads trusted.overlay.* attributes, or user.overlay.* with userxattr, but never "
        "both; fuse-overlayfs has its own. This marker has no effect here.",
        "Mount with userxattr if the layer was made that way, or convert the markers.",
        mends=False,
    ),
    _cause(
        "unknown-marker",
        _I,
        "A marker is unknown",
        "Its name begins as overlay's do, and no release of Linux that layerctl knows writes it. "
        "It is hidden in the merged tree.",
        "Find out which program wrote it.",
        mends=False,
    ),
    _cause(
        "aufs-name-in-overlay",
        _I,
        "A name of aufs is in an overlay",
        "Names that begin with .wh. are whiteouts and opaque markers to aufs, and in OCI layers. "
        "To overlay they are files like any other, and visible.",
        "Convert the markers, or remove the file.",
        mends=False,
    ),
    # aufs
    _cause(
        "aufs-name-and-whiteout",
        _F,
        "A branch holds a name and its whiteout",
        "The two contradict each other: a lookup fails with EIO ('both of real entry and "
        "whiteout').",
        "Remove the whiteout if the file is wanted, or else the file.",
        AUFS_DOC,
        mends=False,
    ),
    _cause(
        "aufs-whiteout-ignored",
        _W,
        "A whiteout has no effect on a read-only branch",
        "aufs reads whiteouts of a read-only branch only if its permission has +wh.",
        "Mount the branch with ro+wh, or remove the whiteout.",
        AUFS_DOC,
        mends=False,
    ),
    _cause(
        "aufs-unknown-name",
        _W,
        "A name is reserved by aufs, and has no meaning",
        "Names that begin with .wh..wh. belong to aufs itself, and it uses no such name.",
        "Find out which program created it.",
        AUFS_DOC,
        mends=False,
    ),
    _cause(
        "aufs-pseudo-link-left",
        _W,
        "A pseudo-link was left in a branch",
        "aufs keeps hard links to copied-up files in .wh..wh.plnk while it is mounted. If it was "
        "not unmounted with auplink or layerctl, the names are separate files now.",
        "Link the names again, then remove the pseudo-link.",
        AUFS_DOC,
        mends=False,
    ),
    _cause(
        "aufs-orphan-left",
        _W,
        "A deleted file was left in a branch",
        "aufs keeps deleted files that are still open in .wh..wh.orph. After a crash they remain.",
        "Remove it.",
        AUFS_DOC,
        mends=False,
    ),
    # layerctl
    _cause(
        "work-unfinished",
        _I,
        "A command of layerctl was interrupted",
        "While layerctl changes the names of a directory, it keeps the directory's times in an "
        "attribute. The merged tree is complete, but the directory has another time than before.",
        "Run the interrupted command again, or only restore the times.",
    ),
)

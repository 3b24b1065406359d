"""The table of the checks of a planned mount."""

from __future__ import annotations

from layerctl.diagnosing.checks import (
    branches,
    layers,
    options,
    overlap,
    stacking,
    storage,
    support,
    work,
)
from layerctl.diagnosing.checks.check import ALL, AUFS, KERNEL, OVERLAY, Check, When
from layerctl.kernel.facts import Facts
from layerctl.model import Stack

_UPPER = (When.UPPER,)
_PROBED_UPPER = (When.UPPER, When.PROBED)

#: In the order in which the kernel would find the problems. A FAILURE is certainly refused by this
#: kernel; what it accepts as undefined is a WARNING.
CHECKS: tuple[Check[[Stack, Facts]], ...] = (
    Check("machine.privilege", "The caller can mount", support.privilege, KERNEL),
    Check(
        "machine.filesystem-type", "The kernel supports the filesystem type",
        support.filesystem_type, KERNEL,
    ),
    Check(
        "machine.user-namespace", "userxattr is set, as a user namespace needs",
        support.user_namespace, OVERLAY, (When.UPPER, When.USER_NAMESPACE),
    ),
    Check(
        "machine.old-kernel", "The kernel lets a user namespace mount overlay",
        support.old_kernel, OVERLAY, (When.USER_NAMESPACE,),
    ),
    Check("machine.sandbox", "The kernel is Linux and no emulation", support.sandbox, KERNEL),
    Check("layers.target", "The target is a directory", layers.target, ALL),
    Check("layers.reachable", "Every layer can be reached", layers.reachable, ALL),
    Check("layers.directories", "No layer is a file or a device", layers.directories, ALL),
    Check(
        "layers.links", "No other user can change a symbolic link on the paths", layers.links, ALL
    ),
    Check(
        "layers.swappable", "No other user can replace a directory that is written to",
        layers.swappable, ALL,
    ),
    Check(
        "storage.upper-read-only", "The upper directory is on a writable mount",
        storage.upper_read_only, OVERLAY, _UPPER,
    ),
    Check(
        "storage.unsupported-upper", "Overlay accepts the filesystem of the upper directory",
        storage.unsupported_upper, OVERLAY, _UPPER,
    ),
    Check(
        "storage.unsupported-layer", "Overlay accepts the filesystem of every layer",
        storage.unsupported_layer, OVERLAY,
    ),
    Check(
        "storage.upper-features", "The upper filesystem has the features that overlay needs",
        storage.upper_features, OVERLAY, _PROBED_UPPER,
    ),
    Check(
        "storage.space", "The upper filesystem has free space and inodes",
        storage.space, OVERLAY, _UPPER,
    ),
    Check(
        "storage.subvolumes", "Upper and work are not in different btrfs subvolumes",
        storage.subvolumes, OVERLAY, _UPPER,
    ),
    Check(
        "storage.idmapped", "The kernel accepts the ID mappings of the layers",
        storage.idmapped, OVERLAY,
    ),
    Check(
        "storage.mappable", "The owners of the layers can be mapped as requested",
        storage.mappable, OVERLAY,
    ),
    Check(
        "storage.casefold", "No layer is case-insensitive, or all are",
        storage.casefold, OVERLAY,
    ),
    Check(
        "stacking.depth", "No layer exceeds the kernel's stacking depth", stacking.depth, OVERLAY
    ),
    Check(
        "stacking.submounts", "No filesystem is mounted inside a layer",
        stacking.submounts, OVERLAY,
    ),
    Check(
        "stacking.cloneable", "No layer contains locked mounts",
        stacking.cloneable, OVERLAY, (When.USER_NAMESPACE, When.PROBED),
    ),
    Check(
        "layers.foreign-marks", "No whiteouts of aufs were found in the layers",
        layers.aufs_whiteouts, OVERLAY,
    ),
    Check(
        "layers.one-mount", "Upper and work are on the same mount",
        layers.one_mount, OVERLAY, _UPPER,
    ),
    Check("layers.apart", "Upper and work are separate directories", layers.apart, OVERLAY, _UPPER),
    Check("overlap.refused", "The lower layers do not overlap", overlap.refused, OVERLAY),
    Check(
        "overlap.undefined", "Upper and work are outside the lower layers",
        overlap.undefined, OVERLAY, _UPPER,
    ),
    Check(
        "overlap.target-in-layer", "The target is outside the layers",
        overlap.target_in_layer, KERNEL,
    ),
    Check(
        "work.incompatible", "No volatile mount has left its marker in the work directory",
        work.incompatible, OVERLAY, _UPPER,
    ),
    Check(
        "work.foreign", "The work directory contains only overlay's own directories",
        work.foreign, OVERLAY, _UPPER,
    ),
    Check("work.cleared", "Overlay can clear the work directory", work.cleared, OVERLAY, _UPPER),
    Check(
        "work.changeable", "The upper directory is neither immutable nor append-only",
        work.changeable, OVERLAY, _UPPER,
    ),
    Check("work.usable", "The work directory is writable", work.usable, OVERLAY, _UPPER),
    Check("work.in-use", "No other overlay uses these directories", work.in_use, OVERLAY),
    Check(
        "work.origin", "No index says that the upper directory belongs to other layers",
        work.origin, OVERLAY, _UPPER,
    ),
    Check(
        "options.known", "The kernel accepts every option",
        options.known, OVERLAY, (When.PROBED,),
    ),
    Check(
        "options.trusted", "No option needs trusted.* attributes",
        options.trusted, OVERLAY, (When.USER_NAMESPACE,),
    ),
    Check(
        "options.follows", "redirect_dir and userxattr can be combined",
        options.follows, OVERLAY, option="userxattr",
    ),
    Check(
        "options.without-effect", "Every option has an effect",
        options.without_effect, OVERLAY, (When.NO_UPPER,),
    ),
    Check(
        "options.export", "NFS export has all that it needs",
        options.export, OVERLAY, option="nfs_export",
    ),
    Check("options.inode-numbers", "xino has an effect", options.inode_numbers, OVERLAY,
          option="xino"),
    Check(
        "options.volatile", "The upper layer survives a crash", options.volatile, OVERLAY, _UPPER
    ),
    Check("options.colons", "No layer name was split at a colon", options.colons, OVERLAY),
    Check(
        "branches.filesystems", "aufs accepts the filesystem of every branch",
        branches.filesystems, AUFS,
    ),
    Check(
        "branches.duplicated", "No branch is the same as another or inside one",
        branches.duplicated, AUFS,
    ),
    Check(
        "branches.read-only", "Every rw branch is on a writable filesystem",
        branches.read_only, AUFS,
    ),
    Check(
        "branches.linkable", "Every writable branch supports hard links, or has +nolwh",
        branches.linkable, AUFS,
    ),
    Check(
        "branches.writable", "The first branch is writable",
        branches.writable, AUFS, (When.WRITABLE,),
    ),
    Check(
        "branches.whiteouts-shown", "Whiteouts are shown on a read-only mount",
        branches.whiteouts_shown, AUFS, option="shwh",
    ),
    Check("branches.xino", "The xino file can be created", branches.xino, AUFS),
)  # fmt: skip

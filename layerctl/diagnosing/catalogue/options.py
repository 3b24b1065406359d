"""Causes in the request: options, their values and the option string."""

from __future__ import annotations

from layerctl.diagnosing.catalogue.cause import MOUNT_API_DOC, OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_F = Severity.FAILURE

CAUSES = table(
    Cause(
        "unknown-type",
        _F,
        "The type is not a layered filesystem",
        "layerctl mounts overlay (which Docker calls overlay2), aufs and fuse-overlayfs.",
        "Use -t overlay, -t aufs or -t fuse-overlayfs.",
        ("grep -E 'overlay|aufs' /proc/filesystems",),
    ),
    Cause(
        "unknown-mount-option-old-kernel",
        _F,
        "The kernel does not know a mount option",
        "The option needs a newer kernel, belongs to another filesystem, or is misspelled. The "
        "kernel refuses the whole mount with EINVAL and names the option in its log: 'Unknown "
        "parameter', or 'unrecognized mount option' before 6.5.",
        "Remove the option, correct it, or use a kernel that supports it.",
        ("{command}",),
        ("uname -r", "dmesg | tail"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "bad-option-value",
        _F,
        "An option has an invalid value",
        "Most overlay options take only on or off. The kernel refuses 1, yes or an empty value "
        "with EINVAL, and logs 'Bad value for'.",
        "Use one of the values that the option takes.",
        ("{command}",),
        ("dmesg | tail",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "conflicting-options",
        _F,
        "Two options cannot be combined",
        "Some features depend on others: metacopy needs redirect_dir, nfs_export needs index and "
        "excludes metacopy, and userxattr excludes redirect_dir and metacopy. The kernel refuses a "
        "conflict between options that were given explicitly.",
        "Remove one of them.",
        ("{command}",),
        ("dmesg | grep 'conflicting options'",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "malformed-option-string",
        _F,
        "The option string is malformed",
        "Colons separate layers, and commas separate options. A separator at the start or end, "
        "three in a row, an empty name or an unclosed quote makes the list invalid, and the kernel "
        "answers EINVAL.",
        "Correct the list, or give each layer separately (-l DIR), which needs no escaping.",
        ("{command}",),
        ("dmesg | tail",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "option-string-too-long",
        _F,
        "The option string is too long for the kernel",
        "mount(2) takes one page (4096 bytes) of options. Many layers or long paths exceed it. "
        "Engines shorten names with links, and beyond that fail with 'max depth exceeded' or with "
        "ENOENT for a truncated name.",
        "Mount through the new mount API, which takes each layer separately (as layerctl does), "
        "use shorter names, or merge layers.",
        ("{command}",),
        ("grep -c . /proc/self/mountinfo", "getconf PAGE_SIZE"),
        links=(MOUNT_API_DOC, OVERLAY_DOC),
        foreseen=True,
    ),
    Cause(
        "option-string-truncated",
        Severity.WARNING,
        "The option string was truncated at one page, so layers are missing",
        "mount(2) silently truncates the string at byte 4095. If that falls between two layers, "
        "the kernel mounts the first part and reports success; the other layers are missing.",
        "Mount through the new mount API, which takes each layer separately (as layerctl does), or "
        "shorten the names.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        links=(MOUNT_API_DOC,),
    ),
    Cause(
        "new-mount-api-string-limit",
        _F,
        "One option is longer than the 255 bytes that fsconfig(2) takes",
        "util-linux 2.39 and later use the new mount API, which takes no value longer than 255 "
        "bytes: a lowerdir= with several long paths fails with EINVAL, where older versions used "
        "mount(2).",
        "Give each layer separately (lowerdir+= since 6.7, as layerctl does), use shorter paths, "
        "or make mount(8) use mount(2).",
        ("LIBMOUNT_FORCE_MOUNT2=always {mountcommand}",),
        ("mount --version",),
        since="5.2",
        links=(MOUNT_API_DOC,),
    ),
    Cause(
        "mount-api-call-limit",
        _F,
        "The new mount API limits the options of one mount on this kernel",
        "Where the kernel's overlay has not been converted to the new mount API, a filesystem "
        "context holds at most one page of options. Larger stacks fail with EINVAL.",
        "Use Linux 6.7 or later, or fewer layers with shorter names.",
        (),
        ("mount --version", "uname -r"),
        links=(MOUNT_API_DOC,),
    ),
    Cause(
        "layers-by-descriptor-unsupported",
        _F,
        "This kernel does not accept layers as file descriptors",
        "Since 6.13, fsconfig(2) accepts a layer as an open file descriptor (FSCONFIG_SET_FD), and "
        "somewhat later also one opened with O_PATH. Older kernels answer EBADF, EINVAL or "
        "EOPNOTSUPP.",
        "Give the layers by name, or as /proc/self/fd/N.",
        (),
        ("uname -r",),
        until="6.13",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "colon-in-path",
        _F,
        "A layer's path contains a colon, which separates layers",
        "In lowerdir= a colon ends a layer's name. An unescaped colon splits the name in two, and "
        "the kernel looks for directories that do not exist.",
        r"Put a backslash before it (\:), or give the layer separately (-l DIR), which needs no "
        r"escaping.",
        ("{command}",),
        ("ls -ld {path}",),
        links=(OVERLAY_DOC + "#multiple-lower-layers",),
        foreseen=True,
    ),
    Cause(
        "comma-in-path",
        _F,
        "A layer's path contains a comma, which separates options",
        "A comma ends an option, and some versions of mount(8) split at it even where the kernel "
        "accepts a backslash. Linux 6.5 had lost the escape for a while.",
        r"Put a backslash before it (\,), or give the layer separately (-l DIR), which needs no "
        r"escaping.",
        ("{command}",),
        ("ls -ld {path}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "context-option-comma-split",
        _F,
        "The commas in a context= option were taken for separators",
        'An SELinux context with categories contains commas, and must be quoted: context="a,b". '
        "Programs and kernels (6.5) that split at every comma pass on only a part of it.",
        "Quote the value, or use a kernel and a mount(8) that handle the quotes.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        since="6.5",
    ),
    Cause(
        "data-layer-needs-metacopy",
        _F,
        "Data-only layers need metacopy=on on this kernel",
        "Only metacopy files refer to a data-only layer ('::'). Up to 6.15 the kernel refuses such "
        "a layer without metacopy=on; since 6.16 it accepts it.",
        "Add metacopy=on (and redirect_dir=on, which it needs).",
        ("{command}",),
        ("uname -r",),
        since="6.5",
        until="6.16",
        links=(OVERLAY_DOC + "#data-only-lower-layers",),
    ),
    Cause(
        "option-without-effect",
        Severity.INFO,
        "An option has no effect here",
        "index, volatile and workdir apply only with an upper layer; xino=on applies to layers on "
        "several filesystems. The kernel accepts such an option, ignores it, and logs that.",
        "Remove it.",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "feature-fell-back",
        Severity.WARNING,
        "A requested feature is switched off",
        "If the filesystems or other options do not allow a feature, overlay mounts without it and "
        "says so only in the kernel log.",
        "Find out which layer lacks what the feature needs; if you do not need the feature, remove "
        "the option.",
        (),
        ("findmnt -no OPTIONS {target}", "dmesg | grep 'falling back'"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "wrong-layer-flag",
        _F,
        "A layer option does not match the filesystem type",
        "Overlay has lower, upper and work directories; aufs has branches.",
        "Use the options of this type, or another type (-t).",
    ),
)

"""Causes that lie in the request: options, their values and how the string was written."""

from __future__ import annotations

from layerctl.doctor.catalogue.cause import MOUNT_API_DOC, OVERLAY_DOC, Cause, table
from layerctl.model import Severity

_F = Severity.FAILURE

CAUSES = table(
    Cause(
        "unknown-type",
        _F,
        "The type is no layered filesystem",
        "layerctl mounts overlay (overlay2 is Docker's name for it) and aufs.",
        "Write -t overlay or -t aufs.",
        ("grep -E 'overlay|aufs' /proc/filesystems",),
    ),
    Cause(
        "unknown-mount-option-old-kernel",
        _F,
        "The kernel does not know a mount option",
        "The option came with a newer kernel than this one, belongs to another filesystem, or is "
        "misspelled. The kernel refuses the whole mount with EINVAL and names it in its log: "
        "'Unknown parameter', before 6.5 'unrecognized mount option'.",
        "Leave the option out, correct it, or use a kernel that knows it.",
        ("{command}",),
        ("uname -r", "dmesg | tail"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "bad-option-value",
        _F,
        "An option has a value that it does not take",
        "Most of overlay's options take on or off and nothing else; 1, yes or an empty value are "
        "refused with EINVAL, and the log says 'Bad value for'.",
        "Write one of the values that the option takes.",
        ("{command}",),
        ("dmesg | tail",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "conflicting-options",
        _F,
        "Two options cannot stand together",
        "Some features rest on others: metacopy needs redirect_dir, nfs_export needs index and "
        "cannot have metacopy, userxattr has neither. The kernel refuses what was asked for in "
        "words.",
        "Leave one of them out.",
        ("{command}",),
        ("dmesg | grep 'conflicting options'",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "malformed-option-string",
        _F,
        "The option string is not well formed",
        "Colons part layers and commas part options: one at the start or the end, a third in a "
        "row, an empty name or an unclosed quote make no list. The kernel says EINVAL.",
        "Write the list anew, or name each layer by itself (-l DIR), where nothing is escaped.",
        ("{command}",),
        ("dmesg | tail",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "option-string-too-long",
        _F,
        "The option string is longer than the kernel reads",
        "mount(2) takes one page (4096 bytes) of options. Many layers or long paths exceed it: "
        "engines shorten names with links, and then stop with 'max depth exceeded' or ENOENT for "
        "half a name.",
        "Mount with the new calls, which take each layer by itself (layerctl does), use shorter "
        "names, or merge layers.",
        ("{command}",),
        ("grep -c . /proc/self/mountinfo", "getconf PAGE_SIZE"),
        links=(MOUNT_API_DOC, OVERLAY_DOC),
    ),
    Cause(
        "option-string-truncated",
        Severity.WARNING,
        "The option string was cut at a page, and mounted with fewer layers",
        "mount(2) ends the string silently at byte 4095. Where that falls between two layers, the "
        "kernel mounts the first part and reports success; layers are simply missing.",
        "Mount with the new calls, which take each layer by itself (layerctl does), or shorten "
        "the names.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        links=(MOUNT_API_DOC,),
    ),
    Cause(
        "new-mount-api-string-limit",
        _F,
        "One option is longer than the 255 bytes that fsconfig(2) takes",
        "util-linux from 2.39 on mounts with the new calls, and those take no value longer than "
        "255 bytes: a lowerdir of several long paths fails with EINVAL, where older versions "
        "went through mount(2).",
        "Name each layer by itself (lowerdir+= on 6.7, layerctl does), use shorter paths, or let "
        "mount(8) use the old call.",
        ("LIBMOUNT_FORCE_MOUNT2=always {mountcommand}",),
        ("mount --version",),
        since="5.2",
        links=(MOUNT_API_DOC,),
    ),
    Cause(
        "mount-api-call-limit",
        _F,
        "The kernel takes only so many options in one new-style mount",
        "A filesystem context of a kernel that has not converted to the new calls gathers at most "
        "a page of options. Long stacks fail there with EINVAL.",
        "Use a kernel from 6.7 on, or fewer and shorter layers.",
        (),
        ("mount --version", "uname -r"),
        links=(MOUNT_API_DOC,),
    ),
    Cause(
        "layers-by-descriptor-unsupported",
        _F,
        "This kernel takes no layers by file descriptor",
        "fsconfig(2) can hand a layer over as an open descriptor (FSCONFIG_SET_FD) since 6.13, and "
        "one opened with O_PATH somewhat later. Older kernels answer EBADF, EINVAL or "
        "EOPNOTSUPP.",
        "Give the layers by name, or through /proc/self/fd/N.",
        (),
        ("uname -r",),
        until="6.13",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "colon-in-path",
        _F,
        "A layer's path holds a colon, which parts two layers",
        "In lowerdir= a colon ends a layer's name. An unescaped one makes two names of one, and "
        "the kernel looks for directories that do not exist.",
        r"Put a backslash before it (\:), or name the layer by itself (-l DIR), where nothing is "
        "escaped.",
        ("{command}",),
        ("ls -ld {path}",),
        links=(OVERLAY_DOC + "#multiple-lower-layers",),
    ),
    Cause(
        "comma-in-path",
        _F,
        "A layer's path holds a comma, which parts two options",
        "A comma ends an option, and mount(8) of some versions splits at it even where the kernel "
        "would take a backslash. Linux 6.5.0 lost the escape for a while.",
        r"Put a backslash before it (\,), or name the layer by itself (-l DIR), where nothing is "
        "escaped.",
        ("{command}",),
        ("ls -ld {path}",),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "context-option-comma-split",
        _F,
        "The commas of a context= option were taken for separators",
        'An SELinux context with categories holds commas, and must stand in quotes: context="a,b". '
        "Programs and kernels (6.5) that split at every comma hand over half of it.",
        "Quote the value, or use a kernel and a mount(8) that keep it whole.",
        ("{command}",),
        ("findmnt -no OPTIONS {target}",),
        since="6.5",
    ),
    Cause(
        "data-layer-needs-metacopy",
        _F,
        "Data-only layers need metacopy=on on this kernel",
        "A data-only layer ('::') is reached from metacopy files alone. Up to 6.15 the kernel "
        "refuses it without metacopy=on; since 6.16 it does without.",
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
        "index, volatile and workdir are about an upper layer; xino=on is about layers on several "
        "filesystems. The kernel takes such an option and says that it ignores it.",
        "Leave it out.",
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "feature-fell-back",
        Severity.WARNING,
        "A feature that was asked for is switched off",
        "Overlay mounts with less where the filesystems or other options do not allow a feature, "
        "and says so in the kernel log alone.",
        "See which of the layers lacks what it needs; leave the option out where it does not "
        "matter.",
        (),
        ("findmnt -no OPTIONS {target}", "dmesg | grep 'falling back'"),
        links=(OVERLAY_DOC,),
    ),
    Cause(
        "wrong-layer-flag",
        _F,
        "A layer flag does not go with the type",
        "Lower, upper and work directories are overlay's; branches are aufs's.",
        "Use the flags of the type, or name another type (-t).",
    ),
)

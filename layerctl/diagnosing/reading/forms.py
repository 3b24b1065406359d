"""The forms by which programs name what they mount: marks of layered mounts, and of all others.

Regular expressions, each from the program's own source or manual; `events` makes events of them.
"""

from __future__ import annotations

from layerctl.diagnosing.reading.lazy import Lazy

_LAYERED_TYPE = r"(?:overlay(?:fs|2)?|aufs|(?:fuse3?\.)?fuse-overlayfs)"
_NO_MORE = r"(?![\w/-]|\.\w)"

#: What shows that a line is about a layered filesystem.
MARKS = (
    # options, as mount(8), mount(2), systemd and engines print them
    r"(?:^|[\s,'\"({\[=:;|])(?:lowerdir|upperdir)\+?=",
    r"\b(?:lower|upper)dir\+?\\?\", ",
    r"\b(?:br|dirs)[:=]\S+=r[wor]\b|\bdata=br:|\baufs (?:br|dirs)[:=]",
    # a type, as commands, strace, Go's and systemd's messages give it
    rf"(?:-t[\s=]*|--types?[\s=]+|fs-?type\"?[\s:=]+|\btype[\s:=]+|\(type )\\?['\"`]*{_LAYERED_TYPE}"
    rf"{_NO_MORE}",
    rf"[{{(\[]\\?\"?{_LAYERED_TYPE} {_LAYERED_TYPE} ",
    r"fsopen\(\\?\"(?:overlay|aufs)",
    r"\bmount\(\\?\"[^\"]*\\?\", \\?\"[^\"]*\\?\", \\?\"(?:overlay|aufs)",
    # sentences: what is mounted, or from what
    rf"\bmount\w*(?:\(8\))?[\s:]+(?:of )?(?:an? |the )?\\?[\"'`\u201c]*{_LAYERED_TYPE}{_NO_MORE}",
    rf"(?<![\w/.-]){_LAYERED_TYPE}\\?[\"'`]*(?:[: ]+(?:mount|file ?system|fs\b|snapshotter|test "
    r"mount|support|driver|storage|is not (?:a )?support|on \S+ type|not functional|not found as|"
    r"layer|dir\b|directories|rootfs|->|image|session|module))",
    rf"(?:superblock(?: on)?|device|source|driver|snapshotter|type|backend|module|back(?:ing)?store|"
    rf"using|load|over|native|kernel|of|create|as an?|setup|session|with) \(?\\?[\"'`:]*"
    rf"{_LAYERED_TYPE}{_NO_MORE}",
    rf"\bmount {_LAYERED_TYPE}:|(?:overlay|aufs)->/|snapshotter not loaded: overlayfs",
    r"(?i:overlay directories may not overlap|error mounting overlay|overlayfs: error mounting)",
    r"\bFail to mount aufs|\bOverlay[Ff][Ss] device|OVERLAY_FS|AUFS_FS|\bovl_|lxcoverlay|"
    r"storage/overlay\.c|overlayroot|overlay_mount",
    # stores of engines
    r"/overlay2?/(?:l/[A-Z0-9]{26}|[0-9a-f]{8,}(?:-init)?(?:/|\b)|[a-z0-9]{25}(?:-init)?/)",
    r"/(?:overlay2?|aufs)/(?:mnt|diff|layers|l)/|containers/storage/overlay|/aufs/(?:mnt|diff)",
    r"snapshotter\.v1\.overlayfs/\S|runc-overlayfs/|check-overlayfs-support|opaque-bug-check|"
    r"/overlay2?/\S+/merged\b|\[graphdriver\][^\n]{0,80}overlay",
    r"/overlay2?/l\b|containers/(?:storage/)?overlay|/image/(?:overlay2?|aufs)/|graphdriver|"
    r"remove (?:root )?filesystem for|(?:removing|replacing) mount point",
    # the driver's own directory, which it binds on itself at its start
    r"\bmount (?P<home>/\S*/overlay):(?P=home), flags",
    # terms that only these use
    r"(?:trusted|user)\.overlay\.\w",
    r"/sys/fs/aufs|/sys/module/(?:overlay|aufs)|\bauplink\b|\b(?:mount|umount|fsck)\.aufs\b",
    r"max depth exceeded|metacopy check|\bWithOverlayOpaque|OverlayOpaque\(|convert whiteout file|"
    r"ovlfs whiteout|kernel-style whiteout|Error processing tar file|unknown argument ignored|"
    r"without d_type|\bd_type\b|\bftype=[01]\b|\bredirect_dir|\buserxattr\b|delta0/",
    r"mknod(?:at)?\(\"[^\n]{0,200}S_IFCHR|failed to mknod\(",
    rf"modprobe:? [^\n]{{0,40}}(?:overlay|aufs){_NO_MORE}|[Mm]odule '?(?:overlay|overlayfs|aufs)'? ",
    r"(?:load|insert|modprobe) [^\n]{0,20}'(?:overlay|overlayfs|aufs)'",
    # fuse-overlayfs as the one that speaks, is run, or dies
    r"(?:^|[\s\"'`/])fuse-overlayfs(?:\[\d+\])?[\"'`]?:? ?[:\[(]|fuse-overlayfs -o|"
    r"mount[_ ]program[= ]*\S*fuse-overlayfs|[\"'/]fuse-overlayfs[\"']|fuse-overlayfs\"?:? "
    r"(?:not|cannot|exited|died|killed|segfault)|comm=\"fuse-overlayfs\"|snapshotter fuse\b|"
    r"command not found:? \S*fuse-overlayfs",
    r"is not supported over (?:overlay|ext|xfs|btrfs|zfs|fuse|nfs|ecryptfs|tmpfs|aufs|cifs)",
    r"backing file ?system is unsupported for this graph driver|composefs|\bbasedir=",
    r"avc:\s+denied[^\n]{0,300}(?:container_\w*t\b|dev=\"(?:overlay|fuse|aufs)\"|svirt_lxc)",
    r"(?:^|\s)(?:-b|-B|-s|--backend|--backingstore|--storage-driver|--snapshotter)[ =]"
    rf"{_LAYERED_TYPE}{_NO_MORE}",
    r"systemd-(?:sysext|confext)|\(sd-merge\)|merge hierarchies",
)

#: Words with which 'overlay' means something else: networks, device trees, graphics, packages.
NOT_A_MOUNT = (
    (r"\bnetwork\b|\bvxlan\b|\bsubnet\b|network (?:create|sandbox)|plugin registry|"
     r"\bveth|\biptables|port is already|external connectivity|plugin type=", "a network"),
    (r"\bdtbo?\b|dtoverlay|device ?tree|overlay '[\w,-]+' failed to load|load overlay", "a device tree"),
    (r"overlay (?:plane|update)|\bdrm\b|\bdrm:|nouveau|i915", "graphics"),
    (r"emerge|ebuilds?|repos\.conf|kustomiz|/overlays/", "a directory of sources"),
)  # fmt: skip

_DEVICE = r"(?:/dev/(?!fuse\b|shm\b|null\b)\S+|UUID=\S+|LABEL=\S+|PARTUUID=\S+|ubi\d\S*|mtd:\S+)"
_OTHER_TYPES = (
    r"ext[234]|xfs|btrfs|vfat|msdos|exfat|ntfs3?|iso9660|udf|squashfs|erofs|cramfs|jffs2|ubifs|f2fs|"
    r"minix|hfsplus|nfs4?|cifs|smb3?|ceph|9p|virtiofs|tmpfs|ramfs|devtmpfs|devpts|proc|sysfs|"
    r"cgroup2?|mqueue|securityfs|debugfs|tracefs|bpf|configfs|hugetlbfs|pstore|efivarfs|autofs|"
    r"binfmt_misc|fuseblk|fuse\.(?!fuse-overlayfs)[\w-]+|zfs|bcachefs|none\b(?=.*bind)"
)

#: Events that are not layered: a pattern, and what it is; {0} is the first group.
OTHERS = (
    (rf"unknown file ?system type [\"'`\\]*(?!{_LAYERED_TYPE}[\"'`\\. ]|fuse)([\w.+-]+)",
     "a mount of type {0}"),
    (rf"superblock on [\"'`]*({_DEVICE})", "a mount of the device {0}"),
    (rf"superblock on [\"'`]*({_OTHER_TYPES})[,.\s]", "a mount of type {0}"),
    (rf"(?:special device|read superblock on|can't find) [\"'`]*({_DEVICE})",
     "a mount of the device {0}"),
    (rf"mount\w*:? [^\n]{{0,200}}?[\"'`(]?({_DEVICE}) (?:on|already|is|as)",
     "a mount of the device {0}"),
    (rf"(?:mount(?:ing|ed)?|mounting|mount -\S+)[^\n]{{0,60}}[\s\"'`]({_DEVICE})",
     "a mount of the device {0}"),
    (rf"(?:fs-?type\"?[\s:=]+|-t[\s=]*|--types?[\s=]+|\btype[\s:=]+|Type:|fsopen\()\\?[\"'`]?"
     rf"({_OTHER_TYPES})(?![\w-])", "a mount of type {0}"),
    (r"\bmount\(\"[^\"]*\", \"[^\"]*\", \"((?!overlay|aufs)\w[\w.]*)\"", "a mount of type {0}"),
    (r"\bmount\((?:[\"']([^\"']*)[\"'])[^\n]{0,120}(?:MS_BIND|MS_PRIVATE|MS_SLAVE|MS_MOVE)",
     "a bind mount of {0}"),
    (r"[Mm]ounting \\*[\"'](?!overlay|aufs)([^\"'\\]+)\\*[\"'] to rootfs", "a mount of {0} into a container"),
    (r"(?:crun|runc|OCI runtime error): [^\n]{0,80}?\b(?:open|stat|chdir|mkdir|mount|exec\w*|chown) "
     r"`([^`]+)`", "the start of a container, at {0}"),
    (r"Type:(r?bind)\b", "a {0} mount"),
    (r"\bmount (/[^\s:]+):/[^\s,]+(?:,| \(via)", "a bind mount of {0}"),
    (r"mount (?:[^\n]{0,40}\s)?-{1,2}(?:r?bind|move|make-\w+) (\S+)", "a bind mount of {0}"),
    (rf"\bmount(?:ing)? [\"'`]?({_OTHER_TYPES})[\"'`]? (?:on|at|to|image|file ?system|using)\b",
     "a mount of type {0}"),
    (r"(mount\.(?!aufs|overlay|fuse|composefs)[\w.]+|mount error\(\d+\))", "a network mount ({0})"),
    (r"((?:device|dev)mapper|Driver (?:btrfs|zfs|vfs|windowsfilter))", "another storage driver ({0})"),
    (r"storage/(zfs|btrfs|lvm|dir|rbd|loop|nbd|rsync)\.c", "a container's storage of type {0}"),
    (r"\b(EXT4-fs|XFS|BTRFS|FAT-fs|SQUASHFS|EROFS|UBIFS|NTFS|F2FS-fs|JFS|ISOFS|jffs2|ubi\d)\b[ :(]",
     "the kernel on {0}"),
    (r"\b(blk_update_request|Buffer I/O error|I/O error, dev)\b", "the kernel on a disk ({0})"),
    (r"\b(s3fs|encfs|sshfs|gcsfuse|goofys|mergerfs|rclone|gocryptfs|ntfs-3g)(?:\[\d+\])?: ",
     "a FUSE filesystem ({0})"),
    (r"\b(kaniko|error building image|Unpacking rootfs as cmd)", "a program that unpacks archives"),
    (r"apparmor=\W*(?:DENIED|ALLOWED)\W[^\n]{0,80}operation=\W*(?:mount|pivotroot|umount)\W"
     r"(?![^\n]*(?:overlay|aufs))()", "a mount of no layered type, refused by AppArmor"),
    (r"storage driver \(?(?:zfs|btrfs|vfs)", "another storage driver"),
)  # fmt: skip

#: Marks that outweigh any sign of another mount: the type or options themselves.
SURE = Lazy(
    r"\bmount (?P<home>/\S*/overlay):(?P=home), flags|"
    rf"lowerdir\+?=|(?:fstype=\W*|Type:\W*|-t )(?:fuse\.)?{_LAYERED_TYPE}{_NO_MORE}|"
    rf"mount\w* \W*{_LAYERED_TYPE}[:\"' ]|superblock on {_LAYERED_TYPE}\b|\(type {_LAYERED_TYPE}\)|"
    r"^overlay |filesystem type '(?:overlay|aufs)"
)

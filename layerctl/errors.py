"""The error tree, and the tables of errors and of exit codes.

An error says what happened (`message`), why (`why`, may be empty) and what helps: a sentence
(`hint`, may be empty), and commands to paste (`commands`). `id` is stable for scripts: a row
of ERRORS, or a cause of doctor's catalogue if that is the reason. Only `layerctl.cli.main` turns
errors into exit codes.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from layerctl.model import Finding, Fix, Severity


class ExitCode(NamedTuple):
    """One row of the table of exit codes."""

    code: int
    meaning: str


EXIT_OK = 0
EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_NOT_PERMITTED = 4
EXIT_REFUSED = 32
EXIT_BUG = 70
EXIT_SYSTEM = 71
EXIT_OUTPUT = 74
EXIT_RUN = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NO_COMMAND = 127
EXIT_INTERRUPTED = 130

EXIT_CODES: tuple[ExitCode, ...] = (
    ExitCode(EXIT_OK, "done"),
    ExitCode(
        EXIT_FOUND,
        "doctor or a dry run found something that will fail, or the answer is incomplete",
    ),
    ExitCode(EXIT_USAGE, "the request itself is wrong, whatever the state of the system"),
    ExitCode(
        EXIT_NOT_FOUND,
        "TARGET does not exist or is not such a mount, or inspect merged shows nothing at PATH",
    ),
    ExitCode(EXIT_NOT_PERMITTED, "not permitted"),
    ExitCode(
        EXIT_REFUSED,
        "the checks or the kernel refused a mount, or an unmount failed",
    ),
    ExitCode(EXIT_BUG, "a bug in layerctl"),
    ExitCode(EXIT_SYSTEM, "the system failed: a call that must succeed did not"),
    ExitCode(EXIT_OUTPUT, "the output could not be written"),
    ExitCode(EXIT_RUN, "layerctl run itself failed, for whatever reason"),
    ExitCode(EXIT_NOT_EXECUTABLE, "layerctl run cannot execute the command"),
    ExitCode(EXIT_NO_COMMAND, "layerctl run cannot find the command"),
    ExitCode(EXIT_INTERRUPTED, "interrupted"),
)


class ErrorKind(NamedTuple):
    """One row of the table of errors: what happened in general, why, and the fix."""

    id: str
    exit_code: int
    title: str
    why: str
    fix: str
    commands: tuple[str, ...] = ()


#: Every error that is not a cause of the catalogue.
ERRORS: dict[str, ErrorKind] = {
    row.id: row
    for row in (
        ErrorKind(
            "no-such-partition",
            EXIT_NOT_FOUND,
            "A disk image does not have the partition",
            "FILE:NUMBER is a partition of a disk image, as counted by GPT or MBR; logical ones "
            "begin at 5.",
            "List the partitions.",
            ("sfdisk --list FILE",),
        ),
        ErrorKind(
            "layer-unreachable",
            EXIT_NOT_FOUND,
            "A layer is reachable only through its mount",
            "It is on a tmpfs that mount --tmpfs created and that only the mount holds. It is gone "
            "with the mount.",
            "To look into an upper layer, mount a tmpfs, and use directories of it with -u and -w.",
            ("mount -t tmpfs -o mode=0755 tmpfs DIR",),
        ),
        ErrorKind(
            "ambiguous-name",
            EXIT_NOT_FOUND,
            "Several things have this name",
            "A container, an image and a layer may have the same name, and the start of an id may "
            "fit several.",
            "Say which one: docker:NAME, podman:NAME, image:NAME, layer:ID or path:PATH.",
            ("layerctl list --all",),
        ),
        ErrorKind(
            "aufs-branch-busy",
            EXIT_REFUSED,
            "A branch cannot be removed while it is in use",
            "aufs keeps a branch as long as one of its files or directories is open, is a working "
            "directory or is mapped into memory.",
            "Stop what is using the branch, then remove it.",
            ("fuser -vm TARGET",),
        ),
        ErrorKind(
            "aufs-pseudo-links-lost",
            EXIT_REFUSED,
            "Unmounting this aufs would break hard links",
            "When a lower file with several names was changed, aufs copied it and showed the copy "
            "under all of its names. It keeps them linked only while mounted, and a read-only "
            "mount cannot create the links on the branch.",
            "Make the mount writable, then unmount it; or use --force and lose the links.",
            ("layerctl mount -o remount,rw TARGET", "layerctl umount TARGET"),
        ),
        ErrorKind(
            "aufs-remount-refused",
            EXIT_REFUSED,
            "aufs refused to change its branches",
            "The kernel returned only an error number; the reason is in its log.",
            "Read the aufs messages in the kernel log.",
            ("dmesg | grep aufs | tail",),
        ),
        ErrorKind(
            "bug",
            EXIT_BUG,
            "A bug in layerctl",
            "Something happened that should be impossible.",
            "Run the command again with LAYERCTL_DEBUG=1 in the environment, and report the "
            "output.",
        ),
        ErrorKind(
            "command-not-executable",
            EXIT_NOT_EXECUTABLE,
            "The command cannot be executed",
            "execve(2) failed in the layers: the file is not executable, or is not a program.",
            "Check the mode and the first line of the file.",
        ),
        ErrorKind(
            "command-not-found",
            EXIT_NO_COMMAND,
            "The command cannot be found",
            "No directory of PATH has it, or the path does not exist in the layers.",
            "Check the spelling, and PATH.",
        ),
        ErrorKind(
            "conversion-unfinished",
            EXIT_REFUSED,
            "A conversion of the layer was interrupted",
            "It has markers of two forms, which mean the same. What is missing can only be written "
            "by a conversion to the same form.",
            "Run the command again with the same form; then convert the layer to another one.",
            ("layerctl convert LAYER --to FORM",),
        ),
        ErrorKind(
            "data-layers-unsupported-old-kernel",
            EXIT_REFUSED,
            "The kernel does not support data-only layers",
            "Data-only layers need Linux 6.5 or later.",
            "Use a newer kernel, or make the data layers ordinary lower layers.",
        ),
        ErrorKind(
            "directory-not-made",
            EXIT_REFUSED,
            "--mkdir cannot create a directory",
            "mkdir(2) failed; the error number gives the reason.",
            "Create the directory yourself, or use another path.",
        ),
        ErrorKind(
            "directory-swapped",
            EXIT_REFUSED,
            "A directory was replaced while it was in use",
            "Another directory or link took its place between the checks and the mount. Nothing "
            "was mounted.",
            "Find out who can write to its parent directories, revoke that, and run the command "
            "again.",
            ("namei -l DIR",),
        ),
        ErrorKind(
            "form-ambiguous",
            EXIT_USAGE,
            "A layer has markers of several filesystems",
            "Each filesystem ignores the markers of the others, so which of them count depends on "
            "the one that wrote the layer.",
            "Name the filesystem that wrote the layer.",
            ("layerctl convert LAYER --from aufs --to overlay",),
        ),
        ErrorKind(
            "fuse-overlayfs-failed",
            EXIT_REFUSED,
            "fuse-overlayfs could not mount",
            "The program failed; its own messages are shown.",
            "Read its messages; most causes of overlay failures apply to it as well.",
        ),
        ErrorKind(
            "holds-changes",
            EXIT_REFUSED,
            "A directory to restore holds changes",
            "To restore a directory is to drop everything that the upper layer has in it.",
            "Drop it with -r, or name the paths in the directory instead.",
            ("layerctl inspect changes TARGET PATH",),
        ),
        ErrorKind(
            "host-changed",
            EXIT_REFUSED,
            "The host changed what the run changed as well",
            "Applying a run replaces files. What was changed, created or removed on the host since "
            "the run began would be lost. Nothing was changed.",
            "Look at both versions; then apply the other paths only, or use --force.",
            ("layerctl apply DIR PATH", "layerctl apply --force DIR"),
        ),
        ErrorKind(
            "interrupted",
            EXIT_INTERRUPTED,
            "The program was interrupted",
            "It received SIGINT, as sent by Ctrl-C, and undid whatever it had begun.",
            "Run the command again.",
        ),
        ErrorKind(
            "layer-changed",
            EXIT_REFUSED,
            "A layer was changed at the same time",
            "Another program writes to the layer. What was done so far left the merged tree as it "
            "was, and running the command again completes the work.",
            "Stop the other program, and run the command again.",
        ),
        ErrorKind(
            "layer-in-use",
            EXIT_REFUSED,
            "A mount uses the layer",
            "The result of changing a layer beneath a mount is undefined. Every mount namespace "
            "was searched, and a layer counts as used also if it lies in a layer of the mount, or "
            "contains one.",
            "Unmount it, and run the command again.",
            ("layerctl umount TARGET",),
        ),
        ErrorKind(
            "layer-locked",
            EXIT_REFUSED,
            "Another layerctl works on the layer",
            "Each command locks the layers that it reads or changes, because two at once would "
            "undo each other's work.",
            "Wait until it has finished, then run the command again.",
        ),
        ErrorKind(
            "hard-link-elsewhere",
            EXIT_REFUSED,
            "A file with several names would have to be copied",
            "A redirect or the metacopy attribute leads to the file, so it must be copied. Its "
            "copy would be a separate file.",
            "Copy the files out through a mount of the layers.",
        ),
        ErrorKind(
            "layer-is-mount",
            EXIT_REFUSED,
            "The layer is the root of a mount",
            "A copy is made beside the layer, on the same filesystem, and takes its place, or "
            "that of a file in it, in one step. Beside the root of a mount there is no such place.",
            "Use a directory of that filesystem as the layer.",
        ),
        ErrorKind(
            "not-attached",
            EXIT_REFUSED,
            "An image, or the tmpfs of mount --tmpfs, cannot be mounted",
            "The kernel refused it, or there is no loop device or directory for it. An image whose "
            "journal must be replayed cannot be mounted read-only.",
            "Read the kernel log; repair an image with the fsck program of its filesystem.",
            ("dmesg | tail",),
        ),
        ErrorKind(
            "image-unknown",
            EXIT_REFUSED,
            "A file has no filesystem that can be a layer",
            "Images of squashfs, erofs, ext4, xfs, btrfs and iso9660 are recognised, and the "
            "partitions of GPT and MBR disks, as FILE:NUMBER.",
            "Mount it, and name the directory.",
            ("blkid FILE",),
        ),
        ErrorKind(
            "file-without-data",
            EXIT_REFUSED,
            "A file has only metadata, and its data is missing",
            "The file has the metacopy attribute, and no lower layer has the file that it leads "
            "to. The kernel cannot read it either.",
            "Mend the layers, or name the options that they were mounted with.",
            ("layerctl check -u UPPER -l LOWER",),
        ),
        ErrorKind(
            "steps-unknown",
            EXIT_REFUSED,
            "Steps depend on earlier ones, so that they cannot be shown",
            "Several layers are merged one after the other, or a redirect leads to files that are "
            "copied first. What is to be done then is known only after that.",
            "Run the command without -n and --print, one layer at a time, or create a layer "
            "without redirects with layerctl deref first.",
        ),
        ErrorKind(
            "layer-indexed",
            EXIT_REFUSED,
            "The upper layer has an index that depends on the lower layer",
            "With index=on and nfs_export=on the upper layer refers to files of the lower layer "
            "by their handles. Merging it down would break that.",
            "Copy the files out through a mount with index=off.",
        ),
        ErrorKind(
            "layer-not-convertible",
            EXIT_REFUSED,
            "Something in the layer cannot be expressed in another form",
            "aufs and fuse-overlayfs have no redirects and no metadata-only files, reserve names "
            "that start with '.wh.', and limit the length of names. What one filesystem shows as a "
            "file may be a marker for another.",
            "Mend what the message names. A layer without redirects is made by deref.",
            ("layerctl deref --into NEW -u LAYER -l LOWER",),
        ),
        ErrorKind(
            "layer-not-movable",
            EXIT_REFUSED,
            "Something in the upper layer cannot be merged down",
            "Overlay reads the attribute protattr only in an upper layer, and some directories "
            "cannot be looked up with these options. Immutable and append-only files cannot be "
            "renamed.",
            "Copy the files out through a mount of the layers, or make one new layer of both.",
            ("layerctl commit --into DIR -u UPPER -l LOWER",),
        ),
        ErrorKind(
            "layer-part-unreadable",
            EXIT_REFUSED,
            "A part of a layer cannot be read",
            "What is not known cannot be merged. Nothing was changed.",
            "Run the command as root; if it fails there too, check the filesystem.",
        ),
        ErrorKind(
            "layer-unknown",
            EXIT_NOT_FOUND,
            "A layer of the mount cannot be identified for certain",
            "The kernel keeps only the name that a layer had at mount time. Something may have "
            "been mounted there since, or another directory may have that name. Reading the wrong "
            "directory would give a wrong answer, so there is no answer.",
            "List what is mounted there.",
            ("findmnt -A TARGET",),
        ),
        ErrorKind(
            "layer-unreadable",
            EXIT_NOT_PERMITTED,
            "A layer cannot be read",
            "The caller does not have permission to open the directory or one of its parents.",
            "Run the command as root.",
        ),
        ErrorKind(
            "layers-ambiguous",
            EXIT_REFUSED,
            "What the layers show depends on the order of lookups",
            "Two paths lead to one file or directory of a lower layer. The kernel shows the one "
            "that is looked up first and refuses the other, so there is no merged tree to keep.",
            "Find the two paths, and mend one of them.",
            ("layerctl check -u UPPER -l LOWER",),
        ),
        ErrorKind(
            "layers-unknown",
            EXIT_NOT_FOUND,
            "The layers of the mount are unknown",
            "The kernel does not know the layers of a FUSE filesystem, so mountinfo does not show "
            "them.",
            "Name the layers with -l and -u instead of naming the mount.",
        ),
        ErrorKind(
            "markers-unreadable",
            EXIT_NOT_PERMITTED,
            "Overlay's markers cannot be read",
            "The kernel shows trusted.overlay.* attributes only to callers with CAP_SYS_ADMIN in "
            "the first user namespace. Without them, what the layers mean is unknown.",
            "Run the command as root, or use -o userxattr for layers with user.overlay.* markers.",
        ),
        ErrorKind(
            "lookup-denied",
            EXIT_REFUSED,
            "The merged tree denies a lookup",
            "The layers hold something that the kernel refuses with these options, so there is "
            "nothing to copy.",
            "Mend the layers, or name the options that they were mounted with.",
            ("layerctl check -u UPPER -l LOWER",),
        ),
        ErrorKind(
            "missing-library",
            EXIT_REFUSED,
            "A required Python library is not installed",
            "layerctl needs click, psutil and rich. Distributions package each of them separately; "
            "pipx installs them automatically.",
            "Install the libraries for the Python interpreter that runs layerctl.",
            ("apt-get install python3-click python3-psutil python3-rich",),
        ),
        ErrorKind(
            "mount-not-found",
            EXIT_REFUSED,
            "The new mount cannot be found",
            "The mount succeeded, but mountinfo does not show it at the target: something else has "
            "unmounted or covered it.",
            "List what is mounted there.",
            ("findmnt -A TARGET",),
        ),
        ErrorKind(
            "mount-refused",
            EXIT_REFUSED,
            "The kernel refused the mount",
            "No known cause matches the kernel's answer.",
            "Read the kernel log.",
            ("dmesg | tail",),
        ),
        ErrorKind(
            "mount8-cannot-express",
            EXIT_REFUSED,
            "mount(8) cannot express this mount",
            "Some of the names cannot be written in an option string, or the string is too long.",
            "Mount with layerctl, which passes each layer to the kernel separately.",
        ),
        ErrorKind(
            "no-aside",
            EXIT_REFUSED,
            "There is no place for what is dropped",
            "A dropped directory is moved to the work directory, or beside the upper layer, before "
            "it is removed. That must be on the mount of the upper layer, and nobody else's.",
            "Name the work directory of the overlay with -w.",
        ),
        ErrorKind(
            "no-aufs-sysfs",
            EXIT_NOT_FOUND,
            "The sysfs directory of this aufs cannot be read",
            "aufs shows its branches in /sys/fs/aufs/si_ID, unless its module was loaded with "
            "brs=0 or sysfs is not mounted.",
            "Mount sysfs, or load the module with brs=1.",
            ("mount -t sysfs sys /sys",),
        ),
        ErrorKind(
            "no-layers",
            EXIT_USAGE,
            "No layers were given",
            "The command needs at least one layer to look at.",
            "Name the layers with -l, -u or -b.",
        ),
        ErrorKind(
            "no-mountinfo",
            EXIT_NOT_FOUND,
            "The list of mounts cannot be read",
            "/proc/self/mountinfo cannot be opened: /proc is not mounted, or hidden.",
            "Mount /proc.",
            ("mount -t proc proc /proc",),
        ),
        ErrorKind(
            "no-proc",
            EXIT_REFUSED,
            "/proc is not mounted, or belongs to another PID namespace",
            "layerctl needs /proc to find out what is mounted and what is using it.",
            "Mount /proc.",
            ("mount -t proc proc /proc",),
        ),
        ErrorKind(
            "no-quarantine",
            EXIT_REFUSED,
            "There is no room for a quarantine",
            "What a repair removes goes to a directory beside the layer, DIR.layerctl-quarantine, "
            "which must be on the filesystem of the layer.",
            "Remove what is wrong for good, with --no-quarantine.",
        ),
        ErrorKind(
            "no-room",
            EXIT_REFUSED,
            "There is no room for a layer on the other filesystem",
            "The lower layer is on another filesystem, so everything is copied there, and the "
            "upper layer is emptied only afterwards.",
            "Free some room there; layerctl trim may make the upper layer smaller.",
        ),
        ErrorKind(
            "not-a-kept-run",
            EXIT_REFUSED,
            "The directory does not hold a run",
            "layerctl run --keep writes run.json into a directory that is new or empty, and only "
            "its owner may work on it.",
            "Name the directory that was given to --keep.",
        ),
        ErrorKind(
            "archive-damaged",
            EXIT_REFUSED,
            "An archive cannot be read to its end",
            "It is cut, compressed bytes are damaged, or the headers of an entry are too large.",
            "Fetch or write it again.",
            ("gzip -t FILE", "tar -tvf FILE"),
        ),
        ErrorKind(
            "archive-unsafe",
            EXIT_REFUSED,
            "An archive has an entry that no layer can have",
            "Its name leads out of the directory or through a link, it is a whiteout of no name, "
            "another name of a file that is not there, or a device that would be a marker.",
            "Do not trust the archive.",
            ("tar -tvf FILE",),
        ),
        ErrorKind(
            "not-unpacked",
            EXIT_REFUSED,
            "An archive cannot be unpacked here",
            "The filesystem refuses a name, an owner or an attribute, or has no room.",
            "Shift the owners with --map, or choose another directory.",
        ),
        ErrorKind(
            "digest-mismatch",
            EXIT_REFUSED,
            "A part of an image does not have the bytes that its digest says",
            "The image was damaged or changed.",
            "Fetch or write it again.",
        ),
        ErrorKind(
            "no-such-image",
            EXIT_USAGE,
            "An archive does not have the image, or has several",
            "An archive of docker save, or an OCI layout, can have several images.",
            "Name one of them with --ref.",
        ),
        ErrorKind(
            "no-image",
            EXIT_NOT_FOUND,
            "There is no image of this name",
            "A directory must be an OCI layout, and with --ref a file must be an archive of one "
            "or of docker save.",
            "Name a layer archive, an OCI layout, or what docker save wrote.",
        ),
        ErrorKind(
            "owner-unmapped",
            EXIT_REFUSED,
            "An archive has files of an owner that --map does not map",
            "Every owner needs a place in the map.",
            "Map more ids: --map 0:100000:65536.",
        ),
        ErrorKind(
            "name-reserved",
            EXIT_REFUSED,
            "A name cannot be in a layer archive",
            "In a layer archive, names that start with '.wh.' are whiteouts, and no name is "
            "longer than 255 bytes. The name of an attribute ends at its first '='.",
            "Rename it, or remove it from the layer.",
        ),
        ErrorKind(
            "no-such-branch",
            EXIT_REFUSED,
            "The directory is not a branch of this aufs",
            "Only branches of the mount can be removed or changed.",
            "List the branches.",
            ("layerctl branch list TARGET",),
        ),
        ErrorKind(
            "no-such-directory",
            EXIT_NOT_FOUND,
            "There is no such directory in the merged tree",
            "With --tree or an option that filters the listing, PATH is the directory to list. A "
            "whiteout may hide it, it may not be a directory, or a lookup of it may fail.",
            "Show how each layer treats the path.",
            ("layerctl inspect merged TARGET PATH",),
        ),
        ErrorKind(
            "no-such-file",
            EXIT_NOT_FOUND,
            "There is no such file in the merged tree, or in the layer",
            "Only regular files have contents. A whiteout may hide it, the layer may lack it, or a "
            "lookup may fail.",
            "Show how each layer treats the path.",
            ("layerctl inspect merged TARGET PATH",),
        ),
        ErrorKind(
            "no-such-layer",
            EXIT_USAGE,
            "There is no layer with that number",
            "Layers are numbered from 0 (the topmost).",
            "List the layers.",
            ("layerctl inspect mount TARGET",),
        ),
        ErrorKind(
            "not-for-aufs",
            EXIT_REFUSED,
            "The command does not work on an aufs",
            "The branches of an aufs have no redirects and no metadata-only files.",
            "Use the branch as it is, or make one branch of several.",
            ("layerctl commit --into DIR -b TOP=rw -b NEXT",),
        ),
        ErrorKind(
            "no-upper-layer",
            EXIT_REFUSED,
            "There is no upper layer above a lower one",
            "The command works on the upper layer of an overlay, and needs to know what lies below "
            "it.",
            "Name the upper layer with -u and the lower ones with -l.",
        ),
        ErrorKind(
            "not-as-asked",
            EXIT_REFUSED,
            "The result differs from the request",
            "After the change, mountinfo does not show what was requested. The change was undone.",
            "Read the details of the error; if the request was right, report a bug.",
        ),
        ErrorKind(
            "not-aufs",
            EXIT_NOT_FOUND,
            "The mount is not an aufs",
            "Only aufs can change its layers while mounted.",
            "List the layered mounts.",
            ("layerctl list",),
        ),
        ErrorKind(
            "not-layered",
            EXIT_NOT_FOUND,
            "The mount is not an overlay or aufs",
            "TARGET is a mount point of another filesystem type.",
            "List the layered mounts.",
            ("layerctl list",),
        ),
        ErrorKind(
            "no-zstd",
            EXIT_REFUSED,
            "There is nothing that reads or writes zstd",
            "Python has a module for zstd since version 3.14; before, layerctl runs zstd(1).",
            "Install zstd, or use gzip.",
            ("apt-get install zstd",),
        ),
        ErrorKind(
            "not-mounted",
            EXIT_NOT_FOUND,
            "TARGET is not a mount point",
            "Nothing is mounted there in this mount namespace; it may be mounted in another one.",
            "List the layered mounts.",
            ("layerctl list",),
        ),
        ErrorKind(
            "output-not-written",
            EXIT_OUTPUT,
            "The output could not be written",
            "Standard output is closed, or its filesystem is full or has failed.",
            "Free some space, or write somewhere else.",
        ),
        ErrorKind(
            "place-changed",
            EXIT_REFUSED,
            "A directory that was layered is not there any more",
            "The layers of a run hold changes of certain directories, known by their device and "
            "inode. Another one has the name now, or its filesystem is not mounted. Nothing was "
            "changed.",
            "Mount what was mounted there, then run the command again.",
        ),
        ErrorKind(
            "relative-layers",
            EXIT_NOT_FOUND,
            "The mount has relative layer names",
            "The kernel shows the names as they were given, but not the directory that they start "
            "from.",
            "Run the command in the directory where it was mounted.",
        ),
        ErrorKind(
            "not-restorable",
            EXIT_REFUSED,
            "A path cannot be restored alone",
            "Only the named paths may change. What is below a deleted directory, and what was "
            "renamed from or to another path, cannot change without the other one.",
            "Name the other path as well.",
            ("layerctl inspect merged TARGET PATH",),
        ),
        ErrorKind(
            "not-at-remount",
            EXIT_REFUSED,
            "An existing mount cannot be changed in this way",
            "The filesystem reads the option only when it is first mounted. On a remount, overlay "
            "accepts no new layers and only few of its options.",
            "Unmount it, and mount it again with the options you want.",
        ),
        ErrorKind(
            "remount-busy",
            EXIT_REFUSED,
            "The mount cannot be made read-only while it is in use",
            "A file on it is open for writing.",
            "Stop what is using the mount.",
            ("fuser -vm TARGET",),
        ),
        ErrorKind(
            "remount-refused",
            EXIT_REFUSED,
            "The kernel refused to change the mount",
            "mount(2) with MS_REMOUNT failed; the error number gives the reason.",
            "Examine the mount.",
            ("layerctl doctor TARGET",),
        ),
        ErrorKind(
            "target-exists",
            EXIT_REFUSED,
            "What should be created exists already",
            "A new layer is created as a directory of its own, so the name must be free. No file "
            "is overwritten without being asked to.",
            "Name another one; pack replaces a file with --force.",
        ),
        ErrorKind(
            "tmpfiles-cannot-express",
            EXIT_REFUSED,
            "tmpfiles.d cannot express a directory",
            "tmpfiles.d(5) has no way to write a name that contains a line break.",
            "Rename the directory, or create it yourself.",
        ),
        ErrorKind(
            "out-of-memory",
            EXIT_SYSTEM,
            "Out of memory",
            "The system refused to give the program more memory; a limit may be set.",
            "Raise the limit or free some memory, then run the command again.",
            ("ulimit -v",),
        ),
        ErrorKind(
            "program-unreadable",
            EXIT_SYSTEM,
            "A part of the program cannot be loaded",
            "One of its modules, or of the modules it needs, is missing or unreadable.",
            "Run the command again; if it still fails, reinstall the program.",
        ),
        ErrorKind(
            "stored-layer-missing",
            EXIT_REFUSED,
            "A layer of a container or an image is missing from its store",
            "The records of the engine name a layer whose directory is gone or not recorded.",
            "Inspect the layers that are left, or restore the missing one.",
            ("layerctl list --all",),
        ),
        ErrorKind(
            "run-failed",
            EXIT_RUN,
            "The layers of a run cannot be set up",
            "A system call failed while the namespaces or the mounts were created.",
            "Run the command with -n to see what would be layered, and read the kernel log.",
            ("dmesg | tail",),
        ),
        ErrorKind(
            "system-error",
            EXIT_SYSTEM,
            "A system call that must succeed failed",
            "The error has nothing to do with the request: too many processes or open files, a "
            "failed disk, or a policy that forbids the call.",
            "Run the command again; if it still fails, read the kernel log.",
            ("dmesg | tail",),
        ),
        ErrorKind(
            "umount-failed",
            EXIT_REFUSED,
            "The mount cannot be unmounted",
            "umount(2) failed; the error number gives the reason.",
            "List what is using the mount.",
            ("fuser -vm TARGET",),
        ),
        ErrorKind(
            "unit-cannot-express",
            EXIT_REFUSED,
            "A systemd unit cannot express this mount",
            "A mount unit passes its options to mount(8), which cannot express the mount.",
            "Write a service unit that runs layerctl mount.",
        ),
        ErrorKind(
            "unknown-cause",
            EXIT_NOT_FOUND,
            "Unknown cause, error or error number",
            "`layerctl explain` covers the causes that doctor can find, the errors of this "
            "program, and the names and numbers of errno(3).",
            "List all of them.",
            ("layerctl explain",),
        ),
        ErrorKind(
            "upper-in-use-by-replaced",
            EXIT_REFUSED,
            "The upper layer of a mount cannot be that of its replacement",
            "An upper layer in two overlays is undefined, so the old mount must be gone before the "
            "new one is there: it must be writable, mounted once, and unmounted at once.",
            "Name a new upper layer: the old one becomes the topmost lower layer.",
            ("layerctl mount --replace -u NEW -l LAYER TARGET",),
        ),
        ErrorKind(
            "usage",
            EXIT_USAGE,
            "The command line is wrong",
            "A command, option or argument is unknown or missing, or two of them cannot be "
            "combined.",
            "Read the help of the command.",
            ("layerctl --help",),
        ),
    )
}


class LayerctlError(Exception):
    """Base of every error that is shown to the user without a traceback.

    An error ends a command, while a Finding is part of a report; `as_finding` and `of_finding`
    convert them.
    """

    exit_code: ClassVar[int] = EXIT_BUG

    def __init__(
        self,
        id: str,  # noqa: A002 - the name users see in --json
        message: str,
        *,
        why: str = "",
        hint: str = "",
        commands: tuple[str, ...] = (),
        findings: tuple[Finding, ...] = (),
        details: tuple[str, ...] = (),
    ) -> None:
        """`findings` are further findings, `details` verbatim lines (messages of the kernel)."""
        super().__init__(id, message)  # what pickle recreates it from
        self.id = id
        self.message = message
        self.why = why
        self.hint = hint
        self.commands = commands
        self.findings = findings
        self.details = details

    def __str__(self) -> str:
        """Return what happened."""
        return self.message


class RequestError(LayerctlError):
    """The request itself is wrong, whatever the system looks like."""

    exit_code = EXIT_USAGE


class NotFoundError(LayerctlError):
    """TARGET does not exist, or is not a mount of the requested kind."""

    exit_code = EXIT_NOT_FOUND


class NotPermittedError(LayerctlError):
    """The caller lacks the privilege."""

    exit_code = EXIT_NOT_PERMITTED


class RefusedError(LayerctlError):
    """A mount or an unmount was refused, by our checks or by the kernel."""

    exit_code = EXIT_REFUSED


class SystemFailedError(LayerctlError):
    """A system call that the program needs failed."""

    exit_code = EXIT_SYSTEM


class OutputError(LayerctlError):
    """The output could not be written."""

    exit_code = EXIT_OUTPUT


class StoppedError(LayerctlError):
    """The user interrupted it."""

    exit_code = EXIT_INTERRUPTED


class RunError(LayerctlError):
    """A run could not be set up."""

    exit_code = EXIT_RUN


class NotExecutableError(LayerctlError):
    """The command of a run cannot be executed."""

    exit_code = EXIT_NOT_EXECUTABLE


class NoCommandError(LayerctlError):
    """The command of a run does not exist."""

    exit_code = EXIT_NO_COMMAND


class BugError(LayerctlError):
    """The program has a bug."""

    exit_code = EXIT_BUG


#: Causes whose errors are not RefusedError.
_KINDS: dict[str, type[LayerctlError]] = {
    "target-missing": NotFoundError,
    "missing-cap-sys-admin": NotPermittedError,
}


def of_finding(
    finding: Finding, others: tuple[Finding, ...] = (), details: tuple[str, ...] = ()
) -> LayerctlError:
    """Return the error for a mount that a finding prevents; see LayerctlError for the arguments."""
    seen = "; ".join(finding.evidence)
    return _KINDS.get(finding.cause, RefusedError)(
        finding.cause,
        seen or finding.title,
        why=f"{finding.title}. {finding.why}" if seen else finding.why,
        hint=finding.fix.text,
        commands=finding.fix.commands,
        findings=others,
        details=details,
    )


def as_finding(error: LayerctlError) -> Finding:
    """Return an error as a finding, with its texts as whole sentences."""
    title = error.message[:1].upper() + error.message[1:]
    fix = Fix(_sentence(error.hint), error.commands)
    return Finding(error.id, Severity.FAILURE, title, _sentence(error.why), (), fix)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""

"""The error tree, and the tables of errors and of exit codes.

An error says what happened (`message`), why (`why`, may be empty) and one command or step that
helps (`hint`). `id` is stable for scripts: a row of ERRORS, or a cause of doctor's catalogue where
that is the reason. Only `layerctl.cli.main` turns errors into exit codes.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from layerctl.model import Finding


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
EXIT_INTERRUPTED = 130

EXIT_CODES: tuple[ExitCode, ...] = (
    ExitCode(EXIT_OK, "done"),
    ExitCode(EXIT_FOUND, "doctor or a dry run found what will fail"),
    ExitCode(EXIT_USAGE, "the request itself is wrong (no look at the system was needed)"),
    ExitCode(
        EXIT_NOT_FOUND,
        "TARGET is not there, or is no such mount, or inspect merged shows nothing at PATH",
    ),
    ExitCode(EXIT_NOT_PERMITTED, "not permitted"),
    ExitCode(
        EXIT_REFUSED,
        "a mount was refused, by the checks or by the kernel, or an unmount failed",
    ),
    ExitCode(EXIT_BUG, "a bug in layerctl"),
    ExitCode(EXIT_SYSTEM, "the system failed: a call that must succeed ended with an error"),
    ExitCode(EXIT_OUTPUT, "the output could not be written"),
    ExitCode(EXIT_INTERRUPTED, "interrupted"),
)


class ErrorKind(NamedTuple):
    """One row of the table of errors: what happened in general, why, and what to do about it."""

    id: str
    exit_code: int
    title: str
    why: str
    fix: str
    commands: tuple[str, ...] = ()


#: Every error that is no cause of the catalogue.
ERRORS: dict[str, ErrorKind] = {
    row.id: row
    for row in (
        ErrorKind(
            "aufs-branch-busy",
            EXIT_REFUSED,
            "A branch cannot be removed while files on it are in use",
            "aufs keeps a branch while one of its files or directories is open, is a working "
            "directory, or is mapped into memory.",
            "End what uses the branch, then remove it.",
            ("fuser -vm TARGET",),
        ),
        ErrorKind(
            "aufs-pseudo-links-lost",
            EXIT_REFUSED,
            "Unmounting this aufs would make hard links other files",
            "Names of one lower file show the copy that was made when one of them was changed; "
            "aufs holds them together while it is mounted. A read-only mount cannot join them on "
            "the branch.",
            "Make the mount writable, then unmount it; or lose them with --force.",
            ("layerctl mount -o remount,rw TARGET", "layerctl umount TARGET"),
        ),
        ErrorKind(
            "aufs-remount-refused",
            EXIT_REFUSED,
            "aufs refused to change its branches",
            "The kernel's answer is an error number; its log has the reason in words.",
            "Read what aufs wrote to the kernel log.",
            ("dmesg | grep aufs | tail",),
        ),
        ErrorKind(
            "bug",
            EXIT_BUG,
            "A bug in layerctl",
            "Something happened that the program takes to be impossible.",
            "Run the command again with LAYERCTL_DEBUG=1 in the environment, and report what it "
            "prints.",
        ),
        ErrorKind(
            "data-layers-unsupported-old-kernel",
            EXIT_REFUSED,
            "The kernel has no data-only layers",
            "Data-only layers came with Linux 6.5.",
            "Use a newer kernel, or make the data layers ordinary lower layers.",
        ),
        ErrorKind(
            "directory-not-made",
            EXIT_REFUSED,
            "A directory that --mkdir asked for cannot be made",
            "mkdir(2) failed; its error number is the reason.",
            "Make the directory by hand, or name another place.",
        ),
        ErrorKind(
            "directory-swapped",
            EXIT_REFUSED,
            "A directory was replaced while it was used",
            "Between the checks and the mount another directory or link was put in its place. "
            "Nothing is mounted.",
            "See who may write to the directories above it; keep others from it, and run the "
            "command again.",
            ("namei -l DIR",),
        ),
        ErrorKind(
            "fuse-overlayfs-failed",
            EXIT_REFUSED,
            "fuse-overlayfs could not mount",
            "The program ended with an error; what it wrote is shown.",
            "Read its message; most of the causes of the overlay type count for it too.",
        ),
        ErrorKind(
            "interrupted",
            EXIT_INTERRUPTED,
            "The program was interrupted",
            "SIGINT was received, as Ctrl-C sends it. Whatever had been begun was undone.",
            "Run the command again.",
        ),
        ErrorKind(
            "layer-unknown",
            EXIT_NOT_FOUND,
            "A layer of a live mount cannot be found for certain",
            "The kernel keeps the name that a layer had. Something may be mounted over that name "
            "since, or another directory may have it. An answer from the wrong directory would be "
            "wrong, so none is given.",
            "See what is mounted there.",
            ("findmnt -A TARGET",),
        ),
        ErrorKind(
            "layer-unreadable",
            EXIT_NOT_PERMITTED,
            "A layer cannot be read",
            "The caller lacks permission to open the directory or one above it.",
            "Run the command as root.",
        ),
        ErrorKind(
            "layers-unknown",
            EXIT_NOT_FOUND,
            "The layers of the mount are not known",
            "The kernel does not know the layers of a FUSE filesystem, so that mountinfo does not "
            "show them.",
            "Name the layers with -l and -u instead of the mount.",
        ),
        ErrorKind(
            "missing-library",
            EXIT_REFUSED,
            "A Python library that the program imports is not installed",
            "layerctl imports click, psutil and rich. A package manager's Python has them as "
            "packages of their own; pipx brings them along.",
            "Install the libraries for the Python that runs layerctl.",
            ("apt-get install python3-click python3-psutil python3-rich",),
        ),
        ErrorKind(
            "mount-not-found",
            EXIT_REFUSED,
            "The new mount cannot be found",
            "The mount succeeded, but mountinfo does not show it on the target: something else "
            "unmounted or covered it meanwhile.",
            "List what is mounted there.",
            ("findmnt -A TARGET",),
        ),
        ErrorKind(
            "mount-refused",
            EXIT_REFUSED,
            "The kernel refused the mount",
            "None of the causes of the catalogue fits the kernel's answer.",
            "Read the kernel log.",
            ("dmesg | tail",),
        ),
        ErrorKind(
            "mount8-cannot-express",
            EXIT_REFUSED,
            "mount(8) cannot make this mount",
            "An option string has no way to write some of the names, or is too long.",
            "Mount with layerctl, which gives the kernel each layer separately.",
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
            "No layer is named",
            "There is nothing to look at without a layer.",
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
            "/proc is not mounted, or not the one of this process",
            "layerctl reads in /proc what is mounted and who uses it.",
            "Mount /proc.",
            ("mount -t proc proc /proc",),
        ),
        ErrorKind(
            "no-such-branch",
            EXIT_REFUSED,
            "The directory is not a branch of this aufs",
            "Only a branch of the mount can be removed or changed.",
            "List the branches.",
            ("layerctl branch list TARGET",),
        ),
        ErrorKind(
            "no-such-directory",
            EXIT_NOT_FOUND,
            "The merged tree has no directory there",
            "With --tree or what narrows a listing, PATH names the directory to list. A whiteout "
            "may hide it, it may be a file, or a lookup may be refused.",
            "Ask for the story of the path.",
            ("layerctl inspect merged TARGET PATH",),
        ),
        ErrorKind(
            "no-such-layer",
            EXIT_USAGE,
            "There is no layer with this number",
            "Layers are numbered from 0, the topmost.",
            "List the layers.",
            ("layerctl inspect mount TARGET",),
        ),
        ErrorKind(
            "not-as-asked",
            EXIT_REFUSED,
            "The kernel made something else than was asked for",
            "What mountinfo shows after the change differs from the request. The change was "
            "undone.",
            "Read the details of the error; report it if the request was right.",
        ),
        ErrorKind(
            "not-aufs",
            EXIT_NOT_FOUND,
            "The mount is not an aufs",
            "Only aufs can change its layers while it is mounted.",
            "List the layered mounts.",
            ("layerctl list",),
        ),
        ErrorKind(
            "not-layered",
            EXIT_NOT_FOUND,
            "The mount is not an overlay or aufs",
            "TARGET is a mount point, but of another filesystem type.",
            "List the layered mounts.",
            ("layerctl list",),
        ),
        ErrorKind(
            "not-mounted",
            EXIT_NOT_FOUND,
            "TARGET is not a mount point",
            "Nothing is mounted there in this mount namespace; another namespace may have it.",
            "List the layered mounts.",
            ("layerctl list",),
        ),
        ErrorKind(
            "output-not-written",
            EXIT_OUTPUT,
            "The output could not be written",
            "Standard output is closed, or its filesystem is full or failed.",
            "Make room, or write somewhere else.",
        ),
        ErrorKind(
            "relative-layers",
            EXIT_NOT_FOUND,
            "The mount was made with relative layer names",
            "The kernel shows the names as they were given, not the directory they start at.",
            "Run the command in the directory where the mount was made.",
        ),
        ErrorKind(
            "not-at-remount",
            EXIT_REFUSED,
            "A live mount cannot be changed in this way",
            "The filesystem reads the option only when it is mounted first. overlay takes no new "
            "layers, and few of its options, at a remount.",
            "Unmount it, and mount it with what you want.",
        ),
        ErrorKind(
            "remount-busy",
            EXIT_REFUSED,
            "The mount cannot become read-only while it is in use",
            "A file on it is open for writing.",
            "End what uses the mount.",
            ("fuser -vm TARGET",),
        ),
        ErrorKind(
            "remount-refused",
            EXIT_REFUSED,
            "The kernel refused to change the mount",
            "mount(2) failed with MS_REMOUNT; its error number is the reason.",
            "See what is wrong with the mount.",
            ("layerctl doctor TARGET",),
        ),
        ErrorKind(
            "tmpfiles-cannot-express",
            EXIT_REFUSED,
            "No line of tmpfiles.d can make a directory",
            "A name with a line break has no spelling in tmpfiles.d(5).",
            "Rename the directory, or make it by hand.",
        ),
        ErrorKind(
            "out-of-memory",
            EXIT_SYSTEM,
            "Memory ran out",
            "The system gave the program no more memory; a limit may be set for it.",
            "Raise the limit, or free memory, and run the command again.",
            ("ulimit -v",),
        ),
        ErrorKind(
            "program-unreadable",
            EXIT_SYSTEM,
            "A part of the program cannot be loaded",
            "One of its modules, or of those that it needs, is missing or cannot be read.",
            "Run the command again; if it fails again, install the program anew.",
        ),
        ErrorKind(
            "system-error",
            EXIT_SYSTEM,
            "A system call failed that must succeed",
            "The system answered with an error that says nothing about the request: no more "
            "processes or files may be opened, a disk has failed, a policy forbids the call.",
            "Run the command again; if it fails again, read the kernel log.",
            ("dmesg | tail",),
        ),
        ErrorKind(
            "umount-failed",
            EXIT_REFUSED,
            "The mount cannot be unmounted",
            "umount(2) failed; its error number is the reason.",
            "See what uses the mount.",
            ("fuser -vm TARGET",),
        ),
        ErrorKind(
            "unit-cannot-express",
            EXIT_REFUSED,
            "No systemd unit can make this mount",
            "A mount unit hands its options to mount(8), which cannot make the mount.",
            "Write a service unit that runs layerctl mount.",
        ),
        ErrorKind(
            "unknown-cause",
            EXIT_NOT_FOUND,
            "There is no such cause, error or error number",
            "`layerctl explain` knows the causes that doctor can find, the errors of this program, "
            "and the names and numbers of errno(3).",
            "List them all.",
            ("layerctl explain",),
        ),
        ErrorKind(
            "usage",
            EXIT_USAGE,
            "The command line is wrong",
            "A command, an option or an argument is unknown or missing, or two of them cannot be "
            "combined.",
            "Read the help of the command.",
            ("layerctl --help",),
        ),
    )
}


class LayerctlError(Exception):
    """Base of every error that is told to the user without a traceback."""

    exit_code: ClassVar[int] = EXIT_BUG

    def __init__(
        self,
        id: str,  # noqa: A002 - the name users see in --json
        message: str,
        *,
        why: str = "",
        hint: str = "",
        findings: tuple[Finding, ...] = (),
        details: tuple[str, ...] = (),
    ) -> None:
        """`findings` are further diagnoses, `details` verbatim lines (the kernel's own words)."""
        super().__init__(id, message)  # what pickle makes it anew from
        self.id = id
        self.message = message
        self.why = why
        self.hint = hint
        self.findings = findings
        self.details = details

    def __str__(self) -> str:
        """Return what happened."""
        return self.message


class RequestError(LayerctlError):
    """The request itself is wrong, whatever the system looks like."""

    exit_code = EXIT_USAGE


class NotFoundError(LayerctlError):
    """TARGET does not exist, or is no mount of the kind asked for."""

    exit_code = EXIT_NOT_FOUND


class NotPermittedError(LayerctlError):
    """The caller lacks the privilege."""

    exit_code = EXIT_NOT_PERMITTED


class RefusedError(LayerctlError):
    """A mount or an unmount was refused, by our checks or by the kernel."""

    exit_code = EXIT_REFUSED


class SystemFailedError(LayerctlError):
    """The system failed in something that the program cannot do without."""

    exit_code = EXIT_SYSTEM


class OutputError(LayerctlError):
    """The output could not be written."""

    exit_code = EXIT_OUTPUT


class StoppedError(LayerctlError):
    """The user interrupted it."""

    exit_code = EXIT_INTERRUPTED


class BugError(LayerctlError):
    """Something that cannot happen did."""

    exit_code = EXIT_BUG

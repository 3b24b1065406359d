"""What happened, line by line: which program did what to a mount of which type, and its errno.

The forms are those of the programs themselves: libmount's message table (util-linux,
`libmount/src/context_mount.c` and `hook_mount.c`, `mnt_context_get_excode`, and mount(8)'s own
of before 2.30), busybox's `mount.c`, strace's output, Go's `mount.Error` of moby and containerd,
runc's `rootfs_linux.go`, containers-storage's overlay driver, systemd's `mount_verbose`, LXC's
`storage/`, apptainer, bubblewrap, and the audit records of AppArmor, SELinux and seccomp.

A mention is not an event. What names another type, a block device or a bind mount is an event of
another kind, whatever its path is called.
"""

from __future__ import annotations

import functools
import re
from enum import StrEnum
from typing import NamedTuple

from layerctl.diagnosing.reading import errnos, forms
from layerctl.diagnosing.reading.errnos import Errno
from layerctl.diagnosing.reading.lazy import Lazy
from layerctl.diagnosing.reading.text import Line


class Subject(StrEnum):
    """What an event is about: a layered mount, another, or a mount of unknown type."""

    LAYERED = "layered"
    OTHER = "other"
    OPEN = "open"
    #: An error of a program that does not name a mount.
    PLAIN = "plain"


class Stage(StrEnum):
    """The operation of a program; each stage has its own table of errnos."""

    MOUNT = "mount"
    UNMOUNT = "unmount"
    REMOVE = "remove"
    UNPACK = "unpack"
    USE = "use"
    LOAD = "load"
    CHECK = "check"


class Event(NamedTuple):
    """A line that reports something; `what` describes what is not layered."""

    line: Line
    subject: Subject
    stage: Stage
    fstype: str = ""
    what: str = ""
    errnos: tuple[Errno, ...] = ()
    failed: bool = False


#: The maximum length of a form; of longer lines, the beginning and the end are searched.
_HEAD, _TAIL = 1600, 700

#: A program that repeats messages of the kernel.
_REPEATS = Lazy(r"mount|fsconfig|failed|error|\be ", re.IGNORECASE)
#: A mount or unmount of something; the type is unknown.
_MOUNTING = Lazy(
    r"(?:^|[\s\[\]:>\"'(])(?:u?mount2?|mount\.\w+|busybox)(?:\[\d+\])? ?: |\bmount(?:ing|ed)? |"
    r"\bfs(?:open|config|mount)\b|\bmove_mount\b|\bFSCONFIG_|\bmount\(2?\)|\bremount\b|"
    r"\bcontainerd-mount|\bmount_data=|\bcreate overlay\b|\bmount_setattr|FailedMount|"
    r"fusermount|\bmount process\b|wrong fs type, bad option",
    re.IGNORECASE,
)
_FAILED = Lazy(
    r"fail|error|can(?:no|')t|can not|could not|unable|denied|not supported|unsupported|missing|"
    r"not found|busy|refus|invalid|unknown|unrecognized|fatal|does not exist|only root|superuser|"
    r"segfault|killed|doesn't|wrong|not a directory|too many|oops|\bbug\b|warning|not mounted|"
    r"not permitted|is not|exceeded|aborted|no such|\bno support|i/o error|\?{9}",
    re.IGNORECASE,
)
#: Words of which a line must have one, or an errno, to be an event.
_WORTH = Lazy(
    r"fail|error|can(?:no|')?t|could not|unable|denied|support|missing|not |busy|refus|invalid|"
    r"unknown|unrecog|fatal|no such|wrong|too many|oops|bug|warning|exceed|abort|\?{9}|killed|"
    r"segfault|superuser|only root|doesn't|overlay|aufs|erdir|ovl_|/dev/|fstype|whiteout|"
    r"type \w+ \(| -t ",
    re.IGNORECASE,
)
#: What can add to messages of the kernel: mounts, layers, and the ends of programs.
_RECORD = Lazy(
    r"overlay|aufs|erdir|fuse|mount(?:\[\d+\])?: |mount(?:ing|2)? |mount\(|fsconfig|DENIED|denied|"
    r"segfault|illed process|ovl_"
)
_UNMOUNTING = Lazy(r"\b(?:umount|unmount\w*)\b", re.IGNORECASE)
_REMOVING = Lazy(
    r"\b(?:rm|rmi|remov\w+|delet\w+|rmdir|unlink(?:at)?|prun\w+|clean(?:ing)? ?up)\b", re.IGNORECASE
)
_UNPACKING = Lazy(
    r"appl(?:y|ying) ?layer|ApplyLayer|register layer|processing tar|extract\w*|unpack\w*|untar\w*|"
    r"whiteout|mknod|OverlayOpaque|committing|rsync|\bdiff application",
    re.IGNORECASE,
)
_LOADING = Lazy(r"\bmodprobe\b|\binsmod\b|\bmodule '?\w+'? (?:is )?not found|kernel module",
                      re.IGNORECASE)  # fmt: skip
_CHECKING = Lazy(r"\bCONFIG_\w+", re.IGNORECASE)
#: Work of a program in a tree: the path inside a merged directory, or a plain command's error.
_INSIDE = Lazy(
    r"(?:/merged|/aufs/mnt/[0-9a-f]{12,}(?:-init)?)/[^\s:'\"]+[^\n:]*: "
    r"(?!(?:failed|error)[^\n]*mount)"
)
#: A missing file in the tree of a container says nothing about its layers.
_OWN = frozenset({"ENOENT", "ENOTDIR", "EISDIR", "EEXIST"})
#: Tools that access any path, and their messages without permission.
_TOOL = Lazy(
    r"^\W*(?:sudo: )?(?:find|du|df|ls|cat|rsync|grep|tar|stat|cd|ba?sh|ncdu|cp|head|wc)\b[^\n]*?: "
)
_DENIED = _OWN | {"EACCES", "EPERM"}
_STRACE = Lazy(r"^(?:\[pid +\d+\] |\d+ +)?(?:[\d:.]+ )?(\w+)\(.*\) += (-?\d+|0x[0-9a-f]+|\?)")
#: What is only listed, or logged as a fact.
_LISTED = Lazy(
    r"^\S+ on \S+ type \w+ \(|^\S+ /\S* \w+ (?:rw|ro)[,\s]|^\s*Storage Driver:|level=info|"
    r"^/proc/mounts|\bINFO\[|\bDEBU\[|level=debug|^DEBUG |^VERBOSE "
)


@functools.cache
def _marks() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in forms.MARKS))


@functools.cache
def _others() -> tuple[tuple[re.Pattern[str], str], ...]:
    rows = [(re.compile(pattern), what) for pattern, what in forms.OTHERS]
    rows += [(re.compile(f"(?i:{pattern})()"), what) for pattern, what in forms.NOT_A_MOUNT]
    return tuple(rows)


def read(lines: list[Line], commands: set[str], *, messages: bool = False) -> list[Event]:
    """Return the events of a text, each once. `commands` are lines that try a layered mount.

    Where there are `messages` of the kernel, only lines about mounts can add to them.
    """
    found: dict[str, Event | None] = {}
    for line in lines:
        if messages and line.fs is None and not _RECORD.search(line.text):
            continue
        if line.text not in found:
            found[line.text] = _event(line, line.text in commands)
    return [event for event in found.values() if event is not None]


def short(text: str) -> str:
    """Return a line as far as its forms can reach: the rest of a long one is data."""
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]} ... {text[-_TAIL:]}"


def _event(line: Line, command: bool) -> Event | None:
    text = short(line.text)
    if line.fs is not None and line.own and line.kernel:
        return Event(line, Subject.LAYERED, Stage.MOUNT, line.fs)
    named = tuple(errnos.find(text))
    if not command and not named and not _WORTH.search(text):
        return None
    if line.fs is not None and (line.own or _REPEATS.search(text[: -len(line.body)])):
        event = Event(line, Subject.LAYERED, Stage.MOUNT, line.fs)
        return event if line.kernel else event._replace(errnos=named, failed=True)
    call = _STRACE.match(text)
    if call is not None and not re.search(r"mount|^fs(?:open|config|pick)|mknod|rename", call[1]):
        return None
    marked = command or _marks().search(text) is not None
    other = _other(text, marked)
    failed = bool(named) or _FAILED.search(text) is not None
    if call is not None and not call[2].startswith("-"):
        failed = False
    if _LISTED.search(text) and not (named and "error" in text):
        failed, named = False, ()
    if command:
        failed = bool(named)
    stage = stage_of(text)
    if other is not None:
        return Event(line, Subject.OTHER, stage, what=other, errnos=named, failed=failed)
    names = {one.name for one in named}
    if marked and named and _INSIDE.search(text) and names <= _OWN:
        failed, named = False, ()  # the container's own files are what they are
    if marked and named and _TOOL.match(text) and names <= _DENIED:
        failed, named = False, ()  # a store is root's: others may not read it
    if marked:
        fstype = "aufs" if "aufs" in text and "overlay" not in text else "overlay"
        return Event(line, Subject.LAYERED, stage, fstype, errnos=named, failed=failed)
    if not failed and not named:
        return None
    subject = Subject.OPEN if _MOUNTING.search(text) else Subject.PLAIN
    if subject is Subject.OPEN and stage is Stage.USE:
        stage = Stage.MOUNT
    return Event(line, subject, stage, errnos=named, failed=True)


def _other(text: str, marked: bool) -> str | None:
    """Return what a line is about if that is not a layered mount."""
    if marked and forms.SURE.search(text):
        return None
    for pattern, what in _others():
        found = pattern.search(text)
        if found is not None:
            return what.format(found[1] or "")
    return None


def stage_of(text: str) -> Stage:
    """Return at what a program was, by the words of its line."""
    if _CHECKING.search(text):
        return Stage.CHECK
    if "lowerdir" in text or "fstype" in text:
        return Stage.MOUNT
    if _LOADING.search(text):
        return Stage.LOAD
    mounting = re.search(
        r"(?i)creating (?:overlay|aufs) mount|(?:^|[^-\w])mount(?:ing)?(?:\[\d+\])?[: ]|to mount|"
        r"fsconfig|\bmount\(|ovl_mount|mount overlay|snapshotter", text
    )  # fmt: skip
    if _UNMOUNTING.search(text) and not re.search(r"creating (?:overlay|aufs) mount", text):
        return Stage.UNMOUNT
    if mounting and not _INSIDE.search(text):
        return Stage.MOUNT
    if _REMOVING.search(text):
        return Stage.REMOVE
    if _UNPACKING.search(text):
        return Stage.UNPACK
    if _INSIDE.search(text):
        return Stage.USE
    return Stage.MOUNT if re.search(r"(?i)\boverlay|aufs|merged", text) else Stage.USE

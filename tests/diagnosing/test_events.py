"""Readers of programs' forms, each against its program's own table of messages."""

from __future__ import annotations

import pytest

from layerctl.diagnosing.reading import attempts, events, text
from layerctl.diagnosing.reading.diagnose import read
from layerctl.diagnosing.reading.events import Event, Stage, Subject
from layerctl.model import Severity

DISK, LAYERED = "/dev/sdb1", "overlay"


def _events(raw: str) -> list[Event]:
    plain = text.plain(raw)
    tried = {one.line for one in attempts.find(plain)}
    return events.read(text.lines(plain), tried)


def _one(raw: str) -> Event:
    (event,) = _events(raw)
    return event


def _failed(raw: str) -> bool:
    return any(one.severity is Severity.FAILURE for one in read(raw).findings)


#: libmount's and mount(8)'s sentences (context_mount.c, mount.c of 2.20 to 2.41): {} is the source.
LIBMOUNT = (
    "mount: /m: wrong fs type, bad option, bad superblock on {}, missing codepage or helper "
    "program, or other error.",
    "mount: wrong fs type, bad option, bad superblock on {},",
    "mount: /m: {} already mounted or mount point busy.",
    "mount: /m: special device {} does not exist.",
    "mount: special device {} does not exist",
    "mount: /m: can't read superblock on {}.",
    "mount: /m: cannot mount {} read-only.",
    "mount: {} already mounted or /m busy",
)


@pytest.mark.parametrize("sentence", LIBMOUNT)
def test_a_sentence_of_mount_is_that_of_its_source(sentence: str) -> None:
    disk = _one(sentence.format(DISK))
    assert (disk.subject, disk.failed) == (Subject.OTHER, True)
    assert DISK in disk.what
    assert not _failed(sentence.format(DISK))
    if "superblock on" in sentence and "read superblock" not in sentence:
        layered = _one(sentence.format(LAYERED))
        assert (layered.subject, layered.stage) == (Subject.LAYERED, Stage.MOUNT)


@pytest.mark.parametrize("fstype", ["iso9660", "ntfs", "vfat", "nosuchfs", "zfs_member"])
@pytest.mark.parametrize("where", ["/m: ", ""])
def test_an_unknown_type_is_the_one_that_is_named(where: str, fstype: str) -> None:
    event = _one(f"mount: {where}unknown filesystem type '{fstype}'")
    assert (event.subject, event.what) == (Subject.OTHER, f"a mount of type {fstype}")


@pytest.mark.parametrize("fstype", ["overlay", "aufs", "overlayfs"])
def test_an_unknown_layered_type_is_a_failure_of_ours(fstype: str) -> None:
    assert _failed(f"mount: /m: unknown filesystem type '{fstype}'.")


#: Sentences that name no source: of whose mount they are, the command before tells.
UNTOLD = (
    "mount: /m: mount point does not exist.",
    "mount: /m: must be superuser to use mount.",
    "mount: /m: permission denied.",
    "mount: drop permissions failed.",
    "mount: /m: mount point not mounted or bad option.",
    "mount: /m: fsconfig() failed: Invalid argument.",
    "mount: /m: mount(2) system call failed: Stale file handle.",
    "mount: /m: Einhängen fehlgeschlagen: Keine Berechtigung.",
)


@pytest.mark.parametrize("sentence", UNTOLD)
def test_a_sentence_without_a_source_is_that_of_the_command(sentence: str) -> None:
    assert _one(sentence).subject is Subject.OPEN
    assert not _failed(sentence)
    assert _failed(f"mount -t overlay o -o lowerdir=/a,upperdir=/b,workdir=/w /m\n{sentence}")
    assert not _failed(f"mount -t ext4 /dev/sdb1 /m\n{sentence}")


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        (DISK, "/overlay", Subject.OTHER),
        ("proc", "/proc", Subject.OTHER),
        ("tmpfs", "/tmp/overlay", Subject.OTHER),
        ("overlay", "/root", Subject.LAYERED),
    ],
)
def test_busybox_says_what_it_mounts(source: str, target: str, kind: Subject) -> None:
    event = _one(f"mount: mounting {source} on {target} failed: No such device")
    assert (event.subject, [one.name for one in event.errnos]) == (kind, ["ENODEV"])


def test_the_new_calls_of_a_strace_are_one_mount_and_other_calls_are_nothing() -> None:
    trace = """
access("/etc/ld.so.preload", R_OK) = -1 ENOENT (No such file or directory)
fsopen("overlay", FSOPEN_CLOEXEC) = 3
fsconfig(3, FSCONFIG_SET_STRING, "source", "o", 0) = 0
fsconfig(3, FSCONFIG_SET_STRING, "lowerdir+", "/l1", 0) = 0
fsconfig(3, FSCONFIG_SET_STRING, "lowerdir+", "/l2", 0) = 0
fsconfig(3, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) = 0
fsconfig(3, FSCONFIG_CMD_CREATE, NULL, NULL, 0) = -1 ELOOP (Too many levels of symbolic links)
ioctl(0, TCGETS, 0x7ffd) = -1 ENOTTY (Inappropriate ioctl for device)"""
    (attempt,) = attempts.find(trace)
    assert attempt.stack is not None
    assert [layer.path for layer in attempt.stack.layers] == ["/l1", "/l2"]
    assert "userxattr" in attempt.stack.options
    told = {one.name for event in _events(trace) for one in event.errnos}
    assert told == {"ELOOP"}
    assert read(trace).findings[0].cause == "overlapping-layers"


def test_mount_of_a_strace_tells_type_and_options() -> None:
    call = 'mount("o", "/m", "overlay", MS_RELATIME, "lowerdir=/a:/b") = -1 ENOENT (No such file)'
    (attempt,) = attempts.find(call)
    assert (attempt.fstype, attempt.target, attempt.options) == ("overlay", "/m", "lowerdir=/a:/b")
    other = 'mount("t", "/m", "tmpfs", MS_RELATIME, "size=1g") = -1 EPERM (Operation not permitted)'
    assert _one(other).what == "a mount of type tmpfs"


@pytest.mark.parametrize(
    "line",
    [
        "mount overlay:/m, data: lowerdir=/a:/b: invalid argument",
        'failed to mount /t: mount source: "overlay", target: "/t", fstype: overlay, flags: 0, '
        'data: "lowerdir=/a:/b", err: invalid argument',
        "failed to mount [{Type:overlay Source:overlay Options:[lowerdir=/a:/b]}] on /t: invalid "
        "argument",
        "failed to mount rootfs component &{overlay overlay [lowerdir=/a:/b]}: invalid argument",
        'error mounting "overlay" to rootfs at "/x": mount overlay:/x (via /proc/self/fd/6), data: '
        "lowerdir=/a:/b: invalid argument",
        'creating overlay mount to /s/overlay/x/merged, mount_data="lowerdir=/a:/b": invalid '
        "argument",
        'Failed to mount overlay (type overlay) on /m (0 "lowerdir=/a:/b"): Invalid argument',
        "overlay - storage/overlay.c:ovl_mount:491 - Invalid argument - Failed to mount",
        "bwrap: Can't make overlay mount on /newroot/u with options lowerdir=/a: Invalid argument",
        "while mounting overlay: can't mount overlay filesystem to /final: invalid argument",
    ],
)
def test_engines_and_sandboxes_name_a_layered_mount_in_their_own_forms(line: str) -> None:
    event = _one(line)
    assert (event.subject, event.stage, event.failed) == (Subject.LAYERED, Stage.MOUNT, True)
    assert [one.name for one in event.errnos] == ["EINVAL"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('error mounting "/h/f" to rootfs at "/x": mount /h/f:/x (via /proc/self/fd/6): not a '
         "directory", "/h/f"),
        ("failed to mount /t: [{Type:bind Source:/s Options:[rbind ro]}]: operation not permitted",
         "bind"),
        ('mounting \\"proc\\" to rootfs \\"/var/lib/docker/overlay2/x/merged\\" at \\"/proc\\" '
         'caused \\"permission denied\\"', "proc"),
        ('apparmor="DENIED" operation="mount" profile="p" name="/x/" fstype="tmpfs"', "tmpfs"),
        ("devmapper: Error mounting '/dev/mapper/d-1' on '/m': invalid argument", "/dev/mapper"),
        ("lxc-start c ERROR zfs - storage/zfs.c:zfs_mount:190 - Invalid argument - Failed", "zfs"),
        ("mount.nfs: access denied by server while mounting 10.0.0.2:/export", "mount.nfs"),
        ("crun: mount `/s/overlay-containers/x/merge` to `mnt`: Permission denied", "container"),
    ],
)  # fmt: skip
def test_what_is_no_layered_mount_is_named(line: str, what: str) -> None:
    event = _one(line)
    assert event.subject is Subject.OTHER
    assert what in event.what
    reading = read(line)
    assert not reading.findings
    assert what in reading.others[0].meaning


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("Error: removing /s/overlay/0123456789ab/merged: device or resource busy", Stage.REMOVE),
        ("umount: /v/overlay2/0123456789ab/merged: target is busy", Stage.UNMOUNT),
        ("Error processing tar file(exit status 1): operation not permitted", Stage.UNPACK),
        ("modprobe: FATAL: Module overlay not found in directory /lib/modules/1", Stage.LOAD),
        ("- CONFIG_OVERLAY_FS: missing", Stage.CHECK),
        ("mkdir /v/overlay2/0123456789ab/merged/dev/shm: invalid argument", Stage.USE),
    ],
)
def test_the_stage_is_read_from_the_line(line: str, stage: Stage) -> None:
    assert _one(line).stage is stage


def test_a_fact_excludes_a_cause() -> None:
    full = (
        "error creating overlay mount to /v/overlay2/0123456789ab/merged: no space left on device"
    )
    rows = "/dev/sda1 98G 42G 51G {}% /var/lib"
    causes = [one.cause for one in read(f"{full}\n{rows.format(46)}").findings]
    assert causes[0] == "mount-count-limit"
    assert "upper-enospc" not in causes
    assert read(f"{full}\n{rows.format(100)}").findings[0].cause == "upper-enospc"
    missing = "failed to mount overlay: no such device"
    assert read(missing).findings[0].cause == "overlay-module-missing"
    loaded = [one.cause for one in read(f"{missing}\noverlay 151552 0").findings]
    assert "overlay-module-missing" not in loaded


def test_what_only_an_errno_tells_is_said_with_what_would_decide() -> None:
    reading = read("mount overlay:/m, data: lowerdir=/a,upperdir=/b,workdir=/c: invalid argument")
    assert reading.unsaid == "a layered mount failed with EINVAL, and the text does not say why"
    assert reading.decide[0].startswith("dmesg")


def test_a_command_has_the_texts_own_paths_or_is_marked_as_a_pattern() -> None:
    tried = (
        "mount -t overlay o -o lowerdir=/l,upperdir=/s/u,workdir=/s/u/w /m\nmount: /m: wrong fs "
    )
    fix = read(tried + "type, bad option, bad superblock on o.").findings[0].fix
    assert fix.commands[0] == "mkdir -p /s/u.work"
    assert "-w /s/u.work /m" in fix.commands[1]
    lost = read(
        f"error creating overlay mount to /v/docker/overlay2/{'a' * 64}/merged: no such file"
    )
    assert not any("mkdir" in command for command in lost.findings[0].fix.commands)
    assert lost.findings[0].fix.commands[-1].endswith("# replace IMAGE")

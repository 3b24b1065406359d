"""`--from` on texts in the words of mount programs, engines and C libraries."""

from __future__ import annotations

import errno
import os

import pytest

from layerctl.diagnosing.reading import attempts, errnos
from layerctl.diagnosing.reading.diagnose import read
from layerctl.model import Severity
from tests.support import layerctl, layerctl_json

LAYERS = "/var/lib/docker/overlay2"

FIRST: tuple[tuple[str, str], ...] = (
    ("target-missing", "mount: /merged: mount point does not exist."),
    ("target-missing", "mount: /merged: der Einhängepunkt ist nicht vorhanden."),
    ("target-not-a-directory", "mount: /m: マウントポイントがディレクトリではありません."),
    ("missing-cap-sys-admin", "mount: /m: must be superuser to use mount."),
    ("missing-cap-sys-admin", "mount: only root can do that"),
    ("leaked-mount-busy", "umount: /m: target is busy."),
    ("leaked-mount-busy", f"failed to remove root filesystem: remove {LAYERS}/a/merged: "
     "device or resource busy"),
    ("missing-layer-directory", "mount: special device overlay does not exist"),
    ("aufs-module-missing", "mount: unknown filesystem type 'aufs'"),
    ("aufs-module-missing", "mount: mounting aufs on /union failed: No such device"),
    ("running-kernel-modules-removed", "modprobe: FATAL: Module overlay not found in directory "
     "/lib/modules/6.1.0-9-amd64"),
    ("overlapping-layers", f"error creating overlay mount to {LAYERS}/x/merged: too many levels "
     "of symbolic links"),
    ("index-estale-lower-changed", "mount: /m: mount(2) system call failed: Stale file handle."),
    ("redirect-dir-off-rename-exdev", "EXDEV: cross-device link not permitted, rename '/a' -> "
     "'/b'"),
    ("zfs-no-rename-whiteout", "mv: cannot move '/a/b' to a subdirectory of itself, '/a/c'"),
    ("selinux-denied", f"mkdir {LAYERS}/abc-init/merged/etc: permission denied"),
    ("dev-fuse-missing", "fuse: device not found, try 'modprobe fuse' first\nfuse-overlayfs: "
     "cannot mount: No such file or directory"),
    ("fuse-overlayfs-not-installed", 'exec: "fuse-overlayfs": executable file not found in $PATH'),
    ("fuse-overlayfs-unsupported-option", "unknown argument ignored: index=off"),
    ("benign-fuse-overlayfs-lazytime", "unknown argument ignored: lazytime"),
    ("aufs-tools-missing", 'exec: "auplink": executable file not found in $PATH'),
    ("option-string-too-long", "docker: max depth exceeded"),
    ("container-policy-denies-overlay-mount", 'audit: apparmor="DENIED" operation="mount" '
     'profile="docker-default" fstype="overlay"'),
    ("aufs-branch-fs-unsupported", "error creating aufs mount to /var/lib/docker/aufs/mnt/0a-init:"
     " mount target=/x data=br:/d/1=rw:/d/2=ro+wh,dio,xino=/dev/shm/aufs.xino: invalid argument"),
    ("aufs-br-colon-new-mount-api", 'fsconfig(3, FSCONFIG_SET_STRING, "br:/a", "rw:/b", 0) = -1 '
     "EINVAL (Invalid argument)"),
    ("target-not-a-directory", "move_mount(4, \"\", -100, \"/f\") = -1 EINVAL"),
    ("missing-workdir", "$ mount -t overlay overlay -o lowerdir=a,upperdir=b m\nmount: /m: "
     "mount(2) system call failed: Cannot allocate memory."),
    ("overlay-not-in-kernel", "modprobe: FATAL: Module overlay not found in directory "
     "/lib/modules/3.10.105-board"),
    ("overlay-module-missing", "initramfs: mount: /new_root: unknown filesystem type 'overlay'"),
    ("aufs-module-missing", 'unknown file system type "aufs"\nfailed to mount /run/union'),
    ("xfs-ftype0-no-dtype", f"mkdir /srv/overlay/{'a' * 64}-init/merged/dev/shm: invalid argument"),
    ("missing-layer-directory", "cannot read lower dirs: No such file or directory\n"
     "fuse-overlayfs -o lowerdir=a,upperdir=b,workdir=c d"),
    ("comma-in-path", "mount.composefs -t composefs -o 'basedir=b,workdir=w,upperdir=u\\,v' i m\n"
     "mount.composefs: Failed to mount composefs i: No such file or directory"),
    ("container-policy-denies-overlay-mount", "mount: /m: cannot mount overlay read-only."),
    ("lowerdir-fs-unsupported-case-insensitive", "Failed to mount ext (type overlay) on /usr "
     '(MS_RDONLY "lowerdir=/run/a/usr:/usr"): Invalid argument'),
    ("userns-trusted-xattr-option", "unshare -rm mount -t overlay o -o lowerdir=l,upperdir=u,"
     "workdir=w,metacopy=on m\nmount: m: permission denied."),
    ("upper-missing-required-features", "kernel: overlayfs: upper fs does not support tmpfile.\n"
     "kernel: overlayfs: upper fs missing required features."),
    ("malformed-option-string", '[1.0] overlayfs: unrecognized mount option "\\xc8d\\x05" or '
     "missing value"),
    ("userns-lower-with-submounts", "bwrap: Can't make overlay mount on /newroot/var with options "
     "upperdir=/u,workdir=/w,lowerdir=/oldroot/var,userxattr: Invalid argument"),
    ("layer-link-missing-after-crash", f"error creating overlay mount to {LAYERS}/{'c' * 64}-init/"
     "merged: no such file or directory."),
    ("volatile-upper-error", 'creating overlay mount to /m, mount_data="lowerdir=/l/A,upperdir='
     '/d,workdir=/w,volatile,context=\\"u:r:t:s0:c1,c2\\"": input/output error'),
    ("colon-in-path", "mount -t overlay o -o lowerdir=/srv/a:b,upperdir=/u,workdir=/w /m\n"
     "mount: /m: special device o does not exist."),
    ("workdir-upperdir-not-separate", "mount -t overlay o -o lowerdir=/l,upperdir=/u,workdir=/u/w "
     "/m\nmount: /m: wrong fs type, bad option, bad superblock on o."),
    ("overlapping-layers", "mount -t overlay o -o lowerdir=/l:/l/x,upperdir=/u,workdir=/w /m\n"
     "mount: /m: mount(2)-Systemaufruf ist fehlgeschlagen: Zu viele Ebenen aus symbolischen "
     "Links."),
    ("mounted-read-only", "o on / type overlay (ro,relatime,lowerdir=/l,upperdir=/u,workdir=/w)"),
    ("xfs-ftype0-no-dtype", "$ ls -l m\nc????????? ? ? ? ?            ? test"),
    ("upperdir-fs-unsupported-nfs", "mount: /m: wrong fs type, bad option, bad superblock on "
     "overlay.\n/mnt/nfs server:/x nfs4 rw"),
)  # fmt: skip


@pytest.mark.parametrize(("cause", "text"), FIRST)
def test_the_cause_comes_first(cause: str, text: str) -> None:
    assert read(text).findings[0].cause == cause


def test_several_faults_in_one_text_are_all_found() -> None:
    reading = read(
        "overlayfs: workdir and upperdir must reside under the same mount\n"
        "aufs test_add:226:mount[372]: /a duplicated\n"
        "umount: /m: target is busy."
    )
    assert {one.cause for one in reading.findings} >= {
        "workdir-upperdir-different-mount",
        "aufs-branch-duplicated",
        "leaked-mount-busy",
    }


def test_where_the_words_fit_several_all_are_given_with_what_decides() -> None:
    text = "overlayfs: filesystem on '/u' not supported as upperdir"
    causes = [one.cause for one in read(text).findings]
    assert {"upperdir-fs-unsupported-nfs", "upperdir-fs-unsupported-zfs"} <= set(causes)
    known = read(text, fs="zfs")
    assert known.findings[0].cause == "upperdir-fs-unsupported-zfs"
    modern = read(text, kernel_version=(6, 1))
    assert [one.cause for one in modern.findings] == ["upperdir-fs-unsupported-overlay"]
    assert read("mount: /m: mount failed: Invalid argument. overlay").decide


def test_what_networks_and_devices_log_is_noise() -> None:
    reading = read(
        "[1.0] overlayfs: maximum fs stacking depth exceeded\n"
        "[1.1] docker0: port 1(veth846a840) entered blocking state\n"
        "[1.2] IPv6: ADDRCONF(NETDEV_CHANGE): veth1: link becomes ready\n"
        "[1.3] EXT4-fs (sda1): error count since last fsck: 3"
    )
    assert [one.cause for one in reading.findings] == ["max-stacking-depth"]
    (noise,) = reading.noise
    assert "docker0" in noise.line
    assert "1 similar line" in noise.meaning


def test_a_version_rules_causes_out() -> None:
    text = "$ unshare -Urm mount -t overlay o -o lowerdir=/l,upperdir=/u,workdir=/w /m\n" + (
        "mount: /m: permission denied."
    )
    assert read(text).findings[0].cause == "userns-overlay-not-permitted-old-kernel"
    later = [one.cause for one in read(text, kernel_version=(6, 1)).findings]
    assert "userns-overlay-not-permitted-old-kernel" not in later


@pytest.mark.parametrize("name", ["EPERM", "ENOENT", "EINVAL", "ELOOP", "EBUSY", "ESTALE", "EXDEV"])
@pytest.mark.parametrize(
    "form", ["x: {name}", "x: errno={number}", "{words}", "[Errno {number}] x"]
)
def test_an_errno_is_told_by_name_number_and_words(form: str, name: str) -> None:
    number = getattr(errno, name)
    text = form.format(name=name, number=number, words=os.strerror(number))
    assert name in [one.name for one in errnos.find(text)]


@pytest.mark.parametrize(
    ("words", "found"),
    errnos.phrases().items(),
)
def test_every_phrase_is_found_as_its_errno(words: str, found: tuple[str, object]) -> None:
    assert found[0] in {one.name for one in errnos.find(f"x: {words}.")}


@pytest.mark.parametrize(
    "text",
    [
        "sudo mount -t overlay overlay -o lowerdir=/l,upperdir=/u,workdir=/w /m",
        "mount -t overlay -olowerdir=/l,upperdir=/u,workdir=/w none /m",
        "overlay /m overlay noauto,lowerdir=/l,upperdir=/u,workdir=/w 0 0",
        'mount_data="lowerdir=/l,upperdir=/u,workdir=/w": invalid argument',
        "Options:[lowerdir=/l upperdir=/u workdir=/w]",
        "Options=lowerdir=/l,upperdir=/u,workdir=/w",
        "overlay on /m type overlay (rw,relatime,lowerdir=/l,upperdir=/u,workdir=/w)",
        'fstype: overlay, flags: 0, data: "workdir=/w,upperdir=/u,lowerdir=/l", err: x',
        "mount -t overlay o -o lowerdir=/l \\\n  -o upperdir=/u,workdir=/w /m",
    ],
)
def test_mounts_are_read_from_commands_fstab_and_engines(text: str) -> None:
    (attempt,) = attempts.find(text)
    assert attempt.stack is not None
    lowers = [one.path for one in attempt.stack.layers][1:]
    assert (lowers[0], attempt.stack.upper, attempt.stack.work) == ("/l", "/u", "/w")


@pytest.mark.parametrize("text", ["", "\0\x1b[31m\xff", "hello", "a" * 100_000, "mount\n" * 3000])
def test_any_text_is_read_without_a_traceback(text: str) -> None:
    assert all(one.severity is not Severity.FAILURE for one in read(text).findings)


def test_from_is_a_report() -> None:
    text = "overlayfs: maximum fs stacking depth exceeded\noverlayfs: upper fs does not support "
    document = layerctl_json("doctor", "--from", "-", stdin=text + "tmpfile.", code=1)
    assert document["verdict"] == "failure"
    assert document["findings"][0]["cause"] == "max-stacking-depth"
    assert document["findings"][0]["certainty"] == "certain"
    assert len(document["noise"]) == 1
    shown = layerctl("doctor", "--from", "-", stdin=text + "tmpfile.")
    assert shown.returncode == 1
    assert "harmless lines" in shown.stdout
    nothing = layerctl("doctor", "--from", "-", stdin="hello")
    assert nothing.returncode == 0
    assert "the text contains nothing known" in nothing.stderr


def test_wrong_uses_of_from_are_told() -> None:
    assert layerctl("doctor", "--from", "-", "-l", "/a", stdin="").returncode == 2
    assert layerctl("doctor", "--kernel", "6.1").returncode == 2
    assert layerctl("doctor", "--from", "-", "--kernel", "x", stdin="").returncode == 2
    assert layerctl("doctor", "--from", "/nonexistent").returncode == 3

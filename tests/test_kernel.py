"""The small pieces that ask the system, each against the system itself where that can be had."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerctl.kernel import (
    context,
    holders,
    kmsg,
    layers,
    mounts,
    syscalls,
)
from layerctl.kernel.context import Features
from layerctl.kernel.images import is_image

TABLE = {letter: letter.upper() for letter in layers.LETTERS}


@pytest.fixture
def every_type(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("f")
    (tmp_path / "l").symlink_to("d")
    os.mkfifo(tmp_path / "p")
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(tmp_path)  # a socket's name may have 108 bytes
        bound.bind("s")
        os.chdir(here)
    if os.geteuid() == 0:
        os.mknod(tmp_path / "c", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(tmp_path / "b", stat.S_IFBLK | 0o600, os.makedev(7, 0))
        os.mknod(tmp_path / "w", stat.S_IFCHR | 0o600, 0)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_types_of_files(every_type: int) -> None:
    found = layers.scan(every_type, TABLE)
    assert found == {name: name.upper() for name in os.listdir(every_type)}
    for name in found:
        status = layers.status(name, every_type)
        assert status is not None
        assert layers.letter_of(status) == name
    assert layers.status("nosuch", every_type) is None
    assert layers.status("f/below", every_type) is None
    assert layers.status("x" * 256, every_type) is None
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        layers.status("f", 10_000)


def test_marks_are_kept_and_most_files_left_out(every_type: int, tmp_path: Path) -> None:
    for name in (".wh.one", "also", "plain"):
        (tmp_path / name).touch()
    (tmp_path / ".wh.two").symlink_to("f")
    (tmp_path / "far").symlink_to("f")
    left: list[str] = []
    found = layers.scan_markers(every_type, TABLE, ".wh.", {"also", "far"}, left)
    special = {name: name.upper() for name in os.listdir(every_type) if name in "dpscbw"}
    assert found == {".wh.one": "F", ".wh.two": "L", "also": "F", "far": "L", **special}
    assert sorted(left) == ["f", "plain"]
    assert "l" not in layers.scan_markers(every_type, TABLE, ".wh.")


def test_a_path_is_walked_by_descriptors_and_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to("b")
    (tmp_path / "a" / "file").touch()
    root = layers.open_root(str(tmp_path))
    before = os.listdir("/proc/self/fd")
    for path in ("", "a", "a/b", "/a//b/"):
        fd = layers.open_path(path, root)
        assert layers.real_path(fd) == os.path.normpath(f"{tmp_path}/{path}")
        os.close(fd)
    for path, number in (("a/link", errno.ENOTDIR), ("a/nosuch/x", errno.ENOENT)):
        with pytest.raises(OSError, match=os.strerror(number)):
            layers.open_path(path, root)
    inside = layers.open_path("a", root)
    with pytest.raises(NotADirectoryError):
        layers.open_dir("file", inside)
    os.close(inside)
    assert os.listdir("/proc/self/fd") == before
    os.close(root)


def test_access_times_stay(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.utime(tmp_path / "d", (1, 1))
    fd = layers.open_root(str(tmp_path / "d"))
    layers.scan(fd, TABLE)
    os.close(fd)
    assert os.stat(tmp_path / "d").st_atime == 1


@pytest.mark.parametrize("size", [0, 1, 4096, 1 << 18, (1 << 18) + 1, (1 << 19) + 7])
def test_contents_are_compared_to_the_last_byte(tmp_path: Path, size: int) -> None:
    for name in ("one", "same", "other", "longer"):
        (tmp_path / name).write_bytes(b"x" * size)
    fd = layers.open_root(str(tmp_path))
    before = os.listdir("/proc/self/fd")
    assert layers.same_content("one", fd, "same", fd, size)
    for at in {0, size // 2, size - 1} if size else ():
        content = bytearray(b"x" * size)
        content[at] = 0
        (tmp_path / "other").write_bytes(content)
        assert not layers.same_content("one", fd, "other", fd, size)
        assert not layers.same_content("other", fd, "one", fd, size)
    (tmp_path / "longer").write_bytes(b"x" * (size + 1))
    assert not layers.same_content("one", fd, "longer", fd, size)  # it grew since it was looked at
    pair = layers.open_pair("one", fd, fd)
    assert pair is not None
    assert pair[0] != pair[1]
    for one in pair:
        os.close(one)
    assert layers.open_pair("nosuch", fd, fd) is None
    assert os.listdir("/proc/self/fd") == before
    os.close(fd)


def test_one_of_a_pair_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "file").touch()
    fd, other = layers.open_root(str(tmp_path)), layers.open_root(str(tmp_path / "d"))
    before = os.listdir("/proc/self/fd")
    assert layers.open_pair("file", fd, other) is None
    assert layers.open_pair("file", other, fd) is None
    assert os.listdir("/proc/self/fd") == before
    os.close(fd)
    os.close(other)


@pytest.mark.namespace
def test_attributes_of_files_and_directories(lab: Path) -> None:
    (lab / "file").touch()
    (lab / "plain").touch()
    (lab / "dir").mkdir()
    (lab / "link").symlink_to("file")
    os.setxattr("file", "trusted.overlay.metacopy", b"")
    os.setxattr("file", "trusted.other", b"value")
    os.setxattr("dir", "trusted.overlay.opaque", b"y")
    fd = layers.open_root(str(lab))
    below = layers.open_dir("dir", fd)
    assert layers.attributes(fd, "file") == {
        "trusted.overlay.metacopy": b"", "trusted.other": b"value",
    }  # fmt: skip
    assert layers.attributes(below) == {"trusted.overlay.opaque": b"y"}
    assert layers.attributes(fd, "link") == {}
    assert layers.attribute_names(fd, "nosuch") == []
    assert layers.attribute("trusted.other", fd, "nosuch") is None
    assert layers.attribute("trusted.nosuch", fd, "file") is None
    assert layers.attribute("trusted.nosuch", fd) is None
    here = os.getcwd()
    names = ["file", "plain", "link", "nosuch", "dir"]
    wanted = {"trusted.overlay.metacopy", "trusted.overlay.opaque"}
    assert layers.with_attributes(fd, names, wanted, lambda *_: None) == {
        "file": ["trusted.overlay.metacopy"], "dir": ["trusted.overlay.opaque"],
    }  # fmt: skip
    assert os.getcwd() == here
    for call in (layers.attribute_names, lambda fd, name: layers.attribute("user.x", fd, name)):
        with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)):
            call(fd, "x" * 300)


@pytest.mark.namespace
def test_how_many_directories_are_open_at_once() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
    assert layers.directories_at_once(1) == 48
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, 4096)
    assert layers.directories_at_once(9) == 48
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (640, 4096)
    assert layers.directories_at_once(499) == 7
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (4096, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    assert layers.directories_at_once(3) == 47
    assert layers.directories_at_once(500) == 2


def test_what_the_kernel_log_says_from_now_on() -> None:
    if os.geteuid() != 0:
        assert kmsg.KernelLog().lines("overlayfs") in ([], kmsg.KernelLog().lines("x"))
        return
    mark = f"layerctl-test-{os.getpid()}"

    def say(words: str) -> None:
        with open("/dev/kmsg", "w") as file:
            file.write(f"<7>{words}\n")

    say(f"overlayfs: {mark} too early")
    log = kmsg.KernelLog()
    assert log.readable
    say(f"overlayfs: {mark}; one: two")
    say(f"aufs {mark} three")
    say(f"ext4 {mark} four")
    found = [line for line in log.lines("overlay", "aufs") if mark in line]
    assert found == [f"overlayfs: {mark}; one: two", f"aufs {mark} three"]
    assert [line for line in log.lines("overlay") if mark in line] == []
    log.close()
    assert not log.readable
    assert log.lines("overlay") == []
    log.close()


def test_a_kernel_log_that_is_overwritten_or_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [
        b"6,1,2,-;overlayfs: one\n SUBSYSTEM=x\n", OSError(errno.EPIPE, "lost"),
        b"6,9,2,-;overlayfs: two\n", BlockingIOError(errno.EAGAIN, "no more"),
    ]  # fmt: skip
    log = kmsg.KernelLog()
    log._fd = os.open("/dev/null", os.O_RDONLY)

    def read(_fd: int, _size: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read)
        assert log.lines("overlay") == ["overlayfs: one", "overlayfs: two"]
    assert answers == []
    log.close()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError()))
        assert not kmsg.KernelLog().readable


@pytest.mark.parametrize(
    ("takes", "expected"),
    [
        (None, Features()),
        ({"layerctl_probe", "lowerdir+", "fd"}, Features()),
        ({"x"}, Features(context=True)),
        ({"fd"}, Features(context=True)),
        ({"lowerdir+"}, Features(context=True, append=True)),
        ({"lowerdir+", "fd"}, Features(context=True, append=True, by_descriptor=True)),
    ],
)
def test_what_a_kernel_takes(
    monkeypatch: pytest.MonkeyPatch, takes: set[str] | None, expected: Features
) -> None:
    def fsopen(fstype: str) -> int:
        assert fstype == "overlay"
        if takes is None:
            raise OSError(errno.ENOSYS, "old")
        return os.open("/dev/null", os.O_RDONLY)

    def fsconfig(_fd: int, command: int, key: str, _value: str | None, aux: int = 0) -> None:
        word = "fd" if command == syscalls.FSCONFIG_SET_FD else key
        assert os.fstat(aux).st_ino == os.stat("/").st_ino if word == "fd" else True
        if word not in (takes or ()):
            raise OSError(errno.EINVAL, "unknown")

    monkeypatch.setattr(syscalls, "fsopen", fsopen)
    monkeypatch.setattr(syscalls, "fsconfig", fsconfig)
    before = os.listdir("/proc/self/fd")
    assert context.overlay_features() == expected
    assert os.listdir("/proc/self/fd") == before


def test_a_kernel_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fstype: str) -> int:
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(syscalls, "fsopen", refuse)
    assert context.overlay_features() == Features(unknown="not permitted")
    assert context.refused_options({"index": "on"}) == {}


@pytest.mark.namespace
def test_options_that_the_kernel_refuses() -> None:
    if not context.overlay_features().context:
        return
    before = os.listdir("/proc/self/fd")
    options = {"index": "on", "nosuch": "1", "userxattr": None, "bare": None, "xino": "what"}
    refused = context.refused_options(options)
    assert set(refused) == {"nosuch", "bare", "xino"}
    assert all("nown" in words or "ad value" in words or words for words in refused.values())
    assert context.refused_options({}) == {}
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.namespace
def test_attributes_that_cannot_be_read_are_said(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (lab / "file").touch()
    unread: list[tuple[str, int | None]] = []
    fd = os.open(lab, os.O_RDONLY)
    monkeypatch.setattr(os, "listxattr", failing)
    found = layers.with_attributes(fd, ["file"], ["x"], lambda n, e: unread.append((n, e.errno)))
    assert (found, unread) == ({}, [("file", errno.EIO)])


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
@pytest.mark.namespace
def test_an_image_is_known_by_its_magic_number(lab: Path, fs: str) -> None:
    (lab / "text").write_text("no image\n")
    os.truncate(lab / "text", 1 << 18)
    assert not is_image(str(lab / "text"))
    size = 320 << 20 if fs == "xfs" else 128 << 20
    (lab / "image").touch()
    os.truncate(lab / "image", size)
    force = "-F" if fs == "ext4" else "-f"
    subprocess.run([f"mkfs.{fs}", "-q", force, str(lab / "image")], check=True, capture_output=True)
    assert is_image(str(lab / "image"))


@pytest.mark.namespace
def test_a_descriptor_that_is_closed_meanwhile_hides_no_other(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab / "m").mkdir()
    syscalls.mount("t", str(lab / "m"), "tmpfs", 0, "")
    entry = mounts.find("m")
    real = mounts.mount_id_in
    failed: list[str] = []

    def mount_id_in(fdinfo: str) -> int:
        if not failed:
            failed.append(fdinfo)
            raise FileNotFoundError
        return real(fdinfo)

    with open("m/open", "w") as file:
        monkeypatch.setattr(mounts, "mount_id_in", mount_id_in)
        held = dict(holders._holds(os.getpid(), entry))
        assert held == {f"file descriptor {file.fileno()}": f"{lab}/m/open"}

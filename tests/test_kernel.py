"""The small pieces that ask the system, each against the system itself where that can be had."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerctl.codecs.overlay import parse
from layerctl.errors import LayerctlError, NotFoundError
from layerctl.kernel import (
    context,
    holders,
    kmsg,
    layers,
    mounts,
    paths,
    syscalls,
)
from layerctl.kernel.context import Features
from layerctl.kernel.facts import (
    Caller,
    TypeState,
    common,
    features,
    ignored_markers,
    modules,
    overlay,
    system,
)
from layerctl.kernel.images import is_image
from layerctl.model import Layer, MountEntry, Role, Stack
from layerctl.mounting import busy

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


WORDS: dict[str, str] = {
    "/proc/version": "Linux version 6.1",
    "/proc/self/status": "Name:\tx\nSeccomp:\t0\n",
}


@pytest.mark.parametrize(
    ("path", "text", "word"),
    [
        ("/proc/version", "Linux version 4.4.0-19041-Microsoft", "wsl1"),
        ("/proc/version", "Linux version 5.15-microsoft-standard-WSL2", "wsl2"),
        ("/proc/version", "Linux version 6.6 Microsoft WSL2", "wsl2"),
        ("/proc/version", "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016", "gvisor"),
        ("/proc/self/status", "Name:\tx\nSeccomp:\t2\n", "seccomp"),
        ("/proc/self/attr/current", "docker-default (enforce)", "apparmor"),
        ("/sys/fs/selinux/enforce", "1", "selinux"),
        ("/proc/sys/user/max_user_namespaces", "0", "no-userns"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "no-userns"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "no-userns"),
        ("/proc/version", "Linux version 6.1 (gcc)", ""),
        ("/proc/self/attr/current", "firefox (complain)", ""),
        ("/proc/self/attr/current", "unconfined", ""),
        ("/sys/fs/selinux/enforce", "0", ""),
        ("/proc/sys/user/max_user_namespaces", "1000", ""),
        ("/proc/sys/kernel/unprivileged_userns_clone", "1", ""),
        ("/.dockerenv", "", "container"),
        ("/run/.containerenv", "", "container"),
    ],
)
def test_what_surrounds_this_process(
    monkeypatch: pytest.MonkeyPatch, path: str, text: str, word: str
) -> None:
    known = {**WORDS, path: text}
    monkeypatch.setattr(common, "read_word", known.get)
    monkeypatch.setattr(os.path, "exists", lambda one: one == path and word == "container")
    assert common.surroundings() == ({word} if word else frozenset())


def test_the_system_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = system.gather(probe=False)
    assert found.kernel == os.uname().release
    assert found.features is found.user_features is None
    assert found.places["/"] == mounts.find("/").fstype
    assert found.dev_fuse == os.path.exists("/dev/fuse")
    assert (found.types["overlay"] == TypeState.PRESENT) == (
        "\toverlay\n" in Path("/proc/filesystems").read_text()
    )
    monkeypatch.setenv("PATH", "/nonexistent:/bin")
    assert system._program("sh") == "/bin/sh"
    assert system._program("nosuchprogram") is None

    def unreadable(_path: str = "") -> list[MountEntry]:
        raise OSError(errno.EACCES, "denied")

    monkeypatch.setattr(mounts, "entries", unreadable)
    assert system.gather(probe=False).unknown == ("/proc/self/mountinfo: denied",)


@pytest.mark.parametrize(
    ("files", "expected", "module"),
    [
        ({}, TypeState.PRESENT, None),
        ({"modules.dep": "kernel/overlay.ko.xz: kernel/x.ko\n"}, TypeState.MODULE, True),
        ({"modules.builtin": "kernel/fs/overlayfs/overlay.ko\n"}, TypeState.MODULE, True),
        ({"modules.dep": "k/overlayx.ko:\n", "modules.builtin": ""}, TypeState.ABSENT, False),
        ({"modules.dep": "kernel/fs/x.ko: kernel/overlay.ko\n"}, TypeState.ABSENT, False),
    ],
)  # fmt: skip
def test_where_a_type_is(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    files: dict[str, str],
    expected: str,
    module: bool | None,
) -> None:
    for release in (os.uname().release, "other"):
        (tmp_path / release).mkdir()
        for name, text in files.items():
            (tmp_path / release / name).write_text(text)
    (tmp_path / "none").mkdir()
    real = mounts.read_text

    def read_text(path: str) -> str:
        return "nodev\tproc\n\text4\n" if path == "/proc/filesystems" else real(path)

    monkeypatch.setattr(modules, "MODULES", str(tmp_path))
    monkeypatch.setattr(mounts, "read_text", read_text)
    monkeypatch.setattr(syscalls, "fsopen", lambda _fstype: os.open("/dev/null", os.O_RDONLY))
    assert modules.type_state("overlay") == expected
    assert modules.has_module("overlay", "other") is module
    both = tuple(sorted(["other", os.uname().release]))
    assert modules.kernels_with("overlay") == (both if module else ())
    assert modules.type_state("ext4") == TypeState.PRESENT
    for number, state in ((errno.ENODEV, TypeState.ABSENT), (errno.EPERM, TypeState.UNKNOWN)):

        def refuse(_fstype: str, number: int = number) -> int:
            raise OSError(number, "no")

        monkeypatch.setattr(syscalls, "fsopen", refuse)
        if module is None:
            assert modules.type_state("overlay") == state
    monkeypatch.setattr(modules, "MODULES", str(tmp_path / "nosuch"))
    assert modules.kernels_with("overlay") == ()


@pytest.mark.namespace
def test_facts_of_directories(lab: Path) -> None:
    for name in ("there", "there/mnt", "bound"):
        (lab / name).mkdir()
    (lab / "file").touch()
    os.chmod("there", 0o1711)
    os.chown("there", 5, 6)
    syscalls.mount("t", str(lab / "there" / "mnt"), "tmpfs", 0, "")
    syscalls.mount(str(lab / "there"), str(lab / "bound"), "", syscalls.MS_BIND, "")
    look = common.cached_directory()
    there = look(f"{lab}/there")
    assert look(f"{lab}/there") is there
    status = os.stat("there")
    assert (there.error, there.is_directory, there.mode) == (None, True, status.st_mode)
    assert (there.identity, there.owner) == ((status.st_dev, status.st_ino), (5, 6))
    assert (there.fstype, there.inside) == ("tmpfs", "/there")
    assert look(f"{lab}/bound").inside == "/there"
    assert look(f"{lab}/bound/x/y").inside == "/there/x/y"
    below = look(f"{lab}/there/mnt/x")
    assert (below.error, below.identity, below.inside) == (errno.ENOENT, None, "/x")
    assert not below.is_directory
    file = look(f"{lab}/file")
    assert (file.error, file.is_directory) == (None, False)
    assert look(f"{lab}/file/x").error == errno.ENOTDIR
    made = common.directory(f"{lab}/new/deep", {}, will_be_made=True)
    assert (made.error, made.is_directory, made.will_be_made) == (None, True, True)
    assert (made.mode, made.owner, made.mount, made.inside) == (0, (0, 0), None, None)
    was = common.directory(f"{lab}/there", {}, will_be_made=True)
    assert not was.will_be_made


@pytest.mark.namespace
def test_who_asks() -> None:
    who = common.caller()
    assert (who.uid, who.sys_admin) == (0, True)
    child = os.fork()
    if child == 0:
        try:
            os.setuid(1000)
            who = common.caller()
            os._exit(0 if (who.uid, who.sys_admin, who.is_root) == (1000, False, False) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert Caller(0, True, True).is_root is False
    assert Caller(0, True, False).is_root is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/a / ext4 x 0 0\n# no /x ext4\n\nx /a\\040b xfs y\ns none swap sw\n", ("/", "/a b")),
        ("just two\n", ()),
        ("one /two three\n", ("/two",)),
    ],
)  # fmt: skip
def test_targets_of_fstab(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setattr(mounts, "read_text", lambda _path: text)
    assert common.fstab() == expected

    def missing(_path: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(mounts, "read_text", missing)
    assert common.fstab() == ()


def test_markers_that_have_no_effect(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"b{number}" / "sub").mkdir(parents=True)
    for name in ("b0/.wh.x", "b1/.wh.z", "b1/.wh.y", "b2/.wh.x", "b3/.wh..wh.plnk", "b3/x.wh.y"):
        (tmp_path / name).touch()
    (tmp_path / "b3" / "sub" / ".wh.deep").touch()
    permissions = ("rw", "ro", "ro+wh", "ro")
    branches = tuple(
        Layer(f"{tmp_path}/b{number}", Role.BRANCH, permission)
        for number, permission in enumerate(permissions)
    )
    missing = Layer(f"{tmp_path}/nosuch", Role.BRANCH, "ro")
    found = ignored_markers.find(Stack("aufs", (*branches, missing)))
    assert found.without_effect == ((f"{tmp_path}/b1", ".wh.y on a branch without +wh"),)
    lowers = tuple(Layer(one.path, Role.LOWER) for one in (*branches, missing))
    assert ignored_markers.foreign(Stack("overlay", lowers)) == (
        (f"{tmp_path}/b0", "/.wh.x"), (f"{tmp_path}/b1", "/.wh.y"),
        (f"{tmp_path}/b2", "/.wh.x"), (f"{tmp_path}/b3", "/.wh..wh.plnk"),
    )  # fmt: skip
    (tmp_path / "b3" / ".wh..wh.plnk").unlink()
    assert ignored_markers.foreign(Stack("overlay", lowers[3:])) == (
        (f"{tmp_path}/b3", "/sub/.wh.deep"),
    )


@pytest.mark.namespace
@pytest.mark.parametrize(("options", "wrong"), [({}, "user"), ({"userxattr": None}, "trusted")])
def test_attributes_of_the_other_spelling(
    lab: Path, options: dict[str, str | None], wrong: str
) -> None:
    (lab / "u" / "d").mkdir(parents=True)
    (lab / "u" / "d" / "file").touch()
    stack = Stack("overlay", (Layer(f"{lab}/u", Role.UPPER),), None, options)
    right = {"user": "trusted", "trusted": "user"}[wrong]
    os.setxattr("u/d", f"{right}.overlay.opaque", b"y")
    assert ignored_markers.find(stack) == ignored_markers.IgnoredMarkers((), 2)
    os.setxattr("u/d/file", f"{wrong}.overlay.metacopy", b"y")
    found = ignored_markers.find(stack)
    example = f"{lab}/u/d/file has {wrong}.overlay.metacopy"
    assert found.without_effect == ((f"{lab}/u", example),)
    assert not found.stopped
    assert ignored_markers.find(stack._replace(layers=())) == ignored_markers.IgnoredMarkers()


def test_the_search_for_markers_stops_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        (tmp_path / f"f{number}").touch()
    stack = Stack("overlay", (Layer(str(tmp_path), Role.UPPER),))
    monkeypatch.setattr(ignored_markers, "MOST_NAMES", 29)
    assert ignored_markers.find(stack)[1:3] == (29, True)
    monkeypatch.setattr(ignored_markers, "MOST_NAMES", 30)
    assert ignored_markers.find(stack)[1:3] == (30, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", "HERE/x"), ("./x//y/.", "HERE/x/y"), ("/", "/"), ("//a/b/", "/a/b"),
        ("///a", "/a"), ("link/../x", "HERE/real/x"), (".", "HERE"),
        ("link/x", "HERE/link/x"), ("a..b", "HERE/a..b"),
    ],
)  # fmt: skip
def test_how_a_path_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    (tmp_path / "real" / "d").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/d")
    monkeypatch.chdir(tmp_path)
    assert paths.absolute(text) == expected.replace("HERE", str(tmp_path))


def test_no_path_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError):
        paths.absolute("")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert paths.absolute("/x") == "/x"
    for text in ("x", "../x"):
        with pytest.raises(NotFoundError) as caught:
            paths.absolute(text)
        assert "working directory" in caught.value.message


def sysfs_file(where: Path, text: str) -> str:
    where.mkdir()
    for name, content in (("br0", "/a\\040b=rw\n"), ("br1", "/c=ro\n"), ("brid0", "64\n"),
                          ("xi_path", "/x\n"), ("xib", "12\n")):  # fmt: skip
        (where / name).write_text(content)
    return text


def test_a_file_of_sysfs_that_is_busy_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sysfs_file(tmp_path / "si_ab", "")
    real, busy = mounts.read_text, [3]

    def read_text(path: str) -> str:
        assert os.path.basename(path) != "xib"
        if path.endswith("br1") and busy[0]:
            busy[0] -= 1
            raise OSError(errno.EBUSY, "busy", path)
        return real(path)

    monkeypatch.setattr(mounts, "read_text", read_text)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    instance = mounts.aufs_instance("si_ab", str(tmp_path))
    assert [(one.path, one.permission, one.id) for one in instance.branches] == [
        ("/a b", "rw", 64), ("/c", "ro", None),
    ]  # fmt: skip
    assert (instance.id, instance.xino, busy) == ("ab", "/x", [0])
    busy[0] = 5
    with pytest.raises(OSError, match="busy"):
        mounts.aufs_instance("si_ab", str(tmp_path))
    assert mounts.aufs_instances(str(tmp_path)) == ["si_ab"]
    assert mounts.aufs_instances(str(tmp_path / "nosuch")) == []


LINES = """\
21 1 0:20 / /proc rw - proc proc rw
30 1 0:30 / /m rw,nosuid,relatime - overlay o ro,lowerdir=/l:/k,sync
31 1 0:31 / /a ro - aufs none rw,si=ab,noplink
32 1 0:31 / /b rw - aufs none rw,si=cd
33 1 0:33 / /f rw - fuse.fuse-overlayfs x rw
34 1 0:34 / /m/in rw - tmpfs t rw
35 30 0:35 / /m rw - overlay o rw,lowerdir=/l,upperdir=/u,workdir=/w
"""


def test_mounts_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mountinfo"
    file.write_text(LINES)
    sysfs_file(tmp_path / "si_ab", "")
    found = mounts.layered(str(file), str(tmp_path))
    assert [one.entry.mount_id for one in found] == [30, 31, 32, 35]
    assert found[0].stack.flags == ("ro", "nosuid", "relatime", "sync")
    assert found[0].stack.read_only
    assert found[1].stack.flags == ("ro",)
    assert [layer.path for layer in found[1].stack.layers] == ["/a b", "/c"]
    assert found[2].stack.layers == ()
    assert "the branches cannot be read" in found[2].notes[0]
    assert found[3].stack.flags == ("rw",)
    assert found[0].notes == found[1].notes == ()
    assert mounts.find("/m", str(file)).mount_id == 35
    assert mounts.find_layered("/a", str(file), str(tmp_path)).stack.layers
    for target, cause in (
        ("/f", "layers-unknown"),
        ("/proc", "not-layered"),
        ("/x", "not-mounted"),
    ):
        with pytest.raises(NotFoundError) as caught:
            mounts.find_layered(target, str(file))
        assert caught.value.id == cause
    file.write_text("nonsense\n")
    for name, words in ((file, "mountinfo line"), (tmp_path / "nosuch", "No such file")):
        with pytest.raises(NotFoundError) as caught:
            mounts.layered(str(name))
        assert (caught.value.id, words in caught.value.why) == ("no-mountinfo", True)


@pytest.mark.namespace
def test_what_lies_where(lab: Path) -> None:
    for name in ("m", "l", "k", "m2", "up"):
        (lab / name).mkdir()
    syscalls.mount("o", str(lab / "m"), "overlay", 0, f"lowerdir={lab}/l:{lab}/k")
    (lab / "link").symlink_to("m")
    (lab / "l" / "d").mkdir()
    assert mounts.find(f"{lab}/m").fstype == "overlay"
    assert mounts.find(f"{lab}/link") == mounts.find("m")
    assert mounts.mount_id("m") == mounts.find("m").mount_id != mounts.mount_id("l")
    for target, cause, words in (
        ("nosuch", "target-missing", "No such file"), ("l", "not-mounted", "tmpfs mount"),
        ("m/d", "not-mounted", f"overlay mount {lab}/m"),
    ):  # fmt: skip
        with pytest.raises(NotFoundError) as caught:
            mounts.find(target)
        assert caught.value.id == cause
        assert words in caught.value.message + caught.value.why
    with pytest.raises(OSError, match="mnt_id"):
        mounts.mount_id_in("/dev/null")


@pytest.mark.namespace
def test_who_holds_a_mount(lab: Path) -> None:
    """Each way of holding one is found, with the process and what it holds."""
    for name in ("m", "other"):
        (lab / name).mkdir()
        syscalls.mount("t", str(lab / name), "tmpfs", 0, "")
    (lab / "m" / "sub").mkdir()
    (lab / "m" / "root").mkdir()
    syscalls.mount("t", str(lab / "m" / "sub"), "tmpfs", 0, "")
    (lab / "m" / "mapped").write_bytes(bytes(4096))
    subprocess.run(["cp", "/bin/sleep", lab / "m" / "sleep"], check=True)
    script = """
import mmap, os, sys
os.chdir("m")
fd = os.open("mapped", os.O_RDWR)
kept = mmap.mmap(fd, 4096)
os.close(fd)
file = open("open", "w")
print("ready", file.fileno(), flush=True)
sys.stdin.read()
"""
    entry = mounts.find("m")
    assert holders.of(entry).processes == ()
    with (
        subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as one,
        subprocess.Popen([lab / "m" / "sleep", "600"]) as two,
    ):
        try:
            assert one.stdout is not None
            number = int(one.stdout.readline().split()[1])
            found = holders.of(entry)
            held = {process.pid: dict(process.holds) for process in found.processes}
            assert (
                held[one.pid].items()
                >= {
                    "working directory": f"{lab}/m",
                    f"file descriptor {number}": f"{lab}/m/open",
                    "mapped file": f"{lab}/m/mapped",
                }.items()
            )
            assert held[two.pid]["program"] == f"{lab}/m/sleep"
            assert set(held) == {one.pid, two.pid}
            assert found.below == (f"{lab}/m/sub",)
            lines = list(busy.details(found))
            assert any(f"pid {two.pid}, root): program {lab}/m/sleep" in line for line in lines)
            assert f"held by: the mount {lab}/m/sub below it" in lines
            assert holders.of(mounts.find("other")).processes == ()
        finally:
            one.kill()
            two.kill()


@pytest.mark.namespace
def test_relative_names_are_found_from_near_the_target(lab: Path) -> None:
    for name in ("in/l", "in/k", "in/u", "in/w", "in/deep/m", "in/m2"):
        (lab / name).mkdir(parents=True)
    os.chdir("in")
    syscalls.mount("o", "deep/m", "overlay", 0, "lowerdir=l:k,upperdir=u,workdir=w")
    syscalls.mount("o", f"{lab}/in/m2", "overlay", 0, f"lowerdir={lab}/in/l:{lab}/in/k")
    os.chdir("/")
    entries = mounts.entries()
    one, two = (next(e for e in entries if e.target == f"{lab}/in/{n}") for n in ("deep/m", "m2"))
    found, guessed = overlay.layer_paths(entries)
    assert found[one.mount_id] == (f"{lab}/in/u", f"{lab}/in/l", f"{lab}/in/k")
    assert found[two.mount_id] == (f"{lab}/in/l", f"{lab}/in/k")
    assert two.mount_id not in guessed
    others = list(overlay.overlays(entries, {}))
    (mine,) = (other for other in others if other.target == one.target)
    assert (mine.upper.path, mine.work and mine.work.path) == (f"{lab}/in/u", f"{lab}/in/w")
    assert mine.upper.identity == (os.stat(f"{lab}/in/u").st_dev, os.stat(f"{lab}/in/u").st_ino)
    assert mine.certain == (one.mount_id not in guessed)
    os.rename(lab / "in" / "k", lab / "in" / "k2")
    assert one.mount_id not in overlay.layer_paths(entries)[0]


@pytest.mark.namespace
def test_handles_that_overlay_remembers(lab: Path) -> None:
    for name in ("l", "u", "w", "m"):
        (lab / name).mkdir()
    (lab / "l" / "file").write_text("x")
    options = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w,index=on"
    syscalls.mount("o", str(lab / "m"), "overlay", 0, options)
    with open(lab / "m" / "file", "a") as file:
        file.write("y")
    stack = parse(options)
    found = overlay._handles(stack)
    assert found is not None
    assert found.origin == found.lower == syscalls.name_to_handle_at(f"{lab}/l")
    assert found.index_upper == found.upper == syscalls.name_to_handle_at(f"{lab}/u")
    assert overlay.remembered(f"{lab}/l", "trusted.overlay.origin") is None
    assert overlay._handles(stack._replace(layers=stack.layers[1:])) is None
    raw = os.getxattr("u", "trusted.overlay.origin")
    broken = (raw[:21], b"\1" + raw[1:], raw[:1] + b"\0" + raw[2:], raw[:-1])
    read = []
    for value in broken:
        os.setxattr("u", "trusted.overlay.origin", value)
        read.append(overlay.remembered(f"{lab}/u", "trusted.overlay.origin"))
    assert read == [None] * len(broken)


@pytest.mark.namespace
def test_what_is_left_of_a_filesystem(lab: Path) -> None:
    (lab / "t" / "sub").mkdir(parents=True)
    syscalls.mount("t", str(lab / "t"), "tmpfs", 0, "size=1m,nr_inodes=10")
    left = overlay.storage(f"{lab}/t")
    assert left is not None
    assert (left.bytes_free, left.inodes_free, left.bytes_for_root) == (1 << 20, 9, 1 << 20)
    assert overlay.storage("/proc") is None
    assert overlay.storage(f"{lab}/nosuch") is None
    syscalls.mount("t", str(lab / "t"), "tmpfs", 0, "size=1m,nr_inodes=0")
    left = overlay.storage(f"{lab}/t")
    assert left is not None
    assert left.inodes_free is None
    assert overlay._nearest(f"{lab}/t/x/y") == f"{lab}/t"
    assert overlay.names(f"{lab}/nosuch") == overlay.names(None) == ()
    assert "t" in overlay.names(str(lab))


def test_errors_of_targets(tmp_path: Path) -> None:
    with pytest.raises(LayerctlError) as caught:
        mounts.find(str(tmp_path / "nosuch"))
    assert json.loads(json.dumps(caught.value.commands))


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
@pytest.mark.parametrize("user", [False, True])
def test_features_are_tried_and_nothing_is_left(user: bool) -> None:
    shared = 1 << 20  # MS_SHARED: what is mounted elsewhere would come here
    syscalls.mount("none", "/", "", syscalls.MS_REC | shared, "")
    before = mounts.entries()
    opened = os.listdir("/proc/self/fd")
    found = features.probe(user=user)
    assert mounts.entries() == before
    assert os.listdir("/proc/self/fd") == opened
    assert set(found) in (set(features.FEATURES), {"namespace"})
    if "namespace" not in found:
        plain = "userxattr" if user else "overlay with an upper layer"
        assert found[plain] == 0
        parameters = modules.parameters("overlay")
        assert {"index", "metacopy", "redirect_dir"} <= set(parameters)
        if user:  # which redirects and metacopy do not go with
            assert found["metacopy"] != 0
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_features_that_cannot_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: bool) -> dict[str, int]:
        raise OSError(errno.EUSERS, "too many")

    monkeypatch.setattr(features, "_enter", fail)
    assert features.probe() == {"namespace": errno.EUSERS}
    opened = sorted(os.listdir("/proc/self/fd"))

    def no_fork() -> int:
        raise OSError(errno.EAGAIN, "no more")

    monkeypatch.setattr(os, "fork", no_fork)
    with pytest.raises(OSError, match="no more"):
        features.probe()
    assert sorted(os.listdir("/proc/self/fd")) == opened


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

"""Facts about the system, the caller, directories and markers."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from layerctl.codecs.overlay import parse
from layerctl.kernel import (
    mounts,
    syscalls,
)
from layerctl.kernel.facts import (
    Caller,
    TypeState,
    common,
    features,
    ignored_markers,
    index,
    modules,
    overlay,
    system,
)
from layerctl.model import Layer, MountEntry, Role, Stack

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
    found = index.gather(stack)
    assert found is not None
    assert found.origin == found.lower == syscalls.name_to_handle_at(f"{lab}/l")
    assert found.index_upper == found.upper == syscalls.name_to_handle_at(f"{lab}/u")
    assert index.remembered(f"{lab}/l", "trusted.overlay.origin") is None
    assert index.gather(stack._replace(layers=stack.layers[1:])) is None
    raw = os.getxattr("u", "trusted.overlay.origin")
    broken = (raw[:21], b"\1" + raw[1:], raw[:1] + b"\0" + raw[2:], raw[:-1])
    read = []
    for value in broken:
        os.setxattr("u", "trusted.overlay.origin", value)
        read.append(index.remembered(f"{lab}/u", "trusted.overlay.origin"))
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

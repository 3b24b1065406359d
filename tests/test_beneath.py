"""How a path leads to a directory, and what is made and removed beneath an open one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from layerctl.errors import RefusedError
from layerctl.kernel import beneath, syscalls
from layerctl.kernel.beneath import Exposure, Swap

HIS, GROUP = 1000, 1001


def grow(lab: Path) -> None:
    """Make directories that root shares with others in every way, and links in them."""
    os.chmod(lab, 0o755)
    for name, mode, uid, gid in (
        ("own", 0o755, 0, 0), ("own/d", 0o755, 0, 0), ("his", 0o755, HIS, HIS),
        ("his/d", 0o755, 0, 0), ("all", 0o777, 0, 0), ("all/d", 0o755, 0, 0),
        ("sticky", 0o1777, 0, 0), ("sticky/d", 0o755, 0, 0), ("sticky/his", 0o755, HIS, HIS),
        ("group", 0o775, 0, GROUP), ("group/d", 0o755, 0, 0), ("wheel", 0o775, 0, 0),
        ("wheel/d", 0o755, 0, 0), ("gsticky", 0o1775, 0, GROUP), ("gsticky/his", 0o755, HIS, HIS),
        ("gsticky/d", 0o755, 0, 0), ("acl", 0o775, 0, 0), ("acl/d", 0o755, 0, 0),
    ):  # fmt: skip
        (lab / name).mkdir()
        os.chown(lab / name, uid, gid)
        os.chmod(lab / name, mode)
    (lab / "file").touch()
    for place, text in (
        ("own/link", "d"), ("own/up", "../own/d"), ("own/far", f"{lab}/own/d"),
        ("own/his", "../his"),
        ("own/loop", "loop"), ("own/gone", "nosuch"), ("his/link", "d"), ("all/link", "d"),
        ("sticky/link", "d"), ("own/proc", "/proc/self/cwd"), ("sticky/hislink", "d"),
    ):  # fmt: skip
        (lab / place).symlink_to(text)
    os.chown(lab / "sticky/hislink", HIS, HIS, follow_symlinks=False)


#: Path: the first name that may be swapped and by whom, the link that is not followed.
WAYS: list[tuple[str, tuple[str, int | None] | None, str | None]] = [
    ("own/d", None, None),
    ("own//./d/", None, None),
    ("own/d/../d", None, None),
    ("own/link", None, None),
    ("own/up", None, None),
    ("own/far", None, None),
    ("own/proc", None, None),
    ("his", None, None),
    ("own/his", None, None),
    ("own/his/d", ("own/../his/d", HIS), None),
    ("his/d", ("his/d", HIS), None),
    ("his/../own/d", None, None),
    ("his/link", ("his/link", HIS), "his/link"),
    ("all/d", ("all/d", None), None),
    ("all/link", ("all/link", None), "all/link"),
    ("all/nosuch", ("all/nosuch", None), None),
    ("sticky/d", None, None),
    ("sticky/link", None, None),
    ("sticky/his", ("sticky/his", HIS), None),
    ("sticky/hislink", ("sticky/hislink", HIS), "sticky/hislink"),
    ("sticky/nosuch", None, None),
    ("group/d", ("group/d", None), None),
    ("gsticky/d", None, None),
    ("gsticky/his", ("gsticky/his", HIS), None),
    ("wheel/d", None, None),
    ("file", None, None),
]


def fds() -> list[str]:
    return os.listdir("/proc/self/fd")


def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(syscalls, "openat2", missing)


@pytest.mark.namespace
@pytest.mark.parametrize(("path", "swap", "link"), WAYS)
def test_who_may_swap_what_on_the_way(
    lab: Path, path: str, swap: tuple[str, int | None] | None, link: str | None
) -> None:
    grow(lab)
    before = fds()
    exposure = beneath.exposure(f"{lab}/{path}")
    expected = None if swap is None else Swap(f"{lab}/{swap[0]}", swap[1])
    stopped = None if link is None or swap is None else Swap(f"{lab}/{link}", swap[1])
    assert exposure == Exposure(expected, stopped)
    assert fds() == before


def test_who_may_swap_has_a_name() -> None:
    assert Swap("/x", None).who == "users other than root"
    assert str(HIS) in Swap("/x", HIS).who


@pytest.mark.namespace
def test_a_group_by_an_access_control_list_counts(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(lab)
    assert beneath.exposure(f"{lab}/acl/d") == Exposure()
    real = os.listxattr

    def listed(path: Any, **how: Any) -> list[str]:
        acl = os.readlink(path).endswith("/acl")
        return [*real(path, **how), *(["system.posix_acl_access"] if acl else [])]

    monkeypatch.setattr(os, "listxattr", listed)
    assert beneath.exposure(f"{lab}/acl/d").swap == Swap(f"{lab}/acl/d", None)
    assert beneath.exposure(f"{lab}/wheel/d") == Exposure()

    def failing(_path: Any) -> list[str]:
        raise OSError(errno.ENOTSUP, "no attributes")

    monkeypatch.setattr(os, "listxattr", failing)
    assert beneath.exposure(f"{lab}/acl/d") == Exposure()


#: What cannot be opened, and why.
FAILING = {
    "file": errno.ENOTDIR,
    "all/nosuch": errno.ENOENT,
    "sticky/nosuch": errno.ENOENT,
    "own/loop": errno.ELOOP,
    "own/gone": errno.ENOENT,
}


@pytest.fixture(params=["openat2", "by hand"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a kernel with openat2(2), or one without."""
    if request.param == "by hand":
        by_hand(monkeypatch)


@pytest.mark.namespace
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("path", "link"), [(p, link) for p, _, link in WAYS if p not in FAILING])
def test_a_directory_is_opened_by_its_way(lab: Path, path: str, link: str | None) -> None:
    grow(lab)
    before = fds()
    if link is None:
        fd = beneath.open_directory(f"{lab}/{path}")
        assert os.path.samefile(beneath.name_of(fd), f"{lab}/{path}")
        status = os.stat(f"{lab}/{path}")
        assert beneath.identity(fd) == (status.st_dev, status.st_ino)
        os.close(fd)
    else:
        with pytest.raises(RefusedError) as caught:
            beneath.open_directory(f"{lab}/{path}")
        assert caught.value.id == "untrusted-symlink"
        assert link in caught.value.message
    assert fds() == before


@pytest.mark.namespace
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("path", "number"), FAILING.items())
def test_what_is_no_directory_is_not_opened(lab: Path, path: str, number: int) -> None:
    grow(lab)
    before = fds()
    with pytest.raises(OSError, match=os.strerror(number)):
        beneath.open_directory(f"{lab}/{path}")
    assert fds() == before


@pytest.mark.namespace
def test_a_plain_path_leads_through_no_link(lab: Path) -> None:
    grow(lab)
    before = fds()
    plain = {path for path, _, _ in WAYS if beneath.is_plain(f"{lab}/{path}")}
    links = {"own/link", "own/up", "own/far", "own/proc", "own/his", "own/his/d", "his/link"}
    links |= {"all/link", "sticky/link", "sticky/hislink"}
    assert plain == {path for path, _, _ in WAYS} - links - FAILING.keys()
    assert fds() == before


@pytest.mark.namespace
def test_as_many_links_as_the_kernel_follows(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand(monkeypatch)
    (lab / "0").mkdir()
    for number in range(1, 42):
        (lab / str(number)).symlink_to(str(number - 1))
    os.close(os.open("40", os.O_PATH | os.O_DIRECTORY))
    os.close(beneath.open_directory(f"{lab}/40"))
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        os.open("41", os.O_PATH)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        beneath.open_directory(f"{lab}/41")


@pytest.mark.namespace
def test_an_error_that_says_something_else_is_passed_on(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(syscalls, "openat2", failing)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        beneath.open_directory(str(lab))
    assert not beneath.is_plain(str(lab))


@pytest.mark.namespace
def test_what_is_made_is_what_is_opened(lab: Path) -> None:
    top = beneath.open_directory(str(lab))
    before = fds()
    made = beneath.make("new", top, 0o700)
    assert beneath.identity(made) == (os.stat("new").st_dev, os.stat("new").st_ino)
    assert os.stat("new").st_mode & 0o777 == 0o700
    os.close(made)
    with pytest.raises(FileExistsError):
        beneath.make("new", top)
    assert fds() == before


def _others(name: str) -> None:
    os.mkdir(name)
    os.chown(name, HIS, HIS)


def _full(name: str) -> None:
    os.mkdir(name)
    Path(name, "file").touch()


def _mounted(name: str) -> None:
    os.mkdir(name)
    syscalls.mount("t", name, "tmpfs", 0, "")


@pytest.mark.namespace
@pytest.mark.parametrize("swap", [partial(os.symlink, "new"), _others, _full, _mounted])
def test_what_is_made_and_swapped_is_not_opened(
    lab: Path, monkeypatch: pytest.MonkeyPatch, swap: Callable[[str], None]
) -> None:
    (lab / "new").mkdir()
    top = beneath.open_directory(str(lab))
    before = fds()
    real = os.mkdir

    def mkdir(name: str, mode: int, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rmdir(name)
        monkeypatch.setattr(os, "mkdir", real)
        swap(name)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(FileExistsError, match="something else was put there"):
        beneath.make("swapped", top)
    assert fds() == before


@pytest.mark.namespace
def test_only_what_was_made_is_removed(lab: Path) -> None:
    top = beneath.open_directory(str(lab))
    before = fds()
    (lab / "one").mkdir()
    (lab / "two").mkdir()
    (lab / "full" / "sub").mkdir(parents=True)
    (lab / "link").symlink_to("one")

    def identity(name: str) -> beneath.Identity:
        return os.stat(name).st_dev, os.stat(name).st_ino

    assert not beneath.remove("two", top, identity("one"))
    assert not beneath.remove("link", top, identity("one"))
    assert not beneath.remove("nosuch", top, identity("one"))
    assert not beneath.remove("full", top, identity("full"))
    assert sorted(os.listdir()) == ["full", "link", "one", "two"]
    assert beneath.remove("one", top, identity("one"))
    assert sorted(os.listdir()) == ["full", "link", "two"]
    assert fds() == before


@pytest.mark.namespace
def test_a_scratch_directory_leaves_nothing(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = beneath.open_directory(str(lab))
    before = fds()
    with beneath.scratch(top, ".x-") as fd:
        (name,) = os.listdir()
        assert name.startswith(".x-")
        assert len(name) == 3 + 16
        assert os.stat(name).st_mode & 0o7777 == 0o700
        for file in ("a", "b"):
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        assert sorted(os.listdir(fd)) == ["a", "b"]
    assert os.listdir() == []
    with pytest.raises(KeyboardInterrupt), beneath.scratch(top, ".x-"):
        raise KeyboardInterrupt
    assert fds() == before
    monkeypatch.setattr(os, "geteuid", lambda: HIS)
    with pytest.raises(FileExistsError), beneath.scratch(top, ".x-"):
        pass
    assert fds() == before


@pytest.mark.parametrize(
    ("uid_map", "trusted"),
    [
        ("0 0 4294967295\n", {0}),
        ("0 1000 1\n", {0, 65534}),
        ("", {0, 65534}),
    ],
)
def test_whom_the_caller_trusts(
    monkeypatch: pytest.MonkeyPatch, uid_map: str, trusted: set[int]
) -> None:
    texts = {"/proc/self/uid_map": uid_map, "/proc/sys/kernel/overflowuid": "65534\n"}
    monkeypatch.setattr(beneath, "_read", texts.__getitem__)
    for uid in (0, 7):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        assert beneath._trusted() == trusted | {uid}
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 7)

    def unreadable(_path: str) -> str:
        raise OSError(errno.EACCES, "denied")

    monkeypatch.setattr(beneath, "_read", unreadable)
    assert beneath._trusted() == {0, 7}

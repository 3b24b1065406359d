"""What an unmount of an aufs writes down, and what it would lose."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from layerctl.codecs import aufs
from layerctl.errors import LayerctlError, RefusedError
from layerctl.kernel import mounts, plinks, syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.model import Layer, MountEntry, Role, Stack
from layerctl.mounting import unmount

ID = 77


@pytest.mark.parametrize(
    ("options", "permissions", "flushed"),
    [
        ("rw,si=ab", ("rw", "ro"), True),
        ("rw,si=ab", ("rw+nolwh", "ro"), True),
        ("rw,si=ab,noplink", ("rw", "ro"), False),
        ("ro,si=ab", ("rw", "ro"), False),
        ("rw,si=ab", ("ro", "ro"), False),
        ("rw", ("rw", "ro"), False),
    ],
)
def test_pseudo_links_are_made_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
    permissions: tuple[str, str],
    flushed: bool,
) -> None:
    """Every name of a pseudo-linked inode is touched, while aufs excludes others."""
    merged, kept = tmp_path / "m", tmp_path / "a" / ".wh..wh.plnk"
    (merged / "deep").mkdir(parents=True)
    kept.mkdir(parents=True)
    (tmp_path / "b").mkdir()
    for name in ("one", "deep/two", "deep/three", "alone", "twin"):
        (merged / name).write_text(name)
    os.link(merged / "one", merged / "deep" / "other")
    os.link(merged / "twin", merged / "twin2")
    for name in ("one", "alone"):
        (kept / "new").touch()  # is called by its inode in the mount, and by its own
        own = (kept / "new").stat().st_ino
        (kept / "new").rename(kept / f"{(merged / name).stat().st_ino}.{own}")
    (kept / "nonsense.12").touch()
    told = tmp_path / "plink_maint"
    told.touch()
    touched: list[str] = []

    def chown(fd: int, uid: int, gid: int) -> None:
        assert (uid, gid) == (-1, os.fstat(fd).st_gid)
        assert told.read_text() == "si=ab"
        touched.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), merged))

    monkeypatch.setattr(plinks, "MAINTENANCE", str(told))
    monkeypatch.setattr(mounts, "mount_id_of", lambda _fd: ID)
    monkeypatch.setattr(syscalls, "fchownat", chown)
    mounted = _with_branches(merged, options, permissions)
    before = os.listdir("/proc/self/fd")
    plinks.flush(mounted)
    assert os.listdir("/proc/self/fd") == before
    assert sorted(touched) == (["deep/other", "one"] if flushed else [])
    assert told.read_text() == ("si=abclean" if flushed else "")


def _with_branches(merged: Path, options: str, permissions: tuple[str, str]) -> Mounted:
    parsed, _ = aufs.from_super_options(options)
    layers = tuple(
        Layer(str(merged.with_name(name)), Role.BRANCH, permission)
        for name, permission in zip("ab", permissions, strict=True)
    )
    entry = MountEntry(ID, 1, "0:9", "/", str(merged), ("rw",), "aufs", "none", options)
    return Mounted(entry, parsed._replace(layers=layers))


def test_an_unmount_goes_on_without_pseudo_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".wh..wh.plnk").mkdir()
    (tmp_path / ".wh..wh.plnk" / "12.13").touch()
    monkeypatch.setattr(plinks, "MAINTENANCE", str(tmp_path / "nosuch"))
    stack = Stack("aufs", (Layer(str(tmp_path), Role.BRANCH, "rw"),))
    entry = MountEntry(ID, 1, "0:9", "/", str(tmp_path), ("rw",), "aufs", "none", "rw,si=ab")
    plinks.flush(Mounted(entry, stack))


def linked(where: Path, options: str, permission: str = "rw") -> Mounted:
    """Make a stand-in for an aufs whose branch has the copy under one of its three names."""
    merged, branch = where / "m", where / "a"
    for directory in (merged / "deep", branch / "deep", branch / ".wh..wh.plnk"):
        directory.mkdir(parents=True, exist_ok=True)
    (where / "b").mkdir(exist_ok=True)
    if not (merged / "one").exists():
        for name in ("one", "other"):
            (merged / name).write_text(name)
        inode = (merged / "one").stat().st_ino
        for name in ("m/deep/two", "m/three", "a/one", f"a/.wh..wh.plnk/{inode}.{inode}"):
            os.link(merged / "one", where / name)
        (branch / "three").write_text("one")  # another file
        (branch / ".wh..wh.plnk" / f"{inode}.7").write_text("of another time")
    return _with_branches(merged, options, (permission, "ro"))


def test_names_that_would_be_other_files_after_an_unmount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "mount_id_of", lambda _fd: ID)
    before = os.listdir("/proc/self/fd")
    assert plinks.lost(linked(tmp_path, "rw,si=ab")) == ["deep/two", "three"]
    assert plinks.lost(linked(tmp_path, "ro,si=ab", "rw+nolwh")) == ["deep/two", "three"]
    assert plinks.lost(linked(tmp_path, "rw,si=ab,noplink")) == []
    assert plinks.lost(linked(tmp_path, "rw,si=ab", "ro")) == []
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("options", ["rw,si=ab", "ro,si=ab"])
@pytest.mark.parametrize("many", [1, 20, 21])
def test_an_unmount_that_would_lose_hard_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, many: int
) -> None:
    mounted = linked(tmp_path, options)
    done: list[str] = []
    monkeypatch.setattr(mounts, "mount_id_of", lambda _fd: ID)
    monkeypatch.setattr(plinks, "flush", lambda _mounted: done.append("flush"))
    monkeypatch.setattr(plinks, "lost", lambda _mounted: [f"f{n}\n" for n in range(many)])
    monkeypatch.setattr(syscalls, "umount2", lambda _place, flags: done.append(f"umount {flags}"))
    with pytest.raises(RefusedError) as caught:
        unmount.unmount(mounted)
    assert caught.value.id == "aufs-pseudo-links-lost"
    assert f"{many} name{'s' if many > 1 else ''} " in caught.value.message
    assert ("read-only" in caught.value.why) == (options[:2] == "ro")
    assert ("remount,rw" in caught.value.commands[0]) == (options[:2] == "ro")
    assert len(caught.value.details) == min(many, 21)
    assert caught.value.details[0] == "hard link: f0\\x0a"
    assert ("and 1 more" in caught.value.details) == (many == 21)
    assert done == ["flush"]
    unmount.unmount(mounted, force=True)
    unmount.unmount(mounted, force=True, lazy=True)
    follow = syscalls.UMOUNT_NOFOLLOW
    assert done[1:] == [
        "flush", f"umount {follow}", "flush", f"umount {follow | syscalls.MNT_DETACH}",
    ]  # fmt: skip

    def unreadable(_mounted: Mounted) -> list[str]:
        raise PermissionError(errno.EACCES, "denied", "/branch")

    monkeypatch.setattr(plinks, "lost", unreadable)
    with pytest.raises(RefusedError) as caught:
        unmount.unmount(mounted)
    assert "denied" in caught.value.message
    assert "/branch" in caught.value.why


@pytest.mark.parametrize(
    ("number", "identity"),
    [
        (errno.EPERM, "missing-cap-sys-admin"),
        (errno.EBUSY, "leaked-mount-busy"),
        (errno.EINVAL, "umount-failed"),
    ],
)
def test_an_unmount_that_the_kernel_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, identity: str
) -> None:
    def refuse(_place: str, _flags: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(mounts, "mount_id_of", lambda _fd: ID)
    monkeypatch.setattr(plinks, "lost", lambda _mounted: [])
    monkeypatch.setattr(syscalls, "umount2", refuse)
    with pytest.raises(LayerctlError) as caught:
        unmount.unmount(linked(tmp_path, "rw"))
    assert caught.value.id == identity

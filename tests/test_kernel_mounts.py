"""Paths, live mounts, and what uses them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerctl.errors import LayerctlError, NotFoundError
from layerctl.kernel import (
    holders,
    mounts,
    paths,
    syscalls,
)
from layerctl.kernel.facts import (
    overlay,
)
from layerctl.mounting import busy


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


_HOLDER = """
import mmap, os, sys
os.chdir("m")
fd = os.open("mapped", os.O_RDWR)
kept = mmap.mmap(fd, 4096)
os.close(fd)
file = open("open", "w")
print("ready", file.fileno(), flush=True)
sys.stdin.read()
"""


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
    entry = mounts.find("m")
    assert holders.of(entry).processes == ()
    with (
        subprocess.Popen(
            [sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as one,
        subprocess.Popen([lab / "m" / "sleep", "600"]) as two,
    ):
        try:
            assert one.stdout is not None
            number = int(one.stdout.readline().split()[1])
            found = holders.of(entry)
            held = {process.pid: dict(process.holds) for process in found.processes}
            ways = {
                "working directory": f"{lab}/m",
                f"file descriptor {number}": f"{lab}/m/open",
                "mapped file": f"{lab}/m/mapped",
            }
            assert held[one.pid].items() >= ways.items()
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


def test_errors_of_targets(tmp_path: Path) -> None:
    with pytest.raises(LayerctlError) as caught:
        mounts.find(str(tmp_path / "nosuch"))
    assert json.loads(json.dumps(caught.value.commands))

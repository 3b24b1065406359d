"""The lines that keep a mount safe: each test fails where its line is broken.

Calls are made to fail, to lie, or to be met by a signal by strace(1), from outside.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main
from layerctl.kernel import layers, mounts, syscalls
from tests.support import layerctl, layerctl_json
from tests.support.mounting import APIS, FEATURES, make, mounted_here, shown, snapshot, traced

#: The calls after which something stands that must be undone, by the way in.
CALLS = {
    "fsconfig": ("mkdir,mkdirat", "fsopen", "fsconfig", "fsmount", "move_mount"),
    "mount": ("mkdir,mkdirat", "mount"),
}
WAYS = [(api, call) for api, calls in CALLS.items() if api in APIS for call in calls]


@pytest.mark.namespace
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("api", "call"), WAYS)
def test_a_signal_while_a_mount_is_applied_undoes_it(
    lab: Path, api: str, call: str, number: signal.Signals
) -> None:
    make(lab, "l")
    before = snapshot(lab)
    arguments = ("mount", "--api", api, "--mkdir", "-l", "l", "-u", "deep/er/u", "new/m")
    done = traced(f"{call}:signal={number.name}:when=1", *arguments)
    assert done.returncode == {signal.SIGINT: 130}.get(number, 128 + number), done.stderr
    assert mounted_here(lab) == []
    assert snapshot(lab) == before
    assert layerctl(*arguments).returncode == 0


@pytest.mark.namespace
def test_what_is_mounted_is_what_was_asked_for_or_is_gone(lab: Path) -> None:
    """Each call that describes the mount is made to do nothing, and to say that it did."""
    if not FEATURES.append:  # which takes all layers in one call
        return
    make(lab, "l", "k", "u", "w", "m")
    arguments = ("-l", "l", "-l", "k", "-u", "u", "-w", "w", "-o", "nosuid,ro", "--json", "m")
    asked = [("upper", f"{lab}/u"), ("lower", f"{lab}/l"), ("lower", f"{lab}/k")]
    caught = 0
    for number in range(1, 26):
        done = traced(f"fsconfig:retval=0:when={number}", "mount", *arguments)
        if done.returncode == 0:
            assert shown(lab / "m") == asked, number
            assert mounts.find_layered("m").stack.read_only, number
            syscalls.umount2("m", 0)
        else:
            assert mounted_here(lab) == [], number
            caught += json.loads(done.stderr)["error"]["id"] == "not-as-asked"
    assert caught >= 2  # each lower layer that is left out


@pytest.mark.namespace
def test_the_undoing_leaves_a_work_directory_that_another_mount_uses(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two mounts may share a new work directory: who fails takes nothing from the other."""
    make(lab, "l", "u", "m", "m2")
    (lab / "l" / "file").touch()
    last = "move_mount" if FEATURES.append else "mount"
    real = getattr(syscalls, last)

    def other_comes(*_: Any) -> None:
        assert (lab / "u.work").is_dir()
        monkeypatch.setattr(syscalls, last, real)
        options = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/u.work,index=off"
        syscalls.mount("other", str(lab / "m2"), "overlay", 0, options)
        raise OSError(errno.ENOMEM, "made to fail")

    monkeypatch.setattr(syscalls, last, other_comes)
    assert main(["mount", "-l", "l", "-u", "u", "m"]) == 32
    assert mounted_here(lab) == [f"{lab}/m2"]
    assert (lab / "u.work" / "work").is_dir()
    (lab / "m2" / "file").write_text("copied up by way of the work directory")
    (lab / "m2" / "file").unlink()


@pytest.mark.namespace
@pytest.mark.parametrize(("api", "call"), [(api, CALLS[api][-1]) for api in CALLS if api in APIS])
def test_what_mkdir_made_is_given_back_and_nothing_else(lab: Path, api: str, call: str) -> None:
    make(lab, "l", "there/is", "there/m")
    (lab / "there" / "is" / "file").touch()
    before = snapshot(lab)
    arguments = ("--mkdir", "-l", "l", "-u", "there/is/new/u", "-w", "there/is/w", "there/more/m")
    done = traced(f"{call}:error=ENOMEM", "mount", "--api", api, *arguments)
    assert done.returncode == 32
    assert snapshot(lab) == before


@pytest.mark.namespace
def test_a_new_upper_directory_looks_like_what_it_covers(lab: Path) -> None:
    make(lab, "l", "m")
    os.chown("l", 7, 8)
    os.chmod("l", 0o2751)
    assert layerctl("mount", "--mkdir", "-l", "l", "-u", "a/u", "m").returncode == 0
    for path in ("a/u", "m"):
        status = os.stat(path)
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o2751, 7, 8), path
    for path in ("a", "a/u.work"):
        assert (os.stat(path).st_uid, os.stat(path).st_mode & 0o022) == (0, 0), path


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("link", "arguments"),
    [
        ("w", ("-u", "u", "-w", "w")),
        ("w", ("--mkdir", "-u", "u", "-w", "w")),
        ("u.work", ("-u", "u")),
        ("u.work", ("--mkdir", "-u", "u")),
        ("v", ("--mkdir", "-u", "v", "-w", "w2")),
    ],
)
def test_a_dangling_symlink_is_no_directory_to_make(
    lab: Path, link: str, arguments: tuple[str, ...]
) -> None:
    make(lab, "l", "u", "m", "far")
    os.symlink("far/away", link)
    before = snapshot(lab)
    dry = layerctl_json("mount", "-n", "-l", "l", *arguments, "m", code=1)
    assert dry["findings"][0]["cause"] == "missing-layer-directory"
    done = layerctl("mount", "-l", "l", *arguments, "m", "--json")
    assert done.returncode == 32, done.stderr
    assert json.loads(done.stderr)["error"]["id"] == "missing-layer-directory"
    assert snapshot(lab) == before


@pytest.mark.namespace
def test_a_second_mount_on_one_upper_is_told_of_or_refused(lab: Path) -> None:
    make(lab, "l", "u", "w", "w2", "m", "m2")
    first = ("mount", "-l", "l", "-u", "u", "-w", "w", "m")
    assert layerctl(*first).returncode == 0
    second = ("-l", "l", "-u", "u", "-w", "w2", "m2")
    done = layerctl("mount", *second)
    assert done.returncode == 0
    assert "[upper-shared-warning]" in done.stderr
    syscalls.umount2("m2", 0)
    done = layerctl("mount", "-o", "index=on", *second, "--json")
    assert done.returncode == 32
    assert json.loads(done.stderr)["error"]["id"] == "upperdir-in-use-index-on"
    assert mounted_here(lab) == [f"{lab}/m"]
    done = layerctl("mount", "-l", "l", "-u", "w2", "-w", "w", "m2")  # the work directory alone
    assert "warning: " in done.stderr
    if done.returncode == 0:
        syscalls.umount2("m2", 0)
    syscalls.umount2("m", 0)
    assert layerctl("mount", *second).stderr == ""


@pytest.mark.namespace
def test_a_name_is_as_long_as_the_filesystem_takes(lab: Path) -> None:
    make(lab, "l", "m")
    longest = os.statvfs(lab).f_namemax
    fits, too_long = "x" * longest, "x" * (longest + 1)
    for upper in (f"a/{too_long}", f"{too_long}/u"):
        arguments = ("mount", "--mkdir", "-l", "l", "-u", upper, "-w", "w", "m")
        document = layerctl_json(*arguments, "-n", code=1)
        assert "directory-not-made" in [one["cause"] for one in document["findings"]]
        done = layerctl(*arguments)
        assert done.returncode == 32
        assert "too long" in done.stderr
        assert sorted(os.listdir(lab)) == ["l", "m"]
    done = layerctl("mount", "--mkdir", "-l", "l", "-u", fits, "m")  # but its .work would not
    assert done.returncode == 32
    assert sorted(os.listdir(lab)) == ["l", "m"]
    arguments = ("mount", "--mkdir", "-l", "l", "-u", f"a/{fits}", "-w", "w", "m")
    assert layerctl_json(*arguments, "-n")["verdict"] == "ok"
    assert layerctl(*arguments).returncode == 0


@pytest.mark.namespace
def test_umount_follows_no_symlink_that_takes_the_place_of_its_target(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns the parent of a mount point can move it, from a mount namespace of his own."""
    make(lab, "l", "k", "his/m", "other")
    for target in ("his/m", "other"):
        assert layerctl("mount", "-l", "l", "-l", "k", target).returncode == 0
    real = syscalls.umount2

    def swapped_first(*arguments: Any) -> None:
        monkeypatch.setattr(syscalls, "umount2", real)
        child = os.fork()
        if child == 0:
            try:
                syscalls.unshare(syscalls.CLONE_NEWNS)
                syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
                real(f"{lab}/his/m", syscalls.MNT_DETACH)
                os.rename(lab / "his/m", lab / "his/moved")
                os.symlink(lab / "other", lab / "his/m")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        real(*arguments)

    monkeypatch.setattr(syscalls, "umount2", swapped_first)
    code = main(["umount", "his/m"])
    assert (lab / "his/m").is_symlink()
    assert f"{lab}/other" in mounted_here(lab)
    assert code == (32 if f"{lab}/his/moved" in mounted_here(lab) else 0)


@pytest.mark.namespace
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["same_content", "open_pair"])
def test_no_file_of_a_layer_is_opened_through_a_symlink(lab: Path, which: int, how: str) -> None:
    """A file may become a symlink between the listing and the opening: it is not followed."""
    make(lab, "a", "b")
    Path("a/file").write_text("same")
    Path("b/file").write_text("same")
    Path("outside").write_text("same")
    fds = [os.open(name, os.O_RDONLY | os.O_DIRECTORY) for name in "ab"]
    attempts: dict[str, Callable[[], object]] = {
        "same_content": lambda: layers.same_content("file", fds[0], "file", fds[1], 4),
        "open_pair": lambda: layers.open_pair("file", *fds),
    }
    assert attempts[how]()
    path = Path("ab"[which], "file")
    path.unlink()
    path.symlink_to("../outside")
    if how == "open_pair":
        assert attempts[how]() is None
    else:
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            attempts[how]()

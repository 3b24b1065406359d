"""Layers under the root directory itself, in a chroot and after pivot_root(2)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from tests.support import import_everything
from tests.support.mounting import grow

BIND = syscalls.MS_BIND
MOVE = 8192


def _chroot(root: Path, body: Callable[[], None]) -> None:
    import encodings.ascii  # noqa: F401 - cannot be imported inside
    import resource  # noqa: F401 - as above
    import traceback

    import_everything()
    child = os.fork()
    if child == 0:
        try:
            os.chroot(root)
            os.chdir("/")
            body()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def _tree(top: str) -> set[str]:
    return {
        os.path.relpath(os.path.join(where, name), top)
        for where, directories, files in os.walk(top)
        for name in [*directories, *files]
    }


@pytest.mark.namespace
def test_over_the_root_in_a_chroot(lab: Path) -> None:
    """lowerdir=/ mounted over /, and then entered, as live systems do it."""
    from layerctl.cli.main import main

    grow(lab, "root/etc/a.x", "root/proc", "root/u", "root/w", "root/m")
    syscalls.mount("proc", str(lab / "root/proc"), "proc", 0, "")

    def body() -> None:
        syscalls.mount("overlay", "/m", "overlay", 0, "lowerdir=/,upperdir=/u,workdir=/w")
        os.unlink("/m/etc/a.x")
        os.makedirs("/m/proc", exist_ok=True)
        syscalls.mount("/proc", "/m/proc", "", BIND, "")
        os.chroot("/m")
        os.chdir("/")
        assert main(["inspect", "changes", "/", "--json"]) in (3, 4)

    _chroot(lab / "root", body)


@pytest.mark.namespace
def test_beside_the_mount_in_a_chroot_all_is_right(lab: Path) -> None:
    from layerctl.cli.main import main

    grow(lab, "root/l/a.x", "root/l/b.x", "root/proc", "root/u", "root/w")
    syscalls.mount("proc", str(lab / "root/proc"), "proc", 0, "")
    out = os.open(lab / "out", os.O_RDWR | os.O_CREAT)

    def body() -> None:
        syscalls.mount("overlay", "/l", "overlay", 0, "lowerdir=/l,upperdir=/u,workdir=/w")
        os.unlink("/l/a.x")
        os.dup2(out, 1)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for this process alone
        assert main(["inspect", "changes", "/l", "--raw"]) == 0

    _chroot(lab / "root", body)
    assert "deleted" in (lab / "out").read_text()
    assert "a.x" in (lab / "out").read_text()


def _pivot(new: str, old: str) -> None:
    """pivot_root(2), which neither Python nor the C library has a name for."""
    import ctypes

    number = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, os.fsencode(new), os.fsencode(old)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.chroot(".")
    os.chdir("/")


@pytest.mark.namespace
def test_over_the_root_after_pivot_root(lab: Path) -> None:
    """As OpenWrt starts: lowerdir=/ became the root, and the old root is in /rom."""
    from layerctl.cli.main import main

    grow(lab, "root")
    syscalls.mount("root", str(lab / "root"), "tmpfs", 0, "")
    grow(lab, "root/etc/a.x", "root/etc/b.x", "root/proc", "root/data", "root/m", "root/rom")
    out = os.open(lab / "out", os.O_RDWR | os.O_CREAT)

    def body() -> None:
        syscalls.mount("proc", "/proc", "proc", 0, "")
        syscalls.mount("data", "/data", "tmpfs", 0, "")
        for name in ("/data/u", "/data/w"):
            os.mkdir(name)
        syscalls.mount("overlay", "/m", "overlay", 0, "lowerdir=/,upperdir=/data/u,workdir=/data/w")
        os.unlink("/m/etc/a.x")
        Path("/m/new.x").write_text("new")
        os.chdir("/m")
        _pivot(".", "rom")
        for name in ("proc", "data"):
            syscalls.mount(f"/rom/{name}", f"/{name}", "", BIND, "")
        os.dup2(out, 1)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for this process alone
        assert main(["inspect", "changes", "/", "--raw"]) == 0

    _chroot(lab / "root", body)
    rows = {tuple(line.split()[:2]) for line in (lab / "out").read_text().splitlines()[1:]}
    assert rows == {("etc/a.x", "deleted"), ("new.x", "added")}


@pytest.mark.namespace
def test_a_root_whose_layers_were_moved_into_it(
    lab: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As an initramfs leaves it: the mounts of the layers are older than the root."""
    from layerctl.cli.main import main

    grow(lab, "run", "new", "proc")
    syscalls.mount("run", str(lab / "run"), "tmpfs", 0, "")
    grow(lab, "run/low/a.x", "run/low/b.x", "run/low/run", "run/low/proc", "run/changes", "proc")
    syscalls.mount("changes", str(lab / "run/changes"), "tmpfs", 0, "")
    grow(lab, "run/changes/u", "run/changes/w")
    syscalls.mount("proc", str(lab / "proc"), "proc", 0, "")

    def body() -> None:
        options = "lowerdir=/run/low,upperdir=/run/changes/u,workdir=/run/changes/w"
        syscalls.mount("overlay", "/new", "overlay", 0, options)
        for name in ("run", "proc"):
            syscalls.mount(f"/{name}", f"/new/{name}", "", MOVE, "")
        os.chroot("/new")
        os.chdir("/")
        os.unlink("/a.x")
        assert main(["inspect", "changes", "/", "--raw", "--noheadings"]) == 0
        assert main(["doctor", "/"]) == 0

    _chroot(lab, body)
    assert "a.x" in capfd.readouterr().out

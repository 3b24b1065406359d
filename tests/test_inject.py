"""Calls of the system that fail, one of each sort; `make inject` has them all."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from tests.support import import_everything, layerctl
from tools.inject.cases import CASES
from tools.inject.runs import Outcome, inject, run, sites

#: What the suite runs: one call of each sort, with the errno that once ended badly.
SELECTION: tuple[tuple[str, str, str], ...] = (
    ("mount", "fsmount", "ENOSYS"),
    ("mount", "move_mount", "ENOSYS"),
    ("mount", "fsconfig", "EINVAL"),
    ("mount", "rt_sigprocmask", "EINVAL"),
    ("mount", "statfs", "EIO"),
    ("mount-mkdir", "openat", "EMFILE"),
    ("umount", "umount2", "EIO"),
    ("doctor", "clone", "EAGAIN"),
    ("doctor", "socketpair", "EMFILE"),
    ("inspect-merged", "prlimit64", "EPERM"),
    ("inspect-two", "clone", "EAGAIN"),
    ("inspect-two", "pipe2", "EMFILE"),
    ("inspect-two", "fgetxattr", "ENOSYS"),
    ("umount", "close", "EIO"),
    ("inspect-thorough", "llistxattr", "EIO"),
    ("inspect-changes", "getdents64", "EIO"),
    ("list", "write", "ENOSPC"),
)
traced = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("strace") is None, reason="takes root and strace(1)"
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    import_everything()
    directory = Path(tempfile.mkdtemp(prefix="layerctl-inject-lab-"))
    yield directory
    directory.rmdir()


@functools.cache
def _undisturbed(case: str, place: Path) -> Outcome:
    return run(CASES[case], place)


@traced
@pytest.mark.parametrize(("case", "call", "name"), SELECTION)
def test_a_call_that_fails_is_told_and_leaves_nothing(
    place: Path, case: str, call: str, name: str
) -> None:
    usual = _undisturbed(case, place)
    found = [site for site in sites(usual.trace, 1) if site.call == call]
    assert found, "the command makes no such call any more: choose another"
    verdict = inject(case, found[-1], name, usual, place)
    assert verdict.hit
    assert not verdict.wrong, verdict


@pytest.mark.namespace
@pytest.mark.parametrize(
    "words",
    [
        "doctor m", "doctor -l l -u n --no-probe m", "inspect merged m", "inspect merged m d/f",
        "inspect whiteouts --thorough m", "inspect changes --content m",
    ],
)  # fmt: skip
def test_looking_changes_no_access_time(lab: Path, words: str) -> None:
    """Each was accessed before it was changed: a filesystem with relatime would note the next."""
    for name in ("l/d", "u/d", "w/work/x", "m", "n"):
        (lab / name).mkdir(parents=True)
    (lab / "w/work/x").rmdir()
    (lab / "l/d/f").write_text("1")
    (lab / "u/d/f").write_text("2")
    syscalls.mount("o", "m", "overlay", 0, "lowerdir=l,upperdir=u,workdir=w")
    paths = [path for top in ("l", "u", "w") for path in (lab / top, *(lab / top).rglob("*"))]
    for path in paths:
        os.utime(path, (1, 1000))
    layerctl(*words.split())
    touched = [str(path) for path in paths if path.lstat().st_atime != 1]
    assert not touched


@pytest.mark.parametrize("octal", ["\\000", "\0"])
def test_a_nul_in_what_the_kernel_shows_is_no_bug(tmp_path: Path, octal: str) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"36 25 0:40 / /a{octal} rw - overlay o rw,lowerdir=/a\n")
    assert layerctl("list", "--mountinfo", mountinfo).returncode == 3
    mountinfo.write_text("36 25 0:40 / /a rw - aufs none rw,si=1\n")
    (tmp_path / "si_1").mkdir()
    (tmp_path / "si_1/br0").write_text(f"/a{octal}=rw\n")
    done = layerctl("inspect", "aufs", "--mountinfo", mountinfo, "--sysfs", tmp_path)
    assert done.returncode == 3, done.stderr
    assert "NUL" in done.stderr

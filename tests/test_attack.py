"""Root runs the program on directories of a neighbour who swaps them for links to root's own.

Here the neighbour acts once in each run, just before one call of the program, some calls later
each time. `make attack` has a real one, 200 runs for each command.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerctl.kernel import mounts, private_names, syscalls
from tests.support import layerctl, layerctl_json
from tests.support.neighbour import NEIGHBOUR, Lab, as_neighbour, at_every_call

#: How many calls there are from one run's act to the next one's.
STEP = {"new": 4, "old": 9}
STACK = ("-l", "mal/lo", "-u", "mal/up", "-w", "mal/work")


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the program run in forks of the tests: there are many runs."""
    monkeypatch.setenv("LAYERCTL_TESTS_FORK", "1")


def no_openat2(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(syscalls, "openat2", missing)


@pytest.mark.namespace
@pytest.mark.parametrize("kernel", ["new", "old"])
def test_doctor(lab: Path, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel == "old":
        no_openat2(monkeypatch)
    place = Lab(lab)
    runs = at_every_call(
        place,
        ["doctor", *STACK, "mal/m"],
        lambda: place.make("lo", "up", "work", "m"),
        monkeypatch,
        step=STEP[kernel],
    )
    assert runs > 10, runs


MOUNTS = {
    "mount": ["mount", *STACK, "mal/m"],
    "its own work directory": ["mount", "-l", "mal/lo", "-u", "mal/up", "mal/m"],
    "mkdir": ["mount", "--mkdir", "-l", "mal/lo", "-u", "mal/new/x", "-w", "mal/new/work", "mal/m"],
    "deep": ["mount", "--mkdir", "-l", "mal/lo", "-u", "mal/deep/fresh", "mal/deep/m"],
    "by strings": ["mount", "--api", "fsconfig", *STACK, "mal/m"],
    "by one string": ["mount", "--api", "mount", *STACK, "mal/m"],
    "by names of descriptors": ["mount", "--api", "mount", *STACK, "mal/m"],
}


@pytest.mark.namespace
@pytest.mark.parametrize("way", MOUNTS)
def test_mount(lab: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_names, "possible", lambda _: way != "by names of descriptors")
    place = Lab(lab)
    names = ["lo", "up", "m"] if way != "deep" else ["lo", "deep"]
    if "-w" in MOUNTS[way] and way != "mkdir":
        names.append("work")
    prepare = lambda: place.make(*names)  # noqa: E731
    runs = at_every_call(place, MOUNTS[way], prepare, monkeypatch, step=STEP["new"])
    assert runs > 7, runs


@pytest.mark.namespace
@pytest.mark.parametrize("call", ["move_mount", "mount"])
def test_undo(lab: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    place = Lab(lab)
    monkeypatch.setattr(syscalls, call, fails)
    arguments = ["mount", "--mkdir", "-l", "mal/lo", "-u", "mal/new/x", "mal/deep/m"]
    if call == "mount":
        arguments[1:1] = ["--api", "mount"]
    prepare = lambda: place.make("lo")  # noqa: E731
    runs = at_every_call(place, arguments, prepare, monkeypatch, step=STEP["old"])
    assert runs > 7, runs


@pytest.fixture
def mounted() -> Callable[[Lab], None]:
    def prepare(place: Lab) -> None:
        """Let root have the same mounts under the same names."""
        place.make("lo", "up", "work", "deep/m")
        for base in (place.mal, place.precious):
            target = str(base / "deep/m")
            if not any(one.target == target for one in mounts.entries()):
                data = f"lowerdir={base}/lo:{base}/lo2" if base == place.precious else ""
                data = data or f"lowerdir={base}/lo,upperdir={base}/up,workdir={base}/work"
                syscalls.mount("o", target, "overlay", 0, data)

    return prepare


@pytest.mark.namespace
@pytest.mark.parametrize("words", [["umount"], ["umount", "--lazy"], ["mount", "-o", "remount,ro"]])
def test_a_mount_that_stands(
    lab: Path,
    words: list[str],
    mounted: Callable[[Lab], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Lab(lab)
    runs = at_every_call(place, [*words, "mal/deep/m"], lambda: mounted(place), monkeypatch)
    assert runs > 4, runs
    assert any(one.target == f"{place.precious}/deep/m" for one in mounts.entries())


@pytest.mark.namespace
@pytest.mark.parametrize("planted", ["up", "up.work", "m", "lo", "deep"])
def test_a_planted_link_is_refused(lab: Path, planted: str) -> None:
    place = Lab(lab)
    names = {"up", "lo", "m", "deep/m"} - {planted}
    place.make(*(names if planted != "deep" else names - {"deep/m"}))
    with as_neighbour():
        os.symlink(place.precious / planted, place.mal / planted)
    target = "mal/deep/m" if planted == "deep" else "mal/m"
    for flags in ((), ("--mkdir",), ("--api", "mount")):
        done = layerctl("mount", *flags, "-l", "mal/lo", "-u", "mal/up", target)
        assert done.returncode == 32, done.stderr
        assert "untrusted-symlink" in done.stderr or "symbolic link" in done.stderr
        assert "realpath" in done.stderr
    place.check(planted)
    (found,) = [
        one
        for one in layerctl_json("doctor", "-l", "mal/lo", "-u", "mal/up", target, code=1)[
            "findings"
        ]
        if one["severity"] == "failure"
    ]
    assert found["cause"] == "untrusted-symlink"


@pytest.mark.namespace
def test_links_of_root_are_followed(lab: Path) -> None:
    for name in ("u", "l", "m"):
        (lab / name).mkdir()
        (lab / f"to-{name}").symlink_to(name)
    (lab / "to-all").symlink_to(lab)
    flags = ("-l", "to-all/to-l", "-u", "to-all/to-u")
    assert layerctl_json("doctor", *flags, "to-m")["findings"] == []
    done = layerctl("mount", *flags, "to-m")
    assert done.returncode == 0, done.stderr
    stack = mounts.find_layered(str(lab / "m")).stack
    assert [layer.path for layer in stack.layers] == [f"{lab}/u", f"{lab}/l"]
    assert layerctl("umount", "to-all/to-m").returncode == 0


@pytest.mark.namespace
@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_who_may_swap_a_directory_is_told(lab: Path, mode: int) -> None:
    (lab / "d").mkdir()
    os.chmod(lab / "d", mode)
    os.chown(lab / "d", 0, NEIGHBOUR)
    for name in ("d/u", "l", "m"):
        (lab / name).mkdir()
    found = layerctl_json("doctor", "-l", "l", "-u", "d/u", "m")["findings"]
    assert [one["cause"] for one in found] == ["swappable-directory"] * (mode != 0o1777)
    os.chown(lab / "d/u", NEIGHBOUR, NEIGHBOUR)
    (one,) = layerctl_json("doctor", "-l", "l", "-u", "d/u", "m")["findings"]
    assert one["cause"] == "swappable-directory"
    assert layerctl("mount", "-l", "l", "-u", "d/u", "m").returncode == 0
    assert layerctl("umount", "m").returncode == 0


@pytest.mark.namespace(user=True)
def test_in_a_user_namespace_nothing_is_in_the_way() -> None:
    place = subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout
    base = Path(place.strip())  # below /tmp, whose owner has no number here
    try:
        for name in ("l", "u", "w", "m"):
            (base / name).mkdir()
        found = layerctl_json("doctor", "-l", f"{base}/l", "-u", f"{base}/u", "-w", f"{base}/w")
        assert "swappable-directory" not in {one["cause"] for one in found["findings"]}
    finally:
        for name in ("l", "u", "w", "m"):
            (base / name).rmdir()
        base.rmdir()

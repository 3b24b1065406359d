"""Whatever fails halfway is undone: each call made to fail in turn, and an interrupt after each."""

from __future__ import annotations

import errno
import json
import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main
from layerctl.kernel import context, idmap, mounts, syscalls
from layerctl.kernel.kmsg import KernelLog
from layerctl.model import IdMap
from tests.support.mounting import APIS

#: What mounting calls, each by the module it is looked up in.
CALLS: tuple[tuple[Any, str], ...] = (
    (syscalls, "fsopen"),
    (syscalls, "fsconfig"),
    (syscalls, "fsmount"),
    (syscalls, "move_mount"),
    (syscalls, "mount"),
    (syscalls, "open_tree"),
    (syscalls, "mount_setattr"),
    (os, "mkdir"),
    (os, "open"),
    (os, "chdir"),
    (mounts, "entries"),
    (mounts, "mount_id_of"),
)


class Trouble:
    """Makes the n-th call fail, or be followed by an interrupt."""

    def __init__(self, number: int, *, interrupt: bool) -> None:
        self._left = mmap.mmap(-1, 4)  # shared with the children of the program
        self._left[:] = number.to_bytes(4, "little")
        self.interrupt = interrupt

    def is_next(self) -> bool:
        left = int.from_bytes(self._left[:], "little", signed=True) - 1
        self._left[:] = left.to_bytes(4, "little", signed=True)
        return not left

    @property
    def fired(self) -> bool:
        return int.from_bytes(self._left[:], "little", signed=True) <= 0

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if not self.is_next():
                return real(*arguments, **keywords)
            if not self.interrupt:
                raise OSError(errno.ENOMEM, "made to fail")
            result = real(*arguments, **keywords)
            os.kill(os.getpid(), signal.SIGINT)
            return result

        return call


def state(lab: Path) -> tuple[list[str], list[str], set[str], str]:
    files = sorted(os.path.join(d, n) for d, s, f in os.walk(lab) for n in (*s, *f))
    targets = [one.target for one in mounts.entries() if one.target.startswith(f"{lab}/")]
    return files, targets, set(os.listdir("/proc/self/fd")), os.getcwd()


ARGUMENTS = {
    "fsconfig": ["mount", "-l", "l1", "-u", "new/u", "-w", "new/w", "--mkdir", "new/m"],
    "fd": [
        "mount",
        *(["--api", "fd"] if "fd" in APIS else []),
        "-l",
        "l1",
        "-l",
        "l2",
        "-u",
        "u",
        "m",
    ],
    "string": ["mount", "--api", "mount", "-l", "l1", "-u", "u", "-w", "v/w", "--mkdir", "m"],
    "mapped": ["mount", "--map", "0:0:9", "-l", "l1", "-u", "u", "-w", "v/w", "--mkdir", "m"],
}


def maps_owners(lab: Path) -> bool:
    """Tell whether the kernel maps the owners of files on a tmpfs, as it does since 6.3."""
    mount, ids = syscalls.open_tree(str(lab)), idmap.namespace(IdMap(((0, 0, 9),), ((0, 0, 9),)))
    try:
        syscalls.mount_setattr(mount, syscalls.MOUNT_ATTR_IDMAP, ids)
    except OSError:
        return False
    finally:
        os.close(mount)
        os.close(ids)
    return True


@pytest.mark.namespace
@pytest.mark.parametrize("way", [*ARGUMENTS, "many"])
@pytest.mark.parametrize("interrupt", [False, True])
def test_nothing_is_left_of_a_mount_that_failed(
    lab: Path, way: str, interrupt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("l1", "l2", "u", "m"):
        (lab / name).mkdir()
    arguments = ARGUMENTS.get(way)
    if arguments is None:  # so many that descriptors replace names
        names = [str(number) + "/" + "x" * 200 for number in range(40)]
        for name in names:
            (lab / name).mkdir(parents=True)
        arguments = ["mount", "--api", "mount", *(w for n in names for w in ("-l", n)), "m"]
    before = state(lab)
    for number in range(1, 1000):
        trouble = Trouble(number, interrupt=interrupt)
        with monkeypatch.context() as patch:
            for module, name in CALLS:
                patch.setattr(module, name, trouble.wrap(getattr(module, name)))
            code = main(arguments)
        if not trouble.fired:
            assert code == (0 if way != "mapped" or maps_owners(lab) else 32)
            break
        stands = [one.target for one in mounts.entries() if one.target.startswith(f"{lab}/")]
        if code == 0:  # a call whose failure changes nothing, such as a probe
            assert stands
            syscalls.umount2(stands[0], 0)
            for path in sorted(set(state(lab)[0]) - set(before[0]), reverse=True):
                os.rmdir(path)
            continue
        assert code in (130, 32, 71, 3), code
        files, targets, descriptors, here = state(lab)
        assert (files, targets, here) == (before[0], before[1], before[3]), (number, code)
        if not interrupt:  # which ends the process, and with it what a look-up had open
            assert descriptors == before[2], (number, code)
    else:
        pytest.fail("it never ran through")


@pytest.mark.namespace
@pytest.mark.parametrize("call", ["fsopen", "fsconfig", "fsmount", "move_mount"])
def test_a_new_call_that_is_missing_gives_way_to_mount2(
    lab: Path, call: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A filter of system calls may let some of them through and not the others."""
    for name in ("l", "u", "m"):
        (lab / name).mkdir()
    asked = main(["mount", "-l", "l", "-u", "u", "m", "--json"])
    usual = json.loads(capsys.readouterr().out)["mounts"][0]
    assert asked == 0
    syscalls.umount2("m", 0)

    def missing(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(syscalls, call, missing)
    assert main(["mount", "-l", "l", "-u", "u", "m", "--json"]) == 0
    mounted = json.loads(capsys.readouterr().out)["mounts"][0]
    assert mounted["api"]["name"] == "mount"
    assert [one["path"] for one in mounted["layers"]] == [one["path"] for one in usual["layers"]]
    syscalls.umount2("m", 0)
    assert main(["mount", "--api", "fsconfig", "-l", "l", "-u", "u", "m"]) in (32, 71)


@pytest.mark.namespace
@pytest.mark.parametrize("way", ["fsconfig", "mount"])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ELOOP, errno.ENOENT])
def test_what_the_checks_rule_out_is_not_blamed(
    lab: Path,
    way: str,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("l", "u", "m"):
        (lab / name).mkdir()
    # before Linux 6.7 there is no way in by a string for each layer
    there = way == "mount" or context.overlay_features().append
    fsconfig = syscalls.fsconfig

    def refused(fd: int, command: int, key: str | None, *rest: Any) -> None:
        if key == "upperdir":
            raise OSError(number, os.strerror(number))
        fsconfig(fd, command, key, *rest)

    def refused_too(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(syscalls, "fsconfig", refused)
    monkeypatch.setattr(syscalls, "mount", refused_too)
    # The log is the machine's, and other tests mount too.
    monkeypatch.setattr(KernelLog, "lines", lambda *_: [])
    code = main(["mount", "--api", way, "-l", "l", "-u", "u", "m", "--json"])
    error = json.loads(capsys.readouterr().err)["error"]
    assert (code, error["id"]) == (32, "mount-refused" if there else "mount-api-call-limit")
    assert "upperdir-fs-unsupported-overlay" not in json.dumps(error)

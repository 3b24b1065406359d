"""Nothing that a command opens stays open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerctl.cli.main import main
from layerctl.kernel import syscalls
from tests.support.mounting import make


def grow(lab: Path) -> None:
    """Mount an overlay with everything that makes the program look closer."""
    make(lab, "l/d/sub", "l/opq", "k/d/deep/er", "k/opq/x", "k/moved/in", "u", "w", "m", "m2", "m3")
    for name in ("l/d/f", "k/d/g", "l/changed", "k/gone", "k/opq/f", "k/meta"):
        (lab / name).write_text(name)
    os.link("k/meta", "k/linked")
    options = f"lowerdir={lab}/l:{lab}/k,upperdir={lab}/u,workdir={lab}/w"
    syscalls.mount("o", str(lab / "m"), "overlay", 0, f"{options},redirect_dir=on,metacopy=on")
    (lab / "m" / "changed").write_text("now")
    (lab / "m" / "gone").unlink()
    os.chmod("m/meta", 0o600)
    os.rename("m/moved", "m/d/renamed")
    os.rmdir("m/d/sub")
    (lab / "m" / "opq" / "x").rmdir()
    (lab / "m" / "opq" / "f").unlink()
    (lab / "m" / "opq").rmdir()
    (lab / "m" / "opq").mkdir()
    (lab / "m" / "new").write_text("new")
    syscalls.mount("t", str(lab / "k" / "d" / "deep"), "tmpfs", 0, "")  # inside a layer


STACK = ("-u", "u", "-w", "w", "-l", "l", "-l", "k", "-o", "redirect_dir=on,metacopy=on")


@pytest.mark.namespace
@pytest.mark.parametrize("covered", [False, True])
def test_every_command_closes_what_it_opened(lab: Path, covered: bool) -> None:
    grow(lab)
    if covered:
        syscalls.mount("t", str(lab / "l"), "tmpfs", 0, "")
    looks = [
        ["list"], ["inspect", "mount", "m"], ["inspect", "aufs"], ["doctor", "m"], ["doctor"],
        *(["inspect", "merged", where, *more] for where in ("m", *([] if covered else [""]))
          for more in ([], ["d/renamed"], ["meta"], ["gone"], ["opq"], ["--summary"])),
        *(["inspect", "whiteouts", "m", *more] for more in ([], ["--thorough"])),
        *(["inspect", "changes", "m", *more] for more in ([], ["--full"])),
    ]  # fmt: skip
    commands = [
        *looks,
        ["doctor", "-u", "u", "-w", "w", "-l", "l", "m2"],
        ["mount", "-n", *STACK, "m2"],
        ["mount", "--print", "command", *STACK, "m2"],
        ["mount", "-o", "remount,ro", "m"],
        ["mount", "-o", "remount,index=on", "m"],
        ["mount", "-l", "l", "-l", "k", "m2"],
        ["mount", "--api", "mount", "--mkdir", "-l", "l", "-u", "a/u", "m3"],
        ["mount", "-l", "nosuch", "-l", "k", "m2"],
        ["umount", "m2"],
        ["umount", "m3"],
        ["umount", "nosuch"],
    ]
    for command in commands:
        words = [word for word in command if word]
        if "" in command:
            words[2:2] = STACK
        before = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in range(200) if is_open(fd))
        main(words)
        after = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in range(200) if is_open(fd))
        assert after == before, words


def is_open(fd: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")

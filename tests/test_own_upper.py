"""`mount --tmpfs`: an upper layer that goes when the mount goes; `--like`: the same stack again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from layerctl.kernel import mounts, own_places
from layerctl.rules.overlay import own_place
from tests.support import layerctl, layerctl_json
from tests.support.images import own_run

PLACES = Path("/run/layerctl")


def layers(lab: Path) -> None:
    own_run()
    for name in ("a", "b", "m", "again"):
        (lab / name).mkdir()
    (lab / "a/file").write_text("x")
    (lab / "a").chmod(0o711)


def left() -> list[str]:
    """Return the places and mounts that exist."""
    names = os.listdir(PLACES) if PLACES.exists() else []
    return names + [one.target for one in mounts.entries() if own_place(one.target)]


@pytest.mark.namespace
def test_only_the_mount_holds_the_tmpfs(lab: Path) -> None:
    layers(lab)
    assert layerctl("mount", "--tmpfs=1m", "-l", "a", "-l", "b", "m").returncode == 0
    assert left() == []
    (lab / "m/new").write_text("x")
    assert (lab / "m").stat().st_mode & 0o777 == 0o711
    assert os.statvfs(lab / "m").f_blocks * os.statvfs(lab / "m").f_frsize == 1 << 20
    assert layerctl("umount", "m").returncode == 0
    assert not [one for one in mounts.entries() if one.source == "layerctl"]


@pytest.mark.namespace(user=True)
def test_in_a_user_namespace(lab: Path) -> None:
    for name in ("a", "m"):
        (lab / name).mkdir()
    assert layerctl("mount", "--tmpfs", "-l", "a", "m").returncode == 0
    (lab / "m/new").write_text("x")
    assert not [one for one in mounts.entries() if own_place(one.target)]


@pytest.mark.namespace
def test_a_dry_run_leaves_nothing(lab: Path) -> None:
    layers(lab)
    done = layerctl("mount", "-n", "--tmpfs", "-l", "a", "m")
    assert (done.returncode, left()) == (0, [])
    assert "tmpfs-" in done.stdout


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("--tmpfs", "-l", "missing", "m"), 32, "missing-layer-directory"),
        (("--tmpfs", "-l", "a", "missing"), 3, "target-missing"),
        (("--tmpfs=1x", "-l", "a", "m"), 2, "usage"),
        (("--tmpfs", "-u", "b", "-l", "a", "m"), 2, "usage"),
        (("--tmpfs", "-r", "-l", "a", "m"), 2, "usage"),
        (("--tmpfs", "-b", "a", "m"), 2, "usage"),
        (("--tmpfs", "--print", "fstab", "-l", "a", "m"), 2, "usage"),
        (("--tmpfs", "-o", "upperdir=b", "-l", "a", "m"), 2, "conflicting-options"),
    ],
)
def test_a_failure_leaves_nothing(words: tuple[str, ...], code: int, error: str, lab: Path) -> None:
    layers(lab)
    done = layerctl("mount", *words)
    assert (done.returncode, left()) == (code, [])
    assert f"[{error}]" in done.stderr


@pytest.mark.namespace
def test_what_a_killed_run_left_is_removed(lab: Path) -> None:
    layers(lab)
    code = (
        "import contextlib, os, signal\n"
        "from layerctl.kernel import own_places\n"
        "own_places.tmpfs('', contextlib.ExitStack())\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(left()) == 2
    with contextlib.ExitStack() as closing:
        own_places.tmpfs("", closing)
        assert len(left()) == 2
        assert layerctl("mount", "--tmpfs", "-l", "a", "m").returncode == 0
        assert len(left()) == 2  # that of this process, which is in use
    assert left() == []


@pytest.mark.namespace
def test_doctor_knows_how_full_it_is(lab: Path) -> None:
    layers(lab)
    layerctl("mount", "--tmpfs=256k", "-l", "a", "m")
    assert layerctl("doctor", "--no-probe", "m").returncode == 0
    with pytest.raises(OSError, match="No space left"):
        (lab / "m/big").write_bytes(bytes(1 << 20))
    found = layerctl_json("doctor", "--no-probe", "m", code=1)["findings"]
    assert [one["cause"] for one in found if one["severity"] == "failure"] == ["upper-enospc"]


@pytest.mark.namespace
def test_its_upper_layer_cannot_be_read(lab: Path) -> None:
    layers(lab)
    layerctl("mount", "--tmpfs", "-l", "a", "m")
    done = layerctl("inspect", "changes", "m")
    assert (done.returncode, "[layer-unreachable]" in done.stderr) == (3, True)


@pytest.mark.namespace
def test_volatile_warns(lab: Path) -> None:
    layers(lab)
    done = layerctl("mount", "--volatile", "-u", "b", "-l", "a", "m")
    assert (done.returncode, "explain volatile-upper" in done.stderr) == (0, True)
    options = layerctl_json("inspect", "mount", "m")["mounts"][0]["options"]
    assert {"volatile", "fsync"} & set(options)


def shown(target: str) -> list[tuple[str, str]]:
    (mount,) = layerctl_json("inspect", "mount", target)["mounts"]
    return [(layer["role"], Path(layer["path"]).name) for layer in mount["layers"]]


@pytest.mark.namespace
def test_the_same_stack_again(lab: Path) -> None:
    layers(lab)
    (lab / "up").mkdir()
    words = ("-u", "b", "-l", "a", "-o", "redirect_dir=on", "m")
    assert layerctl("mount", *words).returncode == 0
    done = layerctl("mount", "--like", "m", "again")
    assert (done.returncode, "mounted writable" in done.stderr) == (0, True)
    assert shown("again") == [("lower", "b"), ("lower", "a")]
    assert layerctl_json("inspect", "mount", "again")["mounts"][0]["read_only"]
    layerctl("umount", "again")
    assert layerctl("mount", "--like", "m", "-u", "up", "again").returncode == 0
    assert shown("again") == [("upper", "up"), ("lower", "b"), ("lower", "a")]
    (mount,) = layerctl_json("inspect", "mount", "again")["mounts"]
    assert (mount["read_only"], mount["options"]["redirect_dir"]) == (False, "on")
    layerctl("umount", "again")
    assert layerctl("mount", "--like", "m", "--tmpfs", "again").returncode == 0


@pytest.mark.namespace
@pytest.mark.parametrize("other", [("-l", "a"), ("--image", "x"), ("--data", "a")])
def test_like_excludes_other_layers(other: tuple[str, ...], lab: Path) -> None:
    layers(lab)
    done = layerctl("mount", "--like", "m", *other, "again")
    assert (done.returncode, "[usage]" in done.stderr) == (2, True)

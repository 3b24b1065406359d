"""Which layers may be worked on: none that a mount uses, none that another run works on."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layerctl.errors import RefusedError
from layerctl.kernel import syscalls
from layerctl.model import Stack
from layerctl.working.opening import taken
from tests.support.stacks import Mounted, make_case


def taking(stack: Stack) -> str:
    """Return the id of the error that taking the upper layer ends with."""
    try:
        with taken(stack, {0}):
            return ""
    except RefusedError as error:
        return error.id


def stack_of(lab: Path) -> Stack:
    for name in ("l", "u", "w", "m", "u/in", "other"):
        (lab / name).mkdir()
    return make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u").stack


@pytest.mark.namespace
def test_layers_at_rest_are_taken(lab: Path) -> None:
    assert taking(stack_of(lab)) == ""


@pytest.mark.namespace
def test_fuse_overlayfs_counts(lab: Path) -> None:
    stack = stack_of(lab)
    options = f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w"
    subprocess.run(["fuse-overlayfs", "-o", options, "m"], cwd=lab, check=True)
    assert taking(stack) == "layer-in-use"
    syscalls.umount2(f"{lab}/m", 0)


USES: dict[str, Callable[[Path], str]] = {
    "upper": lambda lab: f"lowerdir={lab}/l,upperdir={lab}/u,workdir={lab}/w",
    "lower": lambda lab: f"lowerdir={lab}/u:{lab}/l",
    "a part": lambda lab: f"lowerdir={lab}/u/in:{lab}/l",
    "relative": lambda _: "lowerdir=u:l",
    "work": lambda lab: f"lowerdir={lab}/l,upperdir={lab}/other,workdir={lab}/w",
}


@pytest.mark.namespace
@pytest.mark.parametrize("use", USES)
def test_a_layer_in_use_is_refused(lab: Path, use: str) -> None:
    stack = stack_of(lab)
    syscalls.mount("o", f"{lab}/m", "overlay", 0, USES[use](lab))
    assert taking(stack) == "layer-in-use"
    syscalls.umount2(f"{lab}/m", 0)
    assert taking(stack) == ""


@pytest.mark.namespace
def test_a_lower_layer_that_is_only_read_may_be_in_use(lab: Path) -> None:
    stack = stack_of(lab)
    syscalls.mount("o", f"{lab}/m", "overlay", 0, f"lowerdir={lab}/l:{lab}/other")
    assert taking(stack) == ""


@pytest.mark.namespace
def test_a_layer_that_its_own_mount_covers_is_refused(lab: Path) -> None:
    stack = stack_of(lab)
    case = make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")
    case.target = f"{lab}/u"
    (lab / "copy").mkdir()
    syscalls.mount(str(lab), f"{lab}/copy", "", syscalls.MS_BIND, "")
    with Mounted(case):
        layers = tuple(one._replace(path=f"{lab}/copy/u") for one in stack.layers[:1])
        assert taking(stack._replace(layers=(*layers, *stack.layers[1:]))) == "layer-in-use"


@pytest.mark.namespace
def test_a_mount_in_another_namespace_counts(lab: Path) -> None:
    stack = stack_of(lab)
    code = (
        "import os, sys\n"
        "from layerctl.kernel import syscalls\n"
        "syscalls.unshare(syscalls.CLONE_NEWNS)\n"
        "syscalls.mount('none', '/', '', syscalls.MS_REC | syscalls.MS_PRIVATE, '')\n"
        "syscalls.mount('o', 'm', 'overlay', 0, 'lowerdir=%s/l,upperdir=%s/u,workdir=%s/w'"
        " % ((os.getcwd(),) * 3))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=lab,
        env={**os.environ, "PYTHONPATH": root}, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert taking(stack) == "layer-in-use"
        other.communicate("")
    assert taking(stack) == ""


@pytest.mark.namespace
def test_two_never_work_on_one_layer(lab: Path) -> None:
    stack = stack_of(lab)
    with taken(stack, {0}):
        assert taking(stack) == "layer-locked"
    fd = os.open(lab / "l", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert taking(stack) == "", "others may read a lower layer"
    os.close(fd)


@pytest.mark.namespace
def test_a_link_of_another_user_is_not_followed(lab: Path) -> None:
    stack = stack_of(lab)
    (lab / "theirs").mkdir(mode=0o755)
    os.symlink(lab / "u", lab / "theirs/link")
    os.chown(lab / "theirs", 1000, 1000)
    layers = (stack.layers[0]._replace(path=f"{lab}/theirs/link"), *stack.layers[1:])
    assert taking(stack._replace(layers=layers)) == "untrusted-symlink"


@pytest.mark.namespace
def test_two_paths_to_one_file_are_refused(lab: Path) -> None:
    stack = stack_of(lab)
    (lab / "l/one").write_text("x")
    with Mounted(make_case(str(lab), [f"{lab}/l"], upper=f"{lab}/u")):
        (lab / "m/one").chmod(0o600)
    subprocess.run(["cp", "-a", lab / "u/one", lab / "u/two"], check=True)
    assert taking(stack) == "layers-ambiguous"

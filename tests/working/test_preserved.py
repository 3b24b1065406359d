"""What a layer holds is in the new place just as it was, however it gets there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from layerctl.kernel import syscalls
from layerctl.usecases import working
from tests.support.everything import make_everything
from tests.support.stacks import Case, Mounted, make_case
from tests.support.trees import differences, look, shown

OPTIONS = "redirect_dir=on,metacopy=on"
ESCAPED = {"trusted.overlay.overlay.opaque", "trusted.overlay.overlay.metacopy"}


def make(lab: Path, *, elsewhere: bool = False) -> Case:
    """Make empty layers, the first lower one on another filesystem if `elsewhere`."""
    (lab / "other").mkdir()
    if elsewhere:
        syscalls.mount("other", f"{lab}/other", "tmpfs", 0, "")
    lower = [f"{lab}/other/l0", f"{lab}/l1"]
    for path in (f"{lab}/u", f"{lab}/w", f"{lab}/m", *lower):
        os.mkdir(path)
    return make_case(str(lab), lower, upper=f"{lab}/u", options=OPTIONS)


def commit(case: Case, run: range = range(1)) -> None:
    with working.committing(case.stack, run) as steps:
        list(working.do(steps))


def fill_both(upper: Path, lower: Path) -> None:
    """Fill both layers; the lower one has other files by the same names, and no attributes."""
    make_everything(upper)
    (lower / "d").mkdir(0o700)
    os.setxattr(lower / "d", "user.gone", b"")
    for name in ("suid", "link", "acl", "fifo"):
        (lower / "d" / name).write_text("lower")
    (lower / "d/empty").symlink_to("lower")


def by_rename(lab: Path) -> Path:
    case = make(lab)
    make_everything(lab / "u")
    commit(case)
    return lab / "other/l0"


def by_copy(lab: Path) -> Path:
    case = make(lab, elsewhere=True)
    make_everything(lab / "u")
    commit(case)
    return lab / "other/l0"


def by_merging(lab: Path) -> Path:
    case = make(lab)
    fill_both(lab / "u", lab / "other/l0")
    commit(case)
    return lab / "other/l0"


def by_merging_copies(lab: Path) -> Path:
    case = make(lab, elsewhere=True)
    fill_both(lab / "u", lab / "other/l0")
    commit(case)
    return lab / "other/l0"


def by_two(lab: Path) -> Path:
    case = make(lab, elsewhere=True)
    make_everything(lab / "u")
    commit(case, range(2))
    return lab / "l1"


def by_a_new_layer(lab: Path) -> Path:
    case = make(lab)
    fill_both(lab / "u", lab / "other/l0")
    with working.flattening_into(case.stack, range(2), f"{lab}/new") as steps:
        list(working.do(steps))
    return lab / "new"


HOWS = [by_rename, by_copy, by_merging, by_merging_copies, by_two, by_a_new_layer]


@pytest.mark.namespace
@pytest.mark.parametrize("how", HOWS)
def test_everything_is_preserved(lab: Path, how: Callable[[Path], Path]) -> None:
    (lab / "model").mkdir()
    make_everything(lab / "model")
    place = how(lab)
    assert list(differences(look(str(lab / "model")), look(str(place)))) == []
    for name in ("holes", "hole at the end"):
        assert (place / "d" / name).stat().st_blocks < 100
    assert markers(place) == ESCAPED


def markers(layer: Path) -> set[str]:
    """Return overlay's attributes in a layer."""
    paths = (layer, *layer.rglob("*"))
    names = {name for path in paths for name in os.listxattr(path, follow_symlinks=False)}
    return {name for name in names if ".overlay." in name}


def touch_everything(merged: Path) -> None:
    """Rename the directory of a lower layer, and copy the metadata of its files up."""
    (merged / "d").rename(merged / "e")
    for path in sorted(merged.rglob("*")):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            os.setxattr(path, "user.new", b"")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.namespace
@pytest.mark.parametrize("into", [False, True], ids=["commit", "deref"])
def test_what_only_metadata_was_copied_of_is_preserved(lab: Path, *, into: bool) -> None:
    case = make(lab)
    make_everything(lab / "other/l0", links=False)
    with Mounted(case) as merged:
        touch_everything(Path(merged))
    before = shown(case)
    assert "trusted.overlay.metacopy" in markers(lab / "u")
    if into:
        with working.flattening_into(case.stack, range(1), f"{lab}/new") as steps:
            list(working.do(steps))
        shutil.rmtree(lab / "u")
        (lab / "new").rename(lab / "u")
    else:
        commit(case)
    assert markers(lab / ("u" if into else "other/l0")) == ESCAPED
    assert list(differences(before, shown(case))) == []


@pytest.mark.namespace
@pytest.mark.parametrize("backing", ["xfs"])
@pytest.mark.parametrize("upper", ["xfs", "tmpfs"])
def test_access_lists_of_xfs_are_replaced(lab: Path, backing: str, upper: str) -> None:
    (lab / "top").mkdir()
    if upper != backing:
        syscalls.mount("top", f"{lab}/top", upper, 0, "")
    lists = {
        "none": ("", "u:7:rx,d:u:8:rwx"),
        "same": ("u:7:rx,d:u:8:rwx", "u:7:rx,d:u:8:rwx"),
        "other": ("u:9:r", "u:7:rx"),
        "new": ("u:9:r,d:u:8:r", ""),
    }
    for name in ("m", "top/w"):
        (lab / name).mkdir()
    for name, both in lists.items():
        for layer, entries in zip(("top/u", "l0"), both, strict=True):
            (lab / layer / name).mkdir(parents=True)
            (lab / layer / name / f"of {layer[:1]}").touch()
            if entries:
                subprocess.run(["setfacl", "-m", entries, lab / layer / name], check=True)
    case = make_case(str(lab / "top"), [f"{lab}/l0"], upper=f"{lab}/top/u")
    access = {name: acl(lab / "top/u" / name) for name in lists}
    commit(case)
    assert {name: acl(lab / "l0" / name) for name in lists} == access
    assert os.listdir(lab / "top/u") == []


def acl(path: Path) -> dict[str, bytes]:
    """Return the access lists of a directory."""
    names = [name for name in os.listxattr(path) if name.startswith("system.posix_acl")]
    return {name: os.getxattr(path, name) for name in names}

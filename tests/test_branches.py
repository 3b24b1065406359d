"""What a change of branches makes of a stack, and which changes are refused before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerctl.errors import RefusedError
from layerctl.kernel import syscalls
from layerctl.kernel.mounts import Mounted
from layerctl.model import Layer, MountEntry, Role, Stack
from layerctl.mounting.branches import known_path, planned
from layerctl.rules.branches import BranchChange


def mounted(*paths: Path) -> Mounted:
    entry = MountEntry(9, 1, "0:9", "/", "/m", ("rw",), "aufs", "none", "rw")
    layers = tuple(Layer(str(path), Role.BRANCH, "ro") for path in paths)
    return Mounted(entry, Stack("aufs", layers))


@pytest.mark.namespace
@pytest.mark.parametrize("name", ["b", "bound", "link"])
@pytest.mark.parametrize("word", ["append", "prepend", "add"])
def test_a_branch_by_another_name_is_refused(lab: Path, word: str, name: str) -> None:
    for made in ("a", "b", "c", "bound", "new"):
        (lab / made).mkdir()
    (lab / "link").symlink_to("b")
    syscalls.mount(str(lab / "b"), str(lab / "bound"), "", syscalls.MS_BIND, "")
    live = mounted(lab / "a", lab / "b", lab / "c")
    place = 1 if word == "add" else None
    change = BranchChange(word, Layer(str(lab / name), Role.BRANCH), place)
    with pytest.raises(RefusedError) as error:
        planned(live, [change])
    assert error.value.id == "aufs-branch-duplicated"
    assert known_path(live.stack, str(lab / name)) == str(lab / "b")
    twice = [BranchChange(word, Layer(str(lab / "new"), Role.BRANCH), place)] * 2
    assert len(planned(live, twice[:1]).layers) == 4
    with pytest.raises(RefusedError):
        planned(live, twice)
    assert known_path(live.stack, str(lab / "new")) is None

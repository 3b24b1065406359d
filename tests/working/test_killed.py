"""Work on layers is stopped, or fails, at each change: nothing is lost, a rerun completes it.

`make inject` tries every point of every trial, and kills the commands themselves.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.support import in_namespace
from tests.support.chosen import TRIALS
from tests.support.killing import at_every_change

#: Of the points of long trials, every eleventh or so is tried here.
EVERY = {
    "commit": 11,
    "commit to another filesystem": 41,
    "restore files": 2,
    "restore by the new name": 3,
    "restore a layer's file": 3,
    "restore through a mount": 9,
}


def at_points(lab: Path, name: str) -> tuple[int, list[str]]:
    return at_every_change(TRIALS[name](lab), EVERY.get(name, 1))


@pytest.mark.parametrize("name", TRIALS)
def test_stopped_at_each_change(name: str) -> None:
    count, wrong = in_namespace(partial(at_points, name=name))
    assert count > 5
    assert wrong == []

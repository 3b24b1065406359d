"""Root runs the program on directories of a neighbour who swaps them for links to root's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.attack import Lab, at_every_call

SOME = 1


@pytest.mark.namespace
def test_doctor(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Lab(lab)
    runs = at_every_call(
        place,
        ["doctor", "-l", "mal/lo", "-u", "mal/up", "-w", "mal/work", "mal/m"],
        lambda: place.make("lo", "up", "work", "m"),
        monkeypatch,
    )
    assert runs > 20, runs
    assert not os.listdir(place.mal)

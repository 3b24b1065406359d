"""Calls of the system that fail, one of each sort; `make inject` has them all."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inject import Outcome, inject, run, sites
from tests.inject_cases import CASES, SELECTION
from tests.support import import_everything

pytestmark = pytest.mark.skipif(
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

"""The resolver agrees with the kernel on random stacks; `LAYERCTL_CASES` is how many of each."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.fuzz import BUILDERS, differing
from tests.support import in_namespace

CASES = int(os.environ.get("LAYERCTL_CASES", "400"))


@pytest.mark.parametrize("user", [False, True], ids=["trusted", "user"])
@pytest.mark.parametrize("kind", list(BUILDERS))
def test_the_kernel_agrees(kind: str, *, user: bool) -> None:
    seed = random.randrange(1 << 40)

    def body(lab: Path) -> object:
        return differing(lab, kind, user=user, seed=seed, cases=CASES, until=None)

    count, found = in_namespace(body, user=user)
    assert found == []
    assert count == CASES

"""Every example of the README and the docs prints what stands there; every link leads somewhere.

`make docs` writes what is printed now: read the difference before it is committed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs import PAGES, rewritten
from tests.support import ROOT

UPDATE = bool(os.environ.get("LAYERCTL_UPDATE_DOCS"))


@pytest.mark.namespace(place=Path("/mnt"))
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path, lab: Path) -> None:
    text, wrong = rewritten(page.read_text(), lab)
    if UPDATE:
        page.write_text(text)
    else:
        assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link

"""Every example of the README and the docs prints what stands there; every link leads somewhere.

`make docs` writes what is printed now: read the difference before it is committed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests import pictures
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


@pytest.mark.namespace(place=Path("/mnt"))
def test_pictures_show_what_is_printed(lab: Path) -> None:
    for name, (command, output) in pictures.drawn(lab).items():
        picture = pictures.svg(command, output)
        file = pictures.DIRECTORY / name
        if UPDATE:
            file.parent.mkdir(exist_ok=True)
            file.write_text(picture)
        # How it is drawn depends on the version of rich; what it says does not.
        assert pictures.words(file.read_text()) == pictures.words(picture)
        assert "merged" in pictures.words(picture)

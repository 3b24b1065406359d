"""Every example of the README and the docs prints what stands there; every link leads somewhere.

`make docs` writes what is printed now: read the difference before it is committed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
from pathlib import Path

import click
import pytest

from layerctl.cli.main import cli
from tests.support import ROOT, pictures
from tests.support.examples import PAGES, rewritten
from tests.support.stored import sample

UPDATE = bool(os.environ.get("LAYERCTL_UPDATE_DOCS"))


#: What is on a tmpfs is gone after a boot, which is another story.
ON_DISK = ("mount-at-boot.md",)
#: These have the disk of another machine, on /mnt/evidence.
ON_EVIDENCE = ("whose-file-is-this.md", "stopped-container.md", "evidence-disk.md")


@pytest.mark.namespace(place=Path("/mnt"))
@pytest.mark.usefixtures("backing")
@pytest.mark.parametrize(
    ("page", "backing"),
    [(page, "ext4" if page.name in ON_DISK else "tmpfs") for page in PAGES],
    ids=[str(page.relative_to(ROOT)) for page in PAGES],
)
def test_examples(page: Path, lab: Path) -> None:
    if page.name in ON_EVIDENCE:
        sample(lab / "evidence")
    with Path(__file__).open() as lock:
        # All pages work in /mnt, and what works on layers minds mounts of these names anywhere.
        fcntl.flock(lock, fcntl.LOCK_EX)
        text, wrong = rewritten(page.read_text(), lab)
    if UPDATE:
        page.write_text(text)
    else:
        assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_cannot_be_run_here_are_at_least_commands(page: Path) -> None:
    """Blocks of ```sh need an aufs or a whole system: only click parses them."""
    for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["layerctl"]:
                context = cli.make_context("layerctl", words[1:])
                while isinstance(context.command, click.Group):
                    rest = [*context._protected_args, *context.args]
                    _, command, arguments = context.command.resolve_command(context, rest)
                    assert command is not None
                    context = command.make_context(rest[0], arguments, parent=context)
            elif words[:1] == ["make"]:
                targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
                assert words[1] in targets


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

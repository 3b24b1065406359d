"""Help: every command has it, in 80 columns, with two examples that were run."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from layerctl.cli.examples import EXAMPLES
from layerctl.errors import EXIT_CODES
from layerctl.render.tables import DOCUMENTS
from tests.support import layerctl
from tools import manual


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command by its name without the program, `inspect merged`."""
    for name, command, _ in manual.commands():
        yield name.partition(" ")[2], command


NAMES = [name for name, _ in commands()]


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_and_ends_with_two_examples(name: str) -> None:
    done = layerctl(*name.split(), "--help", env={"COLUMNS": "200"})
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    if "Commands:" in lines:
        assert not any(line.endswith("...") for line in lines[1:])
    examples = [line.removeprefix("  $ ") for line in lines[-4:] if line.startswith("  $ ")]
    assert examples == [example.line for example in EXAMPLES[name]]
    assert all(example.line.startswith("layerctl") for example in EXAMPLES[name])
    assert done.stdout == layerctl(*name.split(), "-h", env={"COLUMNS": "80"}).stdout


def test_every_example_belongs_to_a_command() -> None:
    assert set(EXAMPLES) == set(NAMES)


def test_every_option_says_what_it_is_for() -> None:
    texts = {name: command.help or "" for name, command in commands()} | {
        f"{name} {parameter.opts[0]}": parameter.help or ""
        for name, command in commands()
        for parameter in command.params
        if isinstance(parameter, click.Option)
    }
    assert [name for name, text in texts.items() if not text] == []
    assert [name for name, text in texts.items() if " -" in name and text[-1] != "."] == []


def test_every_command_that_writes_json_has_a_schema() -> None:
    with_json = {
        name
        for name, command in commands()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert with_json | {"error"} == set(DOCUMENTS)


@pytest.mark.namespace
def test_every_example_does_what_it_says(lab: Path) -> None:
    for name in ("upper", "lower/etc", "base", "merged", "mnt"):
        (lab / name).mkdir(parents=True)
    (lab / "lower" / "etc" / "fstab").touch()
    done = [  # one after another: some mount what the next ones look at
        (example, layerctl(*shlex.split(example.line)[1:]))
        for examples in EXAMPLES.values()
        for example in examples
    ]
    assert [one for one in done if one[1].returncode != one[0].code] == []


def test_the_manual_pages_are_well_formed(tmp_path: Path) -> None:
    pages = manual.manual()
    for name, text in pages.items():
        (tmp_path / Path(name).name).write_text(text)
    files = sorted(tmp_path.iterdir())
    lint = subprocess.run(["mandoc", "-T", "lint", *files], capture_output=True, text=True)
    assert (lint.returncode, lint.stdout) == (0, "")
    for file in files:
        groff = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", "-z", file], capture_output=True, text=True
        )
        assert (groff.returncode, groff.stderr) == (0, ""), file


def test_a_manual_page_says_all_that_help_says() -> None:
    pages = manual.manual()
    for name, command in commands():
        title = "-".join(["layerctl", *name.split()])
        text = pages[f"man/{title}.1"].replace("\\-", "-").replace("\\:", "")
        for section in ("NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "FILES", "EXAMPLES"):
            assert f".SH {section}\n" in text
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert all(option in text for option in parameter.opts)
        for row in EXIT_CODES:
            assert f".B {row.code}\n" in text
        for example in EXAMPLES[name]:
            assert example.line in text

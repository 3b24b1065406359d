"""docs/reference.md, from the same tables as help and the manual pages."""

from __future__ import annotations

from collections.abc import Iterator

import click

from layerctl.diagnosing.catalogue import CAUSES
from layerctl.errors import ERRORS, EXIT_CODES
from layerctl.render.columns import Listing
from layerctl.render.tables import DOCUMENTS
from layerctl.rules.options import AUFS, FLAGS, OVERLAY, Option
from layerctl.rules.validity import example
from tools.manual import commands, sentence

_HEAD = """\
# Reference

Written by `make generate` from the tables of the program: do not edit.

- [Commands](#commands)
- [Mount options](#mount-options)
- [Columns](#columns)
- [Exit codes](#exit-codes)
- [Causes](#causes)
- [Errors](#errors)
"""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _commands() -> Iterator[str]:
    yield "\n## Commands\n"
    for name, command, context in commands():
        context.max_content_width = 80
        formatter = click.HelpFormatter(width=78, max_width=80)
        command.format_help(context, formatter)
        yield f"### {name}\n\n```text\n{formatter.getvalue().rstrip()}\n```\n"


def _options(title: str, table: tuple[Option, ...]) -> Iterator[str]:
    yield f"### {title}\n\n| option | what it does | since |\n|---|---|---|"
    for option in table:
        yield _row(f"`{example(option)}`", sentence(option.help), option.since)
    yield ""


def _columns() -> Iterator[str]:
    yield "## Columns\n"
    for name, documents in DOCUMENTS.items():
        for listing in documents:
            if isinstance(listing, Listing) and listing.shown:
                when = f" {listing.when}" if listing.when else ""
                yield f"### {name}{when}\n\n| column | what it is |\n|---|---|"
                for column in listing.columns:
                    mark = "" if column.name in listing.shown else " (by `--output`)"
                    yield _row(f"`{column.name}`", sentence(column.help) + mark)
                yield ""


def reference() -> dict[str, str]:
    """Return the page by its path."""
    lines = [_HEAD.rstrip(), *_commands()]
    lines.append("## Mount options\n\nOptions for `-o`, as for mount(8).\n")
    lines += _options("overlay", OVERLAY)
    lines += _options("aufs", AUFS)
    lines += _options("Any filesystem", FLAGS)
    lines += _columns()
    lines.append("## Exit codes\n\n| code | meaning |\n|---|---|")
    lines += [_row(str(row.code), sentence(row.meaning)) for row in EXIT_CODES]
    lines.append("\n## Causes\n\nWhat `layerctl doctor` can find, and what an error's id may be.\n")
    lines.append("| id | what it is |\n|---|---|")
    lines += [
        _row(f"`{cause}`", sentence(title))
        for cause, title in sorted((key, one.title) for key, one in CAUSES.items())
    ]
    lines.append("\n## Errors\n\nThe other ids that an error may have.\n")
    lines.append("| id | what it is | exit code |\n|---|---|---|")
    lines += [
        _row(f"`{row.id}`", sentence(row.title), str(row.exit_code))
        for row in sorted(ERRORS.values())
    ]
    return {"docs/reference.md": "\n".join(lines) + "\n"}

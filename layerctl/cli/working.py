"""Shared by the commands that work on layers: a dry run, a script, the steps as rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import click

from layerctl.cli.common import add_options
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.model import Stack
from layerctl.render.errors import note
from layerctl.render.output import Format, Output, write
from layerctl.render.progress import watched
from layerctl.render.tables import STEPS
from layerctl.render.working import step_document, summary_lines, write_script
from layerctl.usecases.stacks import Target
from layerctl.usecases.targets import open_target
from layerctl.usecases.working import do, uppers_based_on
from layerctl.working.steps import Step

_OPTIONS = (
    click.option(
        "-n", "--dry-run", is_flag=True, help="Show what would be done, without doing it."
    ),
    click.option(
        "--print",
        "form",
        type=click.Choice(["sh"]),
        help="Print a shell script that does the same; do nothing.",
    ),
)


def work_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the output options, --dry-run and --print."""
    return output_options(STEPS)(add_options(function, function, _OPTIONS))


def noted_target(target: str | None, request: Request) -> Target:
    """Open the target, and write its notes to standard error. Raises what `open_target` does."""
    found = open_target(target, request)
    for text in found.notes:
        note(text)
    return found


def run_of(text: str) -> range:
    """Return the layers that N..M names, or N alone. Raises RequestError."""
    first, dots, last = text.partition("..")
    if not (first.isdecimal() and (last.isdecimal() if dots else not last)):
        raise RequestError("usage", f"'{text}' is not a run of layers", hint="write it as 0..2")
    return range(int(first), int(last if dots else first) + 1)


def warn_of_uppers(stack: Stack, changed: Collection[int]) -> None:
    """Warn on standard error of unmounted upper layers that are based on layers to be changed."""
    for text in uppers_based_on(stack, changed):
        note(text)


def carry_out(
    steps: Iterator[Step], output: Output, *, dry_run: bool, form: str | None, each: bool = False
) -> None:
    """Do the steps, or show what they are; people see `each` when it is done as well."""
    if form is not None:
        write_script(steps)
        return
    chosen = steps if dry_run else do(steps)
    counted = watched(chosen, lambda _: 1, shown_as_found=False)
    if output.format is Format.HUMAN and output.whole:
        lines = list(summary_lines(counted, done=not dry_run, each=each))
        click.echo("\n".join(lines))
        return
    rows = list(map(step_document, counted))  # nothing is written where a step fails
    write(STEPS, rows, output)

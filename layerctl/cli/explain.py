"""`layerctl explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from layerctl.cli.complete import items
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.render import json
from layerctl.render.causes import document, errno_lines, lines
from layerctl.render.output import Output, write
from layerctl.render.tables import CAUSES
from layerctl.usecases.explain import causes_of, errno_of, explained, titles

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return items(titles(), incomplete)


@click.command("explain", cls=WithExamples)
@output_options(CAUSES)
@click.argument("cause", required=False, shell_complete=_complete)
def command(*, output: Output, cause: str | None) -> None:
    """Explain a cause, an error or an errno; without CAUSE, list all of them.

    An errno is a name (EXDEV) or a number (18); list the causes that it can have.
    """
    if cause is None:
        write(CAUSES, (document(explained(name)) for name in titles()), output)
    elif number := errno_of(cause):
        _errno(number, output)
    elif output.as_json and output.whole:
        json.write(document(explained(cause)))
    else:
        one = explained(cause)
        write(CAUSES, [document(one)], output, human=lambda: click.echo("\n".join(lines(one))))


def _errno(number: int, output: Output) -> None:
    found = causes_of(number)
    once = {one.cause.id: one for several in found.values() for one in several}

    def human() -> None:
        click.echo("\n".join(errno_lines(number, found)))

    write(CAUSES, map(document, once.values()), output, human=human)

"""`layerctl schema`."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from layerctl.cli.help import WithExamples
from layerctl.errors import RequestError
from layerctl.render import json
from layerctl.render.columns import schema
from layerctl.render.tables import DOCUMENTS


def _complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    before = " ".join([*(context.params.get("words") or ()), incomplete])
    skip = len(before) - len(incomplete)
    names = [name[skip:] for name in DOCUMENTS if name.startswith(before)]
    return [CompletionItem(name.split()[0]) for name in names if name]


@click.command("schema", cls=WithExamples)
@click.argument("words", nargs=-1, metavar="COMMAND", shell_complete=_complete)
def command(*, words: tuple[str, ...]) -> None:
    """Print the JSON Schema of COMMAND --json.

    The rows are under $defs; each line of --jsonl is one of them. `error` is not a command: it is
    the document that every command writes to standard error when it fails.
    """
    name = " ".join(words)
    documents = DOCUMENTS.get(name)
    if documents is None:
        raise RequestError(
            "usage",
            f"'{name}' has no schema" if name else "no command was given",
            why="schemas exist for: " + ", ".join(DOCUMENTS),
            commands=("layerctl schema list",),
        )
    json.write(schema(f"layerctl {name} --json", documents))

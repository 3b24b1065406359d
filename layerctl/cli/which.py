"""`layerctl which`."""

from __future__ import annotations

import sys

import click

from layerctl.cli.common import ROOT
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.errors import EXIT_FOUND, EXIT_OK, LayerctlError
from layerctl.render.errors import note
from layerctl.render.named import answer_document, answer_line
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import WHICH
from layerctl.stores.known import Answer
from layerctl.usecases.named import stores_of
from layerctl.usecases.which import answers


@click.command("which", cls=WithExamples)
@output_options(WHICH)
@ROOT
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=targets)
def command(*, output: Output, root: str | None, names: tuple[str, ...]) -> int:
    """Tell which layer, image step and containers a name, hash or path belongs to.

    NAME is what TARGET may be elsewhere, also a path in a layer's directory, as scanners report.
    With -, read names from standard input, one per line (with -0, ended by NUL).
    """
    given = _given(names, by_nul=output.format is Format.NUL)
    stores = stores_of(root, given)
    found: list[Answer] = []
    code = EXIT_OK
    for name in given:
        try:
            found += answers(name, root, stores)
        except LayerctlError as error:
            note(f"{error.message} [{error.id}]")
            code = max(code, error.exit_code)
    unknown = list(dict.fromkeys(text for store in stores for text in store.unknown))
    for text in unknown:
        note(text)
        code = code or EXIT_FOUND

    def human() -> None:
        for answer in found:
            click.echo(answer_line(answer))

    rows = map(answer_document, found)
    write(WHICH, rows, output, human=human, beside=lambda: {"unknown": unknown})
    return code


def _given(names: tuple[str, ...], *, by_nul: bool) -> list[str]:
    """Return the names that were given, for `-` those on standard input."""
    given: list[str] = []
    for name in names:
        if name == "-":
            text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
            given += filter(None, text.split("\0") if by_nul else text.splitlines())
        else:
            given.append(name)
    return given

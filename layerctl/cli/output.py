"""The options that every command with rows has: formats, columns, headings and colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from layerctl.cli.common import Decorator, add_options
from layerctl.cli.complete import columns
from layerctl.errors import RequestError
from layerctl.render.columns import Listing
from layerctl.render.output import Format, Output

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_FORMATS = (
    ("--json", Format.JSON, "Write one JSON document."),
    ("--jsonl", Format.JSONL, "Write one JSON object per line."),
    ("--raw", Format.RAW, "Write one row per line; escape unsafe bytes as \\xNN."),
    ("-0/--null", Format.NUL, "End each field with NUL; do not escape."),
)
_SIZES = (click.option("--bytes", "sizes", is_flag=True, help="Print sizes in bytes."),)

_FULL = (
    click.option("--full", is_flag=True, help="Do not shorten names to the width of the terminal."),
)


def output_options(
    *listings: Listing,
    which: Callable[[Output, dict[str, Any]], Listing] | None = None,
    sorts: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the output options to a command, which receives them as `output`.

    If there are several listings, `which` returns the one to write, from the output and the
    command's arguments, so that columns of other ones are refused at once. `sorts` adds --sort and
    --reverse; --bytes is added if a column holds sizes.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(**arguments: Any) -> Any:
            output = _output(arguments)
            output.wanted(listings[0] if which is None else which(output, arguments))
            # click removes colours unless the output is a terminal or its context says otherwise.
            click.get_current_context().color = {"always": True, "never": False}.get(output.color)
            return function(output=output, **arguments)

        return add_options(function, wrapper, _options(listings, sorts=sorts))

    return add


def _output(arguments: dict[str, Any]) -> Output:
    """Remove the output options from a command's arguments. Raises RequestError."""
    formats = [form for flag, form, _ in _FORMATS if arguments.pop(_name(flag))]
    if len(formats) > 1:
        raise RequestError(
            "usage",
            "more than one output format was given",
            hint="use only one of --json, --jsonl, --raw and -0",
        )
    return Output(
        formats[0] if formats else Format.HUMAN,
        arguments.pop("columns"),
        not arguments.pop("noheadings"),
        arguments.pop("color"),
        arguments.pop("sort", None),
        arguments.pop("reverse", False),
        arguments.pop("sizes", False),
        arguments.pop("full", False),
    )


def _options(listings: tuple[Listing, ...], *, sorts: bool) -> tuple[Decorator, ...]:
    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return columns(listings, incomplete)

    def list_columns(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            _list_columns(listings)
            context.exit()

    return (
        *(click.option(*flag.split("/"), _name(flag), is_flag=True, help=help_)
          for flag, _, help_ in _FORMATS),
        click.option(
            "--output", "columns", metavar="COL,...", shell_complete=complete,
            help="Show these columns; +COL,... adds to the default.",
        ),
        click.option(
            "--list-columns", is_flag=True, is_eager=True, expose_value=False,
            callback=list_columns, help="List the available columns, and exit.",
        ),
        *((
            click.option(
                "--sort", metavar="COL", shell_complete=complete,
                help="Sort by this column, smallest first.",
            ),
            click.option("--reverse", is_flag=True, help="Reverse the order."),
        ) if sorts else ()),
        *(_FULL if any(column.elides for one in listings for column in one.columns) else ()),
        *(_SIZES if any(column.is_size for one in listings for column in one.columns) else ()),
        click.option("--noheadings", is_flag=True, help="Do not print column headings."),
        click.option(
            "--color", type=click.Choice(["auto", "always", "never"]), default="auto",
            help="When to use colour.",
        ),
    )  # fmt: skip


def _list_columns(listings: tuple[Listing, ...]) -> None:
    for listing in listings:
        if listing.when:
            click.echo(f"\n{listing.when}:")
        width = max(len(column.name) for column in listing.columns)
        for column in listing.columns:
            click.echo(f"{column.name:<{width}}  {column.help}")


def _name(flag: str) -> str:
    return "as_" + flag.rpartition("--")[2]

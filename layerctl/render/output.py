"""Rows to standard output in the requested format. See docs/output.md for the contract."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

from layerctl.codecs.escape import printable
from layerctl.errors import RequestError
from layerctl.render import stream
from layerctl.render.columns import Column, Listing
from layerctl.render.json import Document


class Format(StrEnum):
    """How rows are written."""

    HUMAN = "human"
    JSON = "json"
    JSONL = "jsonl"
    RAW = "raw"
    NUL = "null"


class Output(NamedTuple):
    """What the output options ask for; `columns` is the list behind --output as typed."""

    format: Format = Format.HUMAN
    columns: str | None = None
    headings: bool = True
    color: str = "auto"

    @property
    def as_json(self) -> bool:
        """Whether the one document of --json was requested."""
        return self.format is Format.JSON

    @property
    def whole(self) -> bool:
        """Whether to write rows as they are, without a choice of columns."""
        return self.columns is None

    def chosen(self, listing: Listing) -> tuple[Column, ...]:
        """Return the columns to show.

        Raises RequestError for an unknown column, or for one that this format cannot hold.
        """
        if self.columns is None:
            names: tuple[str, ...] = listing.shown
            if self.format is Format.NUL:
                names = (listing.alone or names[0],)
        else:
            asked = self.columns.removeprefix("+").split(",")
            names = (*(listing.shown if self.columns.startswith("+") else ()), *asked)
        columns = tuple(_column(listing, name) for name in names)
        several = [column.name for column in columns if column.has_paths]
        if self.format is Format.NUL and several and len(columns) > 1:
            raise RequestError(
                "usage",
                f"-0 cannot combine {several[0]} with other columns",
                why="the column holds several paths, and only NUL bytes can separate them",
                hint=f"use -0 --output {several[0]}, or --json",
            )
        return columns


def _column(listing: Listing, name: str) -> Column:
    column = listing.column(name)
    if column is None:
        known = [one.name for one in listing.columns]
        from layerctl.rules.options import nearest

        close = nearest(name.upper(), known)
        raise RequestError(
            "usage",
            f"'{name}' is not a column of this command",
            why="the columns are " + ", ".join(known),
            hint=f"use --output {close[0] if close else ','.join(listing.shown)}",
        )
    return column


def write(
    listing: Listing,
    rows: Iterable[Document],
    output: Output,
    *,
    human: Callable[[], None] | None = None,
    beside: Callable[[], Document] | None = None,
) -> None:
    """Write rows to standard output.

    `human` writes the face for people; it is used if neither a format nor columns were requested.
    `beside` gives the document's other keys when all rows are there, for --json alone.
    """
    columns = output.chosen(listing)
    match output.format:
        case Format.JSON | Format.JSONL:
            if output.columns is not None:
                rows = (_reduced(row, columns) for row in rows)
            if output.format is Format.JSONL:
                stream.write_lines(stream.batches(rows))
            else:
                stream.write_document(listing.key, stream.batches(rows), beside or dict)
        case Format.RAW:
            _raw(columns, rows, headings=output.headings)
        case Format.NUL:
            for row in rows:
                for column in columns:
                    texts = column.texts(row)
                    for text in texts if column.has_paths else [",".join(texts)]:
                        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\0")
        case Format.HUMAN:
            from layerctl.render.pager import paged

            with paged():
                if human is not None and output.columns is None:
                    human()
                else:
                    _table(columns, rows, output)


def _reduced(row: Document, columns: tuple[Column, ...]) -> Document:
    keys = {column.key for column in columns}
    return {key: value for key, value in row.items() if key.removesuffix("_bytes") in keys}


def _raw(columns: tuple[Column, ...], rows: Iterable[Document], *, headings: bool) -> None:
    """Write one row per line, cells separated by spaces; escape whatever is ambiguous in a cell.

    An empty cell is `-`, so that every line has the same number of words; a `-` itself is escaped.
    """
    out = sys.stdout.buffer
    if headings:
        out.write(" ".join(column.name for column in columns).encode() + b"\n")
    for row in rows:
        cells = (
            ",".join(printable(one, " ,\\") for one in column.texts(row)) for column in columns
        )
        words = ("\\x2d" if cell == "-" else cell or "-" for cell in cells)
        out.write(" ".join(words).encode() + b"\n")


def _table(columns: tuple[Column, ...], rows: Iterable[Document], output: Output) -> None:
    from rich.box import SIMPLE_HEAD, Box
    from rich.table import Table
    from rich.text import Text

    from layerctl.render.human import console, signs

    box = Box(str(SIMPLE_HEAD).replace("─", signs().rule))
    table = Table(box=box, show_edge=False, pad_edge=False, show_header=output.headings)
    for column in columns:
        justify = "right" if column.is_number else "left"
        table.add_column(column.name, overflow="fold", justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(
            *(
                Text("\n".join(printable(one) for one in column.lines(row)), column.style_of(row))
                for column in columns
            )
        )
    screen = console(output.color)
    with screen.capture() as captured:
        screen.print(table)
    lines = (line.rstrip() for line in captured.get().splitlines())
    sys.stdout.write("".join(f"{line}\n" for line in lines))

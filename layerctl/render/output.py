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
from layerctl.render.elide import SHORTEST, cut, fitting, short_hashes
from layerctl.render.human import console, signs
from layerctl.render.json import Document
from layerctl.rules.options import nearest


class Format(StrEnum):
    """How rows are written."""

    HUMAN = "human"
    JSON = "json"
    JSONL = "jsonl"
    RAW = "raw"
    NUL = "null"


class Output(NamedTuple):
    """The output options; `columns` is the value of --output as typed.

    `sort` is the column to sort by, None for the order in which rows are found; `sizes` means that
    tables too show sizes in bytes.
    """

    format: Format = Format.HUMAN
    columns: str | None = None
    headings: bool = True
    color: str = "auto"
    sort: str | None = None
    reverse: bool = False
    sizes: bool = False
    full: bool = False

    @property
    def as_json(self) -> bool:
        """Whether the one document of --json was requested."""
        return self.format is Format.JSON

    @property
    def whole(self) -> bool:
        """Whether to write rows unchanged: no columns or order were requested."""
        return self.columns is None and self.sort is None and not self.reverse

    def wanted(self, listing: Listing) -> frozenset[str]:
        """Return the keys of the columns that are shown or sorted by."""
        by = () if self.sort is None else (self.order(listing),)
        return frozenset(column.key for column in (*self.chosen(listing), *by))

    def order(self, listing: Listing) -> Column:
        """Return the column that rows are sorted by. Raises RequestError for an unknown one."""
        return _column(listing, self.sort or listing.shown[0], "--sort")

    def chosen(self, listing: Listing) -> tuple[Column, ...]:
        """Return the columns to show.

        Raises RequestError for an unknown column, or one that this format cannot show.
        """
        if self.columns is None:
            names: tuple[str, ...] = listing.shown
            if self.format is Format.NUL:
                names = (listing.alone or names[0],)
        else:
            asked = self.columns.removeprefix("+").split(",")
            names = (*(listing.shown if self.columns.startswith("+") else ()), *asked)
        columns = tuple(_column(listing, name, "--output") for name in names)
        several = [column.name for column in columns if column.has_paths]
        if self.format is Format.NUL and several and len(columns) > 1:
            raise RequestError(
                "usage",
                f"-0 cannot combine {several[0]} with other columns",
                why="the column holds several paths, and only NUL bytes can separate them",
                hint=f"use -0 --output {several[0]}, or --json",
            )
        return columns


def _column(listing: Listing, name: str, flag: str) -> Column:
    column = listing.column(name)
    if column is None:
        known = [one.name for one in listing.columns]
        close = nearest(name.upper(), known)
        suggested = listing.shown[0] if flag == "--sort" else ",".join(listing.shown)
        raise RequestError(
            "usage",
            f"'{name}' is not a column of this command",
            why="the columns are " + ", ".join(known),
            hint=f"use {flag} {close[0] if close else suggested}",
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

    `human` writes the output for people, if no format, columns or order were requested. `beside`
    returns the document's other keys after all rows are written, for --json.
    """
    columns = output.chosen(listing)
    if output.sort is not None or output.reverse:
        rows = sorted(rows, key=output.order(listing).place, reverse=output.reverse)
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
            from layerctl.render.pager import paged  # scripts need none

            with paged():
                if human is not None and output.whole:
                    human()
                else:
                    table(columns, rows, output)


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


def table(columns: tuple[Column, ...], rows: Iterable[Document], output: Output) -> None:
    """Print a table for people. On a terminal long names are cut so that a row is one line.

    Where there is no room even so, each cell has a line of its own.
    """
    rows = list(rows)
    cells = [[_lines(column, row, output) for column in columns] for row in rows]
    styles = [[column.style_of(row) for column in columns] for row in rows]
    can_cut = any(column.elides for column in columns)
    if sys.stdout.isatty() and can_cut and not output.full and not _cut(columns, cells, output):
        _print_records(columns, cells, output)
        return
    _print_table(columns, cells, styles, output)


def _lines(column: Column, row: Document, output: Output) -> list[str]:
    texts = column.texts(row) if output.sizes and column.is_size else column.lines(row)
    return list(map(printable, texts))


def _cut(columns: tuple[Column, ...], cells: list[list[list[str]]], output: Output) -> bool:
    """Cut long names so that the table has room on the terminal; return False if it has none."""
    mark = signs().cut
    for row in cells:
        for column, lines in zip(columns, row, strict=True):
            if column.elides:
                lines[:] = [short_hashes(line, mark) for line in lines]
    widths = [
        max(len(text) for text in (column.name, *(line for row in cells for line in row[index])))
        for index, column in enumerate(columns)
    ]
    room = console(output.color).width
    limit = fitting(widths, [bool(column.elides) for column in columns], room)
    if limit is None:
        return False
    for row in cells:
        for column, lines in zip(columns, row, strict=True):
            if column.elides:
                lines[:] = [cut(line, limit, column.elides, mark) for line in lines]
    return True


def _print_records(
    columns: tuple[Column, ...], cells: list[list[list[str]]], output: Output
) -> None:
    """Print each row as lines of a name and a value, the rows apart; long values are folded."""
    width = max(len(column.name) for column in columns)
    room = max(SHORTEST, console(output.color).width - width - 2)
    texts = []
    for row in cells:
        lines = []
        for column, values in zip(columns, row, strict=True):
            mark = signs().cut
            side = column.elides
            shown = [cut(one, room, side, mark) if side else one for one in values]
            folded = [one[at : at + room] for one in shown for at in range(0, len(one), room)]
            names = [column.name, *[""] * len(folded)]
            lines += [
                f"{name:<{width}}  {line}\n" for name, line in zip(names, folded, strict=False)
            ]
        texts.append("".join(lines))
    sys.stdout.write("\n".join(texts))


def _print_table(
    columns: tuple[Column, ...],
    cells: list[list[list[str]]],
    styles: list[list[str]],
    output: Output,
) -> None:
    # Scripts do not need rich, which is slow to import.
    from rich.box import SIMPLE_HEAD, Box
    from rich.table import Table
    from rich.text import Text

    box = Box(str(SIMPLE_HEAD).replace("─", signs().rule))
    made = Table(box=box, show_edge=False, pad_edge=False, show_header=output.headings)
    for column in columns:
        justify = "right" if column.is_number else "left"
        made.add_column(column.name, overflow="fold", justify=justify)  # type: ignore[arg-type]
    for row, looks in zip(cells, styles, strict=True):
        made.add_row(*(Text("\n".join(line), look) for line, look in zip(row, looks, strict=True)))
    screen = console(output.color)
    with screen.capture() as captured:
        screen.print(made)
    lines = (line.rstrip() for line in captured.get().splitlines())
    sys.stdout.write("".join(f"{line}\n" for line in lines))

"""What a column is: its name, help, JSON schema and cell, each defined once.

A row is the JSON document of one entry. A column is the key of the same name in lower case; without
a `schema` it is only for tables. Tables, raw lines, NUL-separated fields,
`--list-columns`, `layerctl schema`, manual pages and completions all come from these.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from layerctl.render.json import Document
from layerctl.rules.words import size_of

#: The draft of JSON Schema that the schemas use.
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_BASE64 = {"type": "string", "contentEncoding": "base64"}


class Column(NamedTuple):
    """One column. With `is_path`, bytes that are not UTF-8 are added as `{key}_bytes`.

    `cell` makes the text of the column from the row; without it, the value itself is shown.
    `for_people` is used instead in tables. `has_paths` means that there are several paths, which
    only NUL can separate; `style` returns the colour of the cell. `elides` is the side, left or
    right, at which text is cut on a narrow terminal; empty for text that is not.
    """

    name: str
    help: str
    schema: Mapping[str, Any] | None = None
    is_path: bool = False
    required: bool = True
    cell: Callable[[Document], str | list[str]] | None = None
    for_people: Callable[[Document], str] | None = None
    has_paths: bool = False
    style: Callable[[Document], str] | None = None
    elides: str = ""

    @property
    def key(self) -> str:
        """The column's key in JSON."""
        return self.name.lower()

    @property
    def is_number(self) -> bool:
        """Whether the column is right-aligned."""
        types = () if self.schema is None else self.schema.get("type", ())
        return "integer" in types or "number" in types

    def style_of(self, row: Document) -> str:
        """Return the style of the cell in a row, for rich."""
        return "" if self.style is None else self.style(row)

    @property
    def is_size(self) -> bool:
        """Whether it is a number of bytes."""
        return self.is_number and self.for_people is not None

    def lines(self, row: Document) -> list[str]:
        """Return the cell of a row as lines of a table for people."""
        return self.texts(row) if self.for_people is None else [self.for_people(row)]

    def place(self, row: Document) -> tuple[int, float, list[str]]:
        """Return the sort key of a row: numbers by value, others as text, empty cells first."""
        value = row.get(self.key)
        if isinstance(value, (int, float)):
            return 1, value, []
        texts = self.texts(row)
        return int(bool(texts)), 0, texts

    def texts(self, row: Document) -> list[str]:
        """Return the cell of a row as a list of texts; paths have their original bytes."""
        if self.cell is not None:
            made = self.cell(row)
            return [made] if isinstance(made, str) else made
        value = original(row, self.key)
        match value:
            case None:
                return []
            case bool():
                return ["yes" if value else "no"]
            case list():
                return [str(one) for one in value]
            case _:
                return [str(value)]


class Listing(NamedTuple):
    """A document with rows: `key` holds them, `beside` are the other keys of the document.

    `shown` names the default columns of tables and raw lines, `alone` the column that -0 writes,
    and `when` the option that selects this listing if a command has several.
    """

    key: str
    columns: tuple[Column, ...]
    shown: tuple[str, ...]
    beside: tuple[Column, ...] = ()
    alone: str = ""
    when: str = ""

    def column(self, name: str) -> Column | None:
        """Return the column of a name, in any case, or None."""
        return next((one for one in self.columns if one.name == name.upper()), None)

    def document(self) -> Document:
        """Return the JSON Schema of the document; its rows refer to `rows`."""
        items = {"type": "array", "items": {"$ref": f"#/$defs/{self.key}"}}
        return record((Column(self.key.upper(), "the rows", items), *self.beside))

    def rows(self) -> Document:
        """Return the JSON Schemas of the rows, by name: a line of --jsonl is one of them."""
        return {self.key: record(self.columns)}


class Single(NamedTuple):
    """A document that is one object."""

    columns: tuple[Column, ...]

    def document(self) -> Document:
        """Return the JSON Schema of the document."""
        return record(self.columns)

    def rows(self) -> Document:
        """Return nothing: there are no rows."""
        return {}


def schema(title: str, documents: Sequence[Listing | Single]) -> Document:
    """Return the JSON Schema of a command's output that is one of `documents`."""
    one = documents[0].document() if len(documents) == 1 else None
    shapes = one or {"oneOf": [document.document() for document in documents]}
    rows: Document = {}
    for document in documents:
        rows |= document.rows()
    return {"$schema": DIALECT, "title": title, **shapes, **({"$defs": rows} if rows else {})}


def record(columns: tuple[Column, ...]) -> Document:
    """Return the JSON Schema of an object that has these columns as keys."""
    properties: Document = {}
    for column in columns:
        if column.schema is None:
            continue
        properties[column.key] = {"description": column.help, **column.schema}
        if column.is_path:
            many = "array" in column.schema["type"]
            properties[f"{column.key}_bytes"] = (
                {"type": "array", "items": _BASE64} if many else _BASE64
            )
    return {
        "type": "object",
        "properties": properties,
        "required": [one.key for one in columns if one.required and one.schema is not None],
        "additionalProperties": False,
    }


def original(row: Document, key: str) -> Any:
    """Return a value of a row; paths have their original bytes instead of U+FFFD."""
    raw = row.get(f"{key}_bytes")
    if raw is None:
        return row.get(key)
    if isinstance(raw, str):
        return os.fsdecode(base64.b64decode(raw))
    return [os.fsdecode(base64.b64decode(one)) for one in raw]


Cell = Callable[[Document], str | list[str]]


def path(name: str, help_: str, *, nullable: bool = False, required: bool = True) -> Column:
    """Return the column of a path."""
    schema = {"type": ["string", "null"] if nullable else "string"}
    return Column(name, help_, schema, is_path=True, required=required)


def paths(name: str, help_: str, *, required: bool = True) -> Column:
    """Return the column of a list of paths."""
    schema = {"type": "array", "items": {"type": "string"}}
    return Column(name, help_, schema, is_path=True, required=required, has_paths=True)


def text(name: str, help_: str, *, nullable: bool = False, required: bool = True) -> Column:
    """Return the column of a text."""
    schema = {"type": ["string", "null"] if nullable else "string"}
    return Column(name, help_, schema, required=required)


def texts(name: str, help_: str, *, required: bool = True) -> Column:
    """Return the column of a list of texts."""
    schema = {"type": "array", "items": {"type": "string"}}
    return Column(name, help_, schema, required=required)


def choice(name: str, help_: str, values: tuple[str, ...], *, required: bool = True) -> Column:
    """Return the column of an enumeration."""
    return Column(name, help_, {"enum": list(values)}, required=required)


def number(name: str, help_: str, *, nullable: bool = False, required: bool = True) -> Column:
    """Return the column of a number."""
    schema = {"type": ["integer", "null"] if nullable else "integer"}
    return Column(name, help_, schema, required=required)


def numbers(name: str, help_: str) -> Column:
    """Return the column of a list of numbers."""
    return Column(name, help_, {"type": "array", "items": {"type": "integer"}})


def size(name: str, help_: str, *, nullable: bool = False, required: bool = True) -> Column:
    """Return the column of a number of bytes, which people read in larger units."""
    key = name.lower()
    return number(name, help_, nullable=nullable, required=required)._replace(
        for_people=lambda row: "" if row.get(key) is None else size_of(row[key])
    )


def share(name: str, help_: str) -> Column:
    """Return the column of a share from 0 to 1, shown in percent except in JSON."""
    return Column(
        name, help_, {"type": "number"}, cell=lambda row: f"{100 * row[name.lower()]:.1f}%"
    )


def flag(name: str, help_: str, *, required: bool = True) -> Column:
    """Return the column of a yes or no."""
    return Column(name, help_, {"type": "boolean"}, required=required)


def records(
    name: str, help_: str, columns: tuple[Column, ...], cell: Cell, *, required: bool = True
) -> Column:
    """Return the column of a list of objects that have a path, shown by `cell` in tables."""
    schema = {"type": "array", "items": record(columns)}
    return Column(name, help_, schema, required=required, cell=cell, has_paths=True)


def objects(name: str, help_: str, columns: tuple[Column, ...], *, required: bool = True) -> Column:
    """Return the column of a list of objects, which tables do not show."""
    return Column(name, help_, {"type": "array", "items": record(columns)}, required=required)


def one(name: str, help_: str, columns: tuple[Column, ...], *, nullable: bool = False) -> Column:
    """Return the column of one object."""
    shape = record(columns)
    return Column(name, help_, {"anyOf": [shape, {"type": "null"}]} if nullable else shape)

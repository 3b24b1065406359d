"""Documents and lines written as they are found, so that memory use stays constant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, TypeVar

from layerctl.render.json import Document, dumps

Item = TypeVar("Item", bound=tuple[Any, ...])

#: How many lines to gather before writing them.
_BATCH = 1000
#: And how many characters, if several lines are already one string.
_BLOCK = 1 << 16


def write_lines(batches: Iterable[list[str]]) -> None:
    """Write objects, which are JSON text already, one per line."""
    block: list[str] = []
    size = 0
    for batch in batches:
        block += batch
        size += sum(map(len, batch))
        if size >= _BLOCK:
            write_text("\n".join(block) + "\n")
            block, size = [], 0
    if block:
        write_text("\n".join(block) + "\n")


def write_document(name: str, batches: Iterable[list[str]], rest: Callable[[], Document]) -> None:
    """Write `{name: [...]}`, its objects already JSON text; `rest` returns what follows them."""
    head = f'{{"{name}": ['
    before = head + "\n"
    for batch in batches:
        if batch:
            write_text(before + ",\n".join(batch))
            before = ",\n"
    end = head if before != ",\n" else "\n"
    after = dumps(rest(), indent=None)[1:-1]
    write_text(end + "]" + (", " + after if after else "") + "}\n")


def separator(*, as_document: bool) -> str:
    """Return the separator of objects in a document or of lines."""
    return ",\n" if as_document else "\n"


def batches(objects: Iterable[Document]) -> Iterator[list[str]]:
    """Turn objects into batches of JSON text."""
    rest = iter(objects)
    while batch := [dumps(one, indent=None) for one in islice(rest, _BATCH)]:
        yield batch


def speller(
    document: Callable[[Item], Document], heads: tuple[str, ...]
) -> Callable[[Iterable[Item]], list[str]]:
    """Return what makes JSON text of tuples, whose first fields are texts with the keys `heads`.

    What follows those is encoded once for all that have it alike.
    """
    count = len(heads)
    starts = [f'{", " if number else "{"}"{head}": ' for number, head in enumerate(heads)]
    ends: dict[tuple[object, ...], str] = {}

    def spell(item: Item) -> str:
        start = "".join([key + encode_basestring(text) for key, text in zip(starts, item)])  # noqa: B905 - the rest is the end
        if not start.isascii():
            return dumps(document(item), indent=None)
        end = ends.get(item[count:])
        if end is None:
            if len(ends) >= _BATCH:
                ends.clear()
            rest = {key: value for key, value in document(item).items() if key not in heads}
            end = ends[item[count:]] = ", " + dumps(rest, indent=None)[1:]
        return start + end

    return lambda items: [spell(item) for item in items]


def write_text(text: str) -> None:
    """Write text to standard output as UTF-8, whatever the locale."""
    sys.stdout.buffer.write(text.encode("utf-8"))

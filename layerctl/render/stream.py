"""Documents and lines written as they are found, so that memory use stays constant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from layerctl.render.json import Document, dumps

Item = TypeVar("Item")

#: How many lines to gather before writing them.
_BATCH = 1000
#: And how many characters, where several lines are one text already.
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
    """Write `{name: [...]}`, its objects already JSON text; `rest` gives what stands after them."""
    head = f'{{"{name}": ['
    before = head + "\n"
    for batch in batches:
        if batch:
            write_text(before + ",\n".join(batch))
            before = ",\n"
    end = head if before != ",\n" else "\n"
    after = dumps(rest(), indent=None)[1:-1]
    write_text(end + "]" + (", " + after if after else "") + "}\n")


def batches(objects: Iterable[Document]) -> Iterator[list[str]]:
    """Turn objects into batches of JSON text."""
    return shared_batches(objects, lambda one: dumps(one, indent=None))


def write_text(text: str) -> None:
    """Write text to standard output as UTF-8, whatever the locale."""
    sys.stdout.buffer.write(text.encode("utf-8"))


def shared_batches(
    items: Iterable[Item | list[str]], spell: Callable[[Item], str]
) -> Iterator[list[str]]:
    """Turn the finds of a shared walk into batches of JSON text; its marks, lists, go through."""
    batch: list[str] = []
    for item in items:
        if isinstance(item, list):
            yield batch
            yield item
            batch = []
            continue
        batch.append(spell(item))
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    yield batch

"""Explain a cause, an error or an errno: what `explain` tells."""

from __future__ import annotations

import errno

from layerctl.diagnosing import catalogue
from layerctl.diagnosing.catalogue.cause import Cause, Explained
from layerctl.diagnosing.reading.meanings import by_errno
from layerctl.errors import ERRORS, NotFoundError
from layerctl.model import Severity
from layerctl.rules.options import nearest
from layerctl.rules.words import shell


def titles() -> dict[str, str]:
    """Return the title of each cause and each error by its id, sorted by id."""
    found = {one.id: one.title for table in (catalogue.CAUSES, ERRORS) for one in table.values()}
    return dict(sorted(found.items()))


def explained(name: str) -> Explained:
    """Return what is known of a cause or an error. Raises NotFoundError for an unknown id."""
    if name in catalogue.CAUSES:
        return Explained(catalogue.CAUSES[name])
    if name in ERRORS:
        row = ERRORS[name]
        cause = Cause(row.id, Severity.FAILURE, row.title, row.why, row.fix, row.commands)
        return Explained(cause, row.exit_code)
    close = nearest(name, list(titles()))
    raise NotFoundError(
        "unknown-cause",
        f"unknown cause, error or errno '{name}'",
        commands=(shell("layerctl", "explain", *close[:1]),),
    )


def errno_of(text: str) -> int:
    """Return the number of an errno given by name or number, 0 if it is none."""
    numbers = {name: number for number, name in errno.errorcode.items()}
    if text.isdecimal():
        return int(text) if int(text) in errno.errorcode else 0
    return numbers.get(text.upper(), 0)


def causes_of(number: int) -> dict[str, list[Explained]]:
    """Return the causes that an errno can have, by what was being done; empty if none is known."""
    found = by_errno(errno.errorcode[number])
    return {what: [explained(one) for one in ids] for what, ids in found.items()}

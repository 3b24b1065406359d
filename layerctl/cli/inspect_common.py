"""What the inspect commands share: opening layers, writing what is found, telling what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from layerctl.codecs.escape import printable
from layerctl.errors import EXIT_FOUND, EXIT_OK
from layerctl.inspecting.opening import Opened, opened
from layerctl.model import Stack
from layerctl.render.errors import note
from layerctl.usecases.stacks import Target

GLOB_HELP = "Show only matching names (paths, if PATTERN contains a slash)."

#: How many places that cannot be read are named on standard error.
_NAMED = 20


@contextmanager
def opened_stack(
    target: Target,
    check: Callable[[Stack], None] = lambda _: None,
    *,
    thorough: bool = False,
) -> Iterator[Opened]:
    """Open the layers of a stack, once checked."""
    for text in target.notes:
        note(text)
    check(target.stack)
    with opened(target.stack, target.mount, thorough=thorough) as view:
        for text in view.notes:
            note(text)
        yield view


def end(view: Opened) -> int:
    """Report on standard error what could not be read; return the exit code for that."""
    reasons = view.resolver.reasons
    for one in reasons.kept[:_NAMED]:
        note(f"layer {one.layer}: {printable(one.path) or '.'} cannot be read: {one.reason}")
    more = len(reasons.kept[_NAMED:]) + reasons.more
    if more:
        note(f"{more} more could not be read")
    return EXIT_FOUND if reasons.kept or view.notes else EXIT_OK

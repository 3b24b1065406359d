"""Work on layers that are not mounted: open them, and yield the steps of the plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerctl.model import Stack
from layerctl.working import trim
from layerctl.working.opening import taken
from layerctl.working.steps import Step


@contextmanager
def trimming(stack: Stack, *, ignore_times: bool) -> Iterator[Iterator[Step]]:
    """Yield the steps that trim the upper layer of a stack. Raises LayerctlError."""
    trim.demand(stack)
    with taken(stack, {0}) as view:
        yield trim.steps(view, ignore_times=ignore_times)


def do(steps: Iterator[Step]) -> Iterator[Step]:
    """Do each step, then yield it."""
    for step in steps:
        step.run()
        yield step

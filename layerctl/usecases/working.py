"""Work on layers that are not mounted: check them, and yield the steps of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from layerctl.inspecting.opening import Opened, opened
from layerctl.model import MountEntry, Stack
from layerctl.working import commit, trim
from layerctl.working.check import run
from layerctl.working.check.fault import Fault, Mending
from layerctl.working.opening import taken
from layerctl.working.steps import Step


@contextmanager
def trimming(stack: Stack, *, ignore_times: bool) -> Iterator[Iterator[Step]]:
    """Yield the steps that trim the upper layer of a stack. Raises LayerctlError."""
    trim.demand(stack)
    with taken(stack, {0}) as view:
        yield trim.steps(view, ignore_times=ignore_times)


@contextmanager
def committing(stack: Stack) -> Iterator[Iterator[Step]]:
    """Yield the steps that merge the upper layer into the next one. Raises LayerctlError."""
    commit.demand(stack)
    with taken(stack, {0, 1}) as view:
        yield commit.steps(view)


def do(steps: Iterator[Step]) -> Iterator[Step]:
    """Do each step, then yield it."""
    for step in steps:
        step.run()
        yield step


@contextmanager
def checking(stack: Stack, mount: MountEntry | None) -> Iterator[tuple[Opened, Iterator[Fault]]]:
    """Yield the opened stack and the faults of its layers. Raises LayerctlError."""
    if mount is None:
        with taken(stack, (), ambiguous=True) as view:
            yield view, run.faults(view)
    else:
        with opened(stack, mount, thorough=True) as view:
            yield view, run.faults(view)


def wanted(repair: str) -> Callable[[Fault], bool]:
    """Return which faults are to be mended: `safe`, `ask` for those as well, or one cause."""
    if repair in (Mending.SAFE, Mending.ASK):
        classes = (Mending.SAFE,) if repair == Mending.SAFE else (Mending.SAFE, Mending.ASK)
        return lambda fault: fault.mending in classes
    return lambda fault: fault.cause == repair


@contextmanager
def repairing(stack: Stack, repair: str, *, quarantine: bool) -> Iterator[Iterator[Step]]:
    """Yield the steps that mend faults; only the layers that have some are demanded unused."""
    with checking(stack, None) as (_, faults):
        layers = {max(fault.layer, 0) for fault in faults if wanted(repair)(fault)}
    with taken(stack, layers, ambiguous=True) as view:
        yield run.repair(view, wanted(repair), quarantine=quarantine)

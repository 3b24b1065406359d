"""Work on layers that are not mounted: check them, and yield the steps of a plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from layerctl.errors import RefusedError, RequestError
from layerctl.inspecting.opening import Opened, opened
from layerctl.kernel import layers
from layerctl.kernel.paths import absolute
from layerctl.model import MountEntry, Role, Stack
from layerctl.working import commit, flattening, live_restore, restore, trim, uppers
from layerctl.working.aufs import branch, squash
from layerctl.working.aufs import commit as aufs_commit
from layerctl.working.aufs import restore as aufs_restore
from layerctl.working.aufs import trim as aufs_trim
from layerctl.working.check import run
from layerctl.working.check.fault import Fault, Mending
from layerctl.working.opening import open_layer, taken
from layerctl.working.sites import Wish
from layerctl.working.steps import Folder, Step

Steps = Iterator[Step]


@contextmanager
def trimming(stack: Stack, *, ignore_times: bool) -> Iterator[Steps]:
    """Yield the steps that trim the upper layer of a stack. Raises LayerctlError."""
    on_aufs = stack.fstype == "aufs"
    branch.demand(stack) if on_aufs else trim.demand(stack)
    with taken(stack, {0}) as view:
        steps = aufs_trim.steps if on_aufs else trim.steps
        yield steps(view, ignore_times=ignore_times)


@contextmanager
def committing(stack: Stack, run: range) -> Iterator[Steps]:
    """Yield the steps that merge each layer of a run into the next one. Raises LayerctlError."""
    on_aufs = stack.fstype == "aufs"
    if on_aufs:
        branch.demand_topmost(stack, run)
    else:
        _demand_layers(stack, run, range(run.start, run.stop + 1))
    with taken(stack, range(run.start, run.stop + 1)) as view:
        yield aufs_commit.steps(view) if on_aufs else _merging(view, run)


def _merging(view: Opened, run: range) -> Steps:
    for top in run[1:]:  # what layers hold already is refused before any is merged
        commit.demand(view, top)
    for top in run:
        if top > run.start and layers.scan(view.resolver.roots[top - 1], layers.LETTER_OF):
            raise RefusedError(
                "steps-unknown",
                f"the steps for layer {top} are not known before layer {top - 1} is merged into it",
                why="what it holds then is merged further down",
                hint=f"run it without -n and --print, or begin with --layer {run.start}",
            )
        yield from commit.steps(view, top)


def _demand_layers(stack: Stack, run: range, needed: range) -> None:
    """Raise RequestError unless a stack has the layers to work on, of which `run` was asked for."""
    regular = [layer for layer in stack.layers if layer.role is not Role.DATA]
    if stack.fstype != "overlay" or not run or needed.stop > len(regular):
        raise RequestError(
            "no-such-layer",
            f"the stack has no layers {run.start}..{needed.stop - 1} to merge",
            why="layers are counted from the topmost, 0; data-only layers cannot be merged",
            hint="name the upper layer with -u and the lower ones with -l",
        )


@contextmanager
def restoring(
    stack: Stack, wish: Wish, mount: MountEntry | None = None
) -> Iterator[tuple[Sequence[str], Steps]]:
    """Yield the paths that no layer has, and the steps that restore the others.

    A live mount is changed through itself. Raises LayerctlError.
    """
    if stack.fstype == "aufs":
        aufs_restore.demand(stack, wish)
        with taken(stack, {0}) as view, ExitStack() as closing:
            branches = aufs_restore.Restoring(view, wish, closing)
            yield branches.missing, branches.steps()
        return
    restore.demand(stack, wish)
    with ExitStack() as closing:
        if mount is None:
            view = closing.enter_context(taken(stack, {0}))
            plan = restore.at_rest(view, wish, closing)
        else:
            view = closing.enter_context(opened(stack, mount, thorough=True))
            plan = live_restore.through_mount(view, wish, mount, closing)
        yield plan.missing, plan.steps()


@contextmanager
def flattening_into(stack: Stack, run: range, into: str) -> Iterator[Steps]:
    """Yield the steps that make a new layer at `into` out of a run of layers.

    Raises LayerctlError.
    """
    on_aufs = stack.fstype == "aufs"
    if on_aufs:
        branch.demand_run(stack, run)
    else:
        _demand_layers(stack, run, run)
    with ExitStack() as closing:
        folder, name = new_place(into, closing)
        upper = {0} if run.start == 0 and stack.upper is not None else ()
        view = closing.enter_context(taken(stack, upper))
        room = squash if on_aufs else flattening
        yield room.steps(view, run, folder, name)


def new_place(into: str, closing: ExitStack) -> tuple[Folder, str]:
    """Return where a new layer is made: the open directory above it, and its name in there.

    Raises LayerctlError, RefusedError if something has the name.
    """
    path = absolute(into)
    above, name = os.path.split(path)
    fd = open_layer(above, closing)
    if layers.status(name, fd) is not None:
        raise RefusedError(
            "target-exists",
            f"{into} exists already",
            why="a new layer is created as a directory of its own, so the name must be free",
            hint="name a directory that does not exist",
        )
    return Folder(fd, above.rstrip("/"), ""), name


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


def uppers_based_on(stack: Stack, changed: Collection[int]) -> list[str]:
    """Return a warning for each unmounted upper layer that is based on a layer to be changed."""
    if stack.fstype != "overlay":
        return []
    return [
        f"{upper} is based on {lower}: it was copied up from it, and shows what is changed there"
        for upper, lower in uppers.based_on(stack, changed)
    ]


def wanted(repair: str) -> Callable[[Fault], bool]:
    """Return which faults are to be mended: `safe`, `ask` for those as well, or one cause."""
    if repair in (Mending.SAFE, Mending.ASK):
        classes = (Mending.SAFE,) if repair == Mending.SAFE else (Mending.SAFE, Mending.ASK)
        return lambda fault: fault.mending in classes
    return lambda fault: fault.cause == repair


#: How often a repair looks again: what it mends may let another marker hide nothing any more.
_ROUNDS = 3


@contextmanager
def repairing(
    stack: Stack,
    repair: str,
    *,
    quarantine: bool,
    healed: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[Steps]:
    """Yield the steps that mend faults; only the layers that have some are demanded unused.

    With `healed`, also those that the kernel mends itself at the next lookup. `warn` gets the
    warnings before the first change. The steps raise LayerctlError.
    """
    with closing(_rounds(stack, repair, quarantine=quarantine, healed=healed, warn=warn)) as steps:
        yield steps


def _rounds(
    stack: Stack, repair: str, *, quarantine: bool, healed: bool, warn: Callable[[str], None]
) -> Generator[Step, None, None]:
    is_wanted, before, first = wanted(repair), set[tuple[str, int, str]](), True
    for _ in range(_ROUNDS):
        with taken(stack, (), ambiguous=True) as view:
            found = [one for one in run.faults(view, healed=healed) if is_wanted(one) and one.mend]
        same = {(fault.cause, fault.layer, fault.path) for fault in found}
        if same == before:
            return
        before = same
        changed = {max(fault.layer, 0) for fault in found}
        if first:
            list(map(warn, uppers_based_on(stack, changed - ({0} if stack.upper else set()))))
        first = False
        with taken(stack, changed, ambiguous=True) as view:
            found = [one for one in run.faults(view, healed=healed) if is_wanted(one) and one.mend]
            yield from run.repair(view, found, quarantine=quarantine)

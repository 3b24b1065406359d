"""Stop work on layers at each change, or make the change fail; then let it run again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from layerctl.errors import LayerctlError
from layerctl.kernel import changing
from tests.support.stacks import Case
from tests.support.trees import Shown, differences, look, shown

#: Does all the work on the stack of a case. Raises LayerctlError if it refuses.
Work = Callable[[Case], None]
#: Looks at a case before the work; what it returns tells what is wrong then: between two steps
#: (True), or when all is done.
Judge = Callable[[Case], Callable[[bool], Iterable[str]]]

#: Stopped before a change (which is after the one before it), or the change fails.
HOWS = ("before", "ENOSPC", "EIO")


class StoppedWorkError(BaseException):
    """The work was stopped, as by a signal."""


class Trial(NamedTuple):
    """Work to be stopped: `build` makes the same stack each time, in the directory `where`."""

    where: str
    build: Callable[[], Case]
    work: Work
    judge: Judge


@contextmanager
def every_change(hook: Callable[[int, bool], None]) -> Iterator[list[str]]:
    """Call `hook` with a number before (False) and after (True) each change of a layer."""
    calls: list[str] = []
    plain = changing.attempt

    def attempt(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        number = len(calls)
        calls.append(f"{call.__name__} {arguments}")
        hook(number, False)
        answer = plain(call, *arguments, **named)
        hook(number, True)
        return answer

    changing.attempt = attempt
    try:
        yield calls
    finally:
        changing.attempt = plain


def refused(work: Work, case: Case) -> str:
    """Do the work; return the id of the error if it refuses."""
    try:
        work(case)
    except LayerctlError as error:
        return error.id
    return ""


def same_view(case: Case) -> Callable[[bool], Iterable[str]]:
    """Judge work that leaves the merged tree as it is."""
    before = shown(case)
    return lambda between: differences(before, shown(case), between=between)


class Undisturbed(NamedTuple):
    """How work ends that nothing stops: its changes, and the layers then."""

    calls: list[str]
    layers: list[dict[str, tuple[object, ...]]]


def undisturbed(trial: Trial) -> Undisturbed:
    """Do the work once without a disturbance."""
    case = trial.build()
    with every_change(lambda *_: None) as calls:
        refused(trial.work, case)
    left = _layers(case)
    shutil.rmtree(trial.where)
    return Undisturbed(calls, left)


def at_every_change(trial: Trial, every: int = 1) -> tuple[int, list[str]]:
    """Stop the work before each change, and make each fail; or only at each of so many points.

    Returns how many points there are, and what is wrong at one of them.
    """
    usual = undisturbed(trial)
    points = [(number, how) for number in range(len(usual.calls)) for how in HOWS][::every]
    for number, how in points:
        found = disturbed(trial, number, how, usual)
        if found:
            return len(points), found[:6]
    return len(points), []


def disturbed(trial: Trial, number: int, how: str, usual: Undisturbed) -> list[str]:
    """Disturb the work at one change; return what is wrong then, and after a second run."""

    def stop(at: int, done: bool) -> None:
        if at == number and done == (how == "after"):
            if how in ("before", "after"):
                raise StoppedWorkError
            code = errno.ENOSPC if how == "ENOSPC" else errno.EIO
            raise OSError(code, os.strerror(code))

    def disturb(case: Case) -> str:
        with every_change(stop) as calls, suppress(StoppedWorkError, OSError):
            refused(trial.work, case)
        return f"{how} at {number} ({calls[-1] if calls else ''})"

    return after(trial, disturb, usual)


def after(trial: Trial, disturb: Callable[[Case], str], usual: Undisturbed) -> list[str]:
    """Return what is wrong after a disturbance, which tells its name, and after a second run."""
    case = trial.build()
    wrong = trial.judge(case)
    at = disturb(case)
    found = [f"{at}: {line}" for line in wrong(True)]
    answer = refused(trial.work, case)
    found += [f"{at}, run again ({answer}): {line}" for line in wrong(False)]
    if not found:
        found = [
            f"{at}, run again ({answer}): layer {layer}, {path}: {one.get(path)} became "
            f"{other.get(path)}"
            for layer, (one, other) in enumerate(zip(usual.layers, _layers(case), strict=True))
            for path in one.keys() | other.keys()
            if one.get(path) != other.get(path)
        ]
    shutil.rmtree(trial.where)
    return found


def _layers(case: Case) -> list[dict[str, tuple[object, ...]]]:
    """Return the layers without what differs between two builds: times, and what a mount writes.

    The last one is the work directory, without what the kernel has there.
    """
    work = case.stack.work or ""
    names = set(os.listdir(work)) - {"work", "index"} if os.path.isdir(work) else set()
    return [*(_plain(look(layer.path)) for layer in case.stack.layers), dict.fromkeys(names, ())]


def _plain(tree: dict[str, Shown]) -> dict[str, tuple[object, ...]]:
    passing = ("overlay.origin", "overlay.impure", "overlay.uuid")
    return {
        path: (
            one.mode, one.owner, one.size, one.names,
            [pair for pair in one.attributes if not pair[0].endswith(passing)],
        )
        for path, one in tree.items()
    }  # fmt: skip

"""Work on random stacks, with the kernel as the judge: before, after, and at every step between."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from layerctl.errors import LayerctlError
from layerctl.inspecting.opening import opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.kernel import changing
from tests.support import first_seed
from tests.support.operations import build_by_operations
from tests.support.stacks import NAMES, Case, build_by_hand, stamp
from tests.support.trees import Shown, differences, look, shown

#: Does all the work on the stack of a case. Raises LayerctlError if it refuses.
Work = Callable[[Case], None]


class Checking(Protocol):
    """A check of one random stack: what it finds wrong with the work."""

    def __call__(self, seed: int, where: str, work: Work, *, user: bool) -> list[str]:
        """Build the stack of a seed at `where`, and work on it."""


_Layers = list[dict[str, tuple[object, ...]]]


class StoppedWorkError(BaseException):
    """The work was stopped, as by a signal."""


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


def build(seed: int, where: str, *, user: bool, moves: bool = True) -> Case:
    """Build a random stack with an upper layer, manually or through mounts."""
    rng = random.Random(seed)
    while True:
        if rng.random() < 0.5:
            case = build_by_operations(rng, where, user=user)
        else:
            case = build_by_hand(rng, where, user=user, moves=moves and rng.random() < 0.4)
        if case.stack.upper is not None and len(case.stack.layers) > 1:
            enrich(rng, case)
            if _is_sound(case):
                return case
        shutil.rmtree(where)


def _is_sound(case: Case) -> bool:
    """Tell whether the kernel shows the same each time, and refuses no lookup."""
    one = shown(case)
    if any(entry.error not in (0, errno.ENOENT) for entry in one.values()):
        return False
    with opened(case.stack) as view:
        aliases = view.resolver.aliases if isinstance(view.resolver, Overlay) else {}
        if any(alias.of_two for names in aliases.values() for alias in names.values()):
            return False
    return not any(differences(one, shown(case)))


def enrich(rng: random.Random, case: Case) -> None:
    """Copy things of lower layers up, unchanged or nearly, and give some of them attributes."""
    upper = case.stack.layers[0].path
    for layer in case.stack.layers[1:]:
        for above, directories, files in os.walk(layer.path):
            inside = os.path.relpath(above, layer.path)
            target = os.path.normpath(f"{upper}/{inside}")
            if not os.path.isdir(target) or os.path.islink(target):
                continue
            for name in (*directories, *files):
                if rng.random() < 0.4 and not os.path.lexists(f"{target}/{name}"):
                    _copy(rng, f"{above}/{name}", f"{target}/{name}")
    for _ in range(2):
        _link(rng, upper)


def _copy(rng: random.Random, source: str, target: str) -> None:
    os.spawnlp(os.P_WAIT, "cp", "cp", "-a", "--", source, target)
    if rng.random() < 0.25:
        change = rng.choice(["mode", "time", "attribute", "none"])
        if change == "time":
            stamp(target)
        elif not os.path.islink(target):
            if change == "mode":
                os.chmod(target, 0o4711)
            elif change == "attribute" and (os.path.isdir(target) or os.path.isfile(target)):
                os.setxattr(target, "user.more", b"x")


def _link(rng: random.Random, upper: str) -> None:
    files = [
        f"{above}/{name}"
        for above, _, names in os.walk(upper)
        for name in names
        if os.path.isfile(f"{above}/{name}") and not os.path.islink(f"{above}/{name}")
    ]
    if files:
        source = rng.choice(sorted(files))
        target = f"{os.path.dirname(rng.choice(sorted(files)))}/{rng.choice(NAMES)}l"
        if not os.path.lexists(target):
            os.link(source, target)


def of_many(check: Checking, work: Work, lab: Path, *, user: bool) -> list[str]:
    """Run a check on many random stacks; return what the first that fails has to say."""
    cases = int(os.environ.get("LAYERCTL_CASES", "60"))
    start = first_seed()
    for seed in range(start, start + cases):
        found = check(seed, f"{lab}/case", work, user=user)
        if found:
            return found
    return []


def refused(work: Work, case: Case) -> str:
    """Do the work; return the id of the error if it refuses."""
    try:
        work(case)
    except LayerctlError as error:
        return error.id
    return ""


def check_view(seed: int, where: str, work: Work, *, user: bool, each: bool = True) -> list[str]:
    """Return how the merged tree differs after the work, and with `each` after every change."""
    case = build(seed, where, user=user)
    before = shown(case)
    found: list[str] = []

    def look_again(number: int, done: bool) -> None:
        if done and each and not found:
            found.extend(
                f"after change {number}: {line}"
                for line in differences(before, shown(case), between=True)
            )

    with every_change(look_again) as calls:
        answer = refused(work, case)
    found += [f"in the end: {line}" for line in differences(before, shown(case))]
    if answer and calls:
        found.append(f"refused ({answer}) after {len(calls)} changes")
    shutil.rmtree(where)
    return [f"seed {seed}, {case.data}: {line}" for line in found[:6]]


def check_killed(seed: int, where: str, work: Work, *, user: bool) -> list[str]:
    """Stop the work before or after each change, or make it fail: the view stays the same.

    A second run ends as an undisturbed one does.
    """
    case = build(seed, where, user=user)
    with every_change(lambda *_: None) as calls:
        refused(work, case)
    whole = _layers(case)
    shutil.rmtree(where)
    rng = random.Random(seed)
    found: list[str] = []
    for number in sorted(rng.sample(range(len(calls)), min(6, len(calls)))):
        how = rng.choice(["before", "after", "ENOSPC", "EIO"])
        found += _killed(seed, where, work, number, how, whole, user=user)
        if found:
            break
    return [f"seed {seed}: {line}" for line in found[:6]]


def _killed(
    seed: int, where: str, work: Work, number: int, how: str, whole: _Layers, *, user: bool
) -> list[str]:
    case = build(seed, where, user=user)
    before = shown(case)

    def stop(at: int, done: bool) -> None:
        if at == number and done == (how == "after"):
            if how in ("before", "after"):
                raise StoppedWorkError
            code = errno.ENOSPC if how == "ENOSPC" else errno.EIO
            raise OSError(code, os.strerror(code))

    with every_change(stop) as calls, suppress(StoppedWorkError, OSError):
        refused(work, case)
    at = f"{how} at {number} ({calls[-1] if calls else ''})"
    found = [f"{at}: {x}" for x in differences(before, shown(case), between=True)]
    refused(work, case)
    found += [f"{at}, run again: {x}" for x in differences(before, shown(case))]
    if not found:
        layers = zip(whole, _layers(case), strict=True)
        found += [
            f"{at}, run again: layer {number}, {path}: {one.get(path)} became {other.get(path)}"
            for number, (one, other) in enumerate(layers)
            for path in one.keys() | other.keys()
            if one.get(path) != other.get(path)
        ]
    shutil.rmtree(where)
    return found


def _layers(case: Case) -> _Layers:
    """Return the layers without what differs between two builds: times, and what a mount writes."""
    return [_plain(look(layer.path)) for layer in case.stack.layers]


def _plain(tree: dict[str, Shown]) -> dict[str, tuple[object, ...]]:
    passing = ("overlay.origin", "overlay.impure", "overlay.uuid")
    return {
        path: (
            one.mode, one.owner, one.size, one.names,
            [pair for pair in one.attributes if not pair[0].endswith(passing)],
        )
        for path, one in tree.items()
    }  # fmt: skip

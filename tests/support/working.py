"""Work on random stacks, with the kernel as the judge: before, after, and at every step between."""

from __future__ import annotations

import errno
import os
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Protocol

from layerctl.inspecting.opening import opened
from layerctl.inspecting.resolvers.overlay import Overlay
from tests.support import first_seed
from tests.support.killing import (
    HOWS,
    Trial,
    Work,
    disturbed,
    every_change,
    refused,
    same_view,
    undisturbed,
)
from tests.support.operations import build_by_operations
from tests.support.stacks import NAMES, Case, build_by_hand, stamp
from tests.support.trees import differences, shown


class Checking(Protocol):
    """A check of one random stack: what it finds wrong with the work."""

    def __call__(self, seed: int, where: str, work: Work, *, user: bool) -> list[str]:
        """Build the stack of a seed at `where`, and work on it."""


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
    if any(isinstance(entry.content, int) for entry in one.values()):  # a listing that fails
        return False
    with opened(case.stack) as view:
        aliases = view.resolver.aliases if isinstance(view.resolver, Overlay) else {}
        if any(alias.of_two for names in aliases.values() for alias in names.values()):
            return False
    return not any(differences(one, shown(case)))


def enrich(rng: random.Random, case: Case, *, links: int = 2) -> None:
    """Copy things of lower layers up, unchanged or nearly, and give some of them attributes.

    As many files of the upper layer as `links` says get another name.
    """
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
    for _ in range(links):
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
    trial = Trial(where, partial(build, seed, where, user=user), work, same_view)
    return sampled(trial, seed)


def sampled(trial: Trial, seed: int) -> list[str]:
    """Disturb the work at a few random changes; return what is wrong then, if any."""
    usual = undisturbed(trial)
    rng = random.Random(seed)
    for number in sorted(rng.sample(range(len(usual.calls)), min(6, len(usual.calls)))):
        found = disturbed(trial, number, rng.choice(["after", *HOWS]), usual)
        if found:
            return [f"seed {seed}: {line}" for line in found[:6]]
    return []

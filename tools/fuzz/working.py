"""Work on random stacks until the time is up: `make fuzz` runs this too.

The kernel must show the same merged tree before, after and at every step between; where the work is
stopped, and where a call fails, as well. What is restored is as before or as asked, and nothing
else changes. Prints the seed of what differs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from layerctl.usecases import working
from tests.support import in_namespace
from tests.support.killing import Trial, Work, at_every_change, refused, same_view
from tests.support.restoring import (
    as_asked,
    check_live,
    check_restore_killed,
    check_restored,
    random_wish,
    restore,
    restore_live,
)
from tests.support.stacks import Case
from tests.support.working import build, check_killed, check_view

Check = Callable[..., list[str]]


def _steps(what: str, case: Case) -> AbstractContextManager[working.Steps]:
    if what == "trim":
        return working.trimming(case.stack, ignore_times=False)
    if what == "commit":
        return working.committing(case.stack, range(1))
    return working.repairing(case.stack, "safe", quarantine=False)


def work(what: str, case: Case) -> None:
    """Do all of one kind of work on a stack."""
    with _steps(what, case) as steps:
        for _ in working.do(steps):
            pass


def everywhere(seed: int, where: str, work: Work, *, user: bool) -> list[str]:
    """Stop the work at every change, and make each fail."""
    trial = Trial(where, partial(build, seed, where, user=user), work, same_view)
    return [f"seed {seed}: {line}" for line in at_every_change(trial)[1]]


def _restored(check: Check, seed: int, where: str, *, user: bool) -> list[str]:
    return check(seed, where, user=user)[1:]  # the first line tells how it ended


def _restored_everywhere(seed: int, where: str, *, user: bool, live: bool) -> list[str]:
    """Restore random paths, stopped at every change, at rest or through a mount."""
    make = partial(build, seed, where, user=user)
    wish = random_wish(seed, make())
    shutil.rmtree(where)
    work = partial(restore_live if live else restore, wish)
    trial = Trial(where, make, work, as_asked(wish, live=live))
    answer = refused(work, make())
    shutil.rmtree(where)
    found = [] if answer else at_every_change(trial)[1]
    return [f"seed {seed}, {wish}: {line}" for line in found]


_CHECKS = {"view": check_view, "killed": check_killed, "everywhere": everywhere}
#: By name: checks the stack of a seed in a directory.
CHECKS: dict[str, Check] = {
    "restore, view": partial(_restored, check_restored),
    "restore, killed": partial(_restored, check_restore_killed),
    "restore, through a mount": partial(_restored, check_live),
    "restore, everywhere": partial(_restored_everywhere, live=False),
    "restore through a mount, everywhere": partial(_restored_everywhere, live=True),
    **{
        f"{what}, {name}": partial(check, work=partial(work, what))
        for what in ("trim", "commit", "repair")
        for name, check in _CHECKS.items()
    },
}


def run(lab: Path, check: str, seed: int, until: float, *, user: bool) -> list[str]:
    """Check stacks from a seed on, until a time (time.monotonic).

    Returns a line that says how many, and what was wrong with the last.
    """
    found: list[str] = []
    count = 0
    while time.monotonic() < until and not found:
        found = CHECKS[check](seed + count, f"{lab}/case", user=user)
        count += 1
    return [f"{check}, user {user}: {count} stacks", *found]


def main() -> int:
    """Run every kind of work and check in turn, as root (trusted.) and in a user namespace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 40))
    arguments = parser.parse_args()
    users = [False, True] if os.geteuid() == 0 else [True]
    turns = [(check, user) for check in CHECKS for user in users]
    failed = False
    for check, user in turns:
        until = time.monotonic() + arguments.seconds / len(turns)
        body = partial(run, check=check, seed=arguments.seed, until=until, user=user)
        lines = in_namespace(body, user=user)
        failed = failed or len(lines) > 1
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

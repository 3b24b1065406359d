"""Work on random stacks until the time is up: `make fuzz` runs this too.

The kernel must show the same merged tree before, after and at every step between; where the work is
stopped, and where a call fails, as well. Prints the seed of what differs.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from layerctl.usecases import working
from tests.support import in_namespace
from tests.support.stacks import Case
from tests.support.working import check_killed, check_view

CHECKS = {"view": check_view, "killed": check_killed}
WORKS = ("trim", "commit", "repair")


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


def run(lab: Path, what: str, check: str, seed: int, until: float, *, user: bool) -> list[str]:
    """Check stacks from a seed on, until a time (time.monotonic).

    Returns a line that says how many, and what was wrong with the last.
    """
    found: list[str] = []
    count = 0
    while time.monotonic() < until and not found:
        found = CHECKS[check](seed + count, f"{lab}/case", partial(work, what), user=user)
        count += 1
    return [f"{what}, {check}, user {user}: {count} stacks", *found]


def main() -> int:
    """Run every kind of work and check in turn, as root (trusted.) and in a user namespace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 40))
    arguments = parser.parse_args()
    users = [False, True] if os.geteuid() == 0 else [True]
    turns = [(what, check, user) for what in WORKS for check in CHECKS for user in users]
    failed = False
    for what, check, user in turns:
        until = time.monotonic() + arguments.seconds / len(turns)
        body = partial(run, what=what, check=check, seed=arguments.seed, until=until, user=user)
        lines = in_namespace(body, user=user)
        failed = failed or len(lines) > 1
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Compare random stacks with the kernel until the time is up: `make fuzz SECONDS=60`.

Prints the seed of every case in which the resolver and the kernel differ; `--seed N` starts there.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from layerctl.kernel import syscalls
from tests.support import in_namespace
from tests.support.aufs_stacks import build_aufs
from tests.support.compare import compare
from tests.support.duplicates import build_duplicates
from tests.support.operations import build_by_operations
from tests.support.stacks import Case, build_by_hand

Build = Callable[[random.Random, str, bool], Case]


def _by_hand(rng: random.Random, where: str, user: bool) -> Case:
    return build_by_hand(rng, where, user=user)


def _two_filesystems(rng: random.Random, where: str, user: bool) -> Case:
    return build_by_hand(rng, where, user=user, elsewhere=f"{where}.other")


def _by_operations(rng: random.Random, where: str, user: bool) -> Case:
    return build_by_operations(rng, where, user=user)


def _aufs(rng: random.Random, where: str, _user: bool) -> Case:
    return build_aufs(rng, where)


def _duplicates(rng: random.Random, where: str, user: bool) -> Case:
    return build_duplicates(rng, where, user=user)


def _duplicates_elsewhere(rng: random.Random, where: str, user: bool) -> Case:
    return build_duplicates(rng, where, user=user, elsewhere=f"{where}.other")


BUILDERS: dict[str, Build] = {
    "hand": _by_hand,
    "filesystems": _two_filesystems,
    "operations": _by_operations,
    "duplicates": _duplicates,
    "duplicates-filesystems": _duplicates_elsewhere,
}
#: Only for kernels that have aufs.
AUFS: dict[str, Build] = {"aufs": _aufs}


def differing(
    lab: Path, kind: str, *, user: bool, seed: int, cases: int | None, until: float | None
) -> tuple[int, list[str]]:
    """Run cases with the seeds from `seed` on; return their number and the differences.

    Ends after `cases`, at the time `until` (time.monotonic), or with the fifth that differs.
    """
    where = f"{lab}/case"
    found: list[str] = []
    bad = number = 0
    two = kind.endswith("filesystems")
    if two:
        os.mkdir(f"{where}.other")
        syscalls.mount("other", f"{where}.other", "tmpfs", 0, "")
    for number in _numbers(cases, until):
        case = (BUILDERS | AUFS)[kind](random.Random(seed + number), where, user)
        differences = compare(case, live=kind != "aufs")
        if differences:
            found.append(f"{kind}, user {user}, seed {seed + number}: {case.data}")
            found += ["    " + line for line in differences[:8]]
            bad += 1
        shutil.rmtree(where)
        if two:
            shutil.rmtree(f"{where}.other/c")
        if bad == 5:
            break
    return number + 1, found


def _numbers(cases: int | None, until: float | None) -> Iterator[int]:
    number = 0
    while (cases is None or number < cases) and (until is None or time.monotonic() < until):
        yield number
        number += 1


def main() -> int:
    """Run every kind of stack in turn, as root (trusted.) and in a user namespace (user.)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kind", choices=tuple(BUILDERS), action="append")
    arguments = parser.parse_args()
    seed = random.randrange(1 << 40) if arguments.seed is None else arguments.seed
    users = [False, True] if os.geteuid() == 0 else [True]
    turns = [(kind, user) for kind in arguments.kind or BUILDERS for user in users]
    if not users[0] and not arguments.kind and "\taufs\n" in Path("/proc/filesystems").read_text():
        turns.append(("aufs", False))
    end = time.monotonic() + arguments.seconds
    total, failed = 0, False
    while time.monotonic() < end and not failed:
        for kind, user in turns:
            until = min(end, time.monotonic() + 5)

            body = partial(differing, kind=kind, user=user, seed=seed, cases=None, until=until)
            count, found = in_namespace(body, user=user)
            total += count
            failed = failed or bool(found)
            sys.stdout.write("".join(line + "\n" for line in found))
        seed += 1_000_000
    sys.stdout.write(f"{total} stacks, {'some differ' if failed else 'none differs'}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

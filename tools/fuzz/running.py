"""Run random scripts on random trees in two runs; applied, all is as if they had run directly."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.support import in_namespace, layerctl
from tests.support.running import digest

_NAMES = "abcd"
#: What a line does to two random paths.
_LINES = (
    "[ -p {a} ] || echo {n} >>{a}", "mkdir -p {a}", "rm -f {a}", "rm -rf {a}", "mv -T {a} {b}",
    "ln -f {a} {b}", "ln -sfn {b} {a}", "chmod {n}755 {a}", "chown -h {n}:1 {a}",
    "setfattr -h -n user.x -v {n} {a}", "mkfifo {a}", "cp -a {a} {b}", "truncate -s {n}00 {a}",
    "rm -rf {a}; mkdir {a}; echo n >{a}/n", "touch -h -d @{n} {a}",
)  # fmt: skip


def _script(rng: random.Random, lines: int) -> str:
    def path() -> str:
        return "/".join(rng.choice(_NAMES) for _ in range(rng.randint(1, 3)))

    chosen = [
        rng.choice(_LINES).format(a=path(), b=path(), n=rng.randint(0, 7)) for _ in range(lines)
    ]
    return "".join(f"{{ {line}; }} 2>/dev/null\n" for line in chosen) + "true"


def _case(seed: int) -> str:
    """Return what is wrong with the case of a seed, empty if nothing is."""
    rng = random.Random(seed)
    subprocess.run("rm -rf a b k; mkdir a", shell=True, check=True)
    tree = _script(rng, 30) + "; find . -exec touch -h -d @1000000000 {} +"
    subprocess.run(["bash", "-c", tree], cwd="a", check=True)
    subprocess.run("cp -a a b", shell=True, check=True)
    for script in (_script(rng, 10), _script(rng, 10)):
        subprocess.run(["bash", "-c", script], cwd="b", check=True)
        done = layerctl("run", "--keep", "k", "-C", "a", "bash", "-c", script)
        if done.returncode:
            return done.stderr
    done = layerctl("apply", "k")
    one, other = digest(Path("a")), digest(Path("b"))
    differ = [path for path in {*one, *other} if one.get(path) != other.get(path)]
    return done.stderr if done.returncode else " ".join(sorted(differ))


def _fuzz(lab: Path) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    os.chdir(lab)
    seed, end, count = random.SystemRandom().randrange(1 << 30), time.monotonic() + asked.seconds, 0
    while time.monotonic() < end:
        wrong = _case(seed + count)
        if wrong:
            print(f"seed {seed + count}: {wrong}")
            return 1
        count += 1
    print(f"{count} runs were applied as if their scripts had run directly")
    return 0


if __name__ == "__main__":
    sys.exit(in_namespace(_fuzz))

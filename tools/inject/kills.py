"""Stop work on layers at each of its changes: `make inject` runs this.

Every trial of `tests.support.chosen` is stopped before each changing call, and each call fails,
without room and with an I/O error. Then the commands themselves are killed by strace(1) when they
enter each system call that changes a file. The kernel must show what it showed before, of what is
restored what is asked at most, and a second run must end as one that nothing disturbed.
"""

from __future__ import annotations

import argparse
import collections
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from layerctl.diagnosing.commands import layer_words
from tests.support import in_namespace
from tests.support.chosen import TRIALS
from tests.support.killing import after, at_every_change, undisturbed
from tests.support.stacks import Case

#: The commands that do the work of a trial.
COMMANDS = {
    "trim": ("trim",),
    "commit": ("commit",),
    "repair": ("check", "--repair", "--no-quarantine"),
    "restore trees": ("restore", "-r"),
    "restore a layer's tree": ("restore", "-r", "--layer", "2"),
}
PATHS = {"restore trees": ("e", "n", "d", "o"), "restore a layer's tree": ("d",)}
#: The system calls that change a file, of those that Python makes.
CALLS = ("unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat",
         "mknod", "mknodat", "symlink", "symlinkat", "link", "linkat", "setxattr", "lsetxattr",
         "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "chmod", "fchmod", "fchmodat",
         "chown", "fchown", "lchown", "fchownat", "utimensat", "ftruncate", "copy_file_range",
         "pwrite64", "sendfile", "syncfs")  # fmt: skip


def _run(name: str, case: Case, *strace: str) -> subprocess.CompletedProcess[str]:
    words = [*COMMANDS[name], *layer_words(case.stack), *PATHS.get(name, ())]
    command = [sys.executable, "-m", "layerctl", *words]
    return subprocess.run(
        ["strace", "-f", "-qq", *strace, *command], capture_output=True, text=True, check=False
    )


def _kill(case: Case, name: str, call: str, number: int) -> str:
    """Kill a command as it enters a certain call of a system call."""
    done = _run(name, case, "-o", "/dev/null", "-e", f"trace={call}",
                "-e", f"inject={call}:signal=KILL:when={number}")  # fmt: skip
    return f"killed at {call} {number} (exit {done.returncode})"


def killed(lab: Path, name: str) -> tuple[int, list[str]]:
    """Kill the command of a trial at each of its changes."""
    trial = TRIALS[name](lab)
    usual = undisturbed(trial)
    trace = lab / "trace"

    def watch(case: Case) -> str:
        done = _run(name, case, "-o", str(trace), "-e", "trace=" + ",".join(CALLS))
        return f"undisturbed (exit {done.returncode})"

    found = after(trial, watch, usual)
    counts = collections.Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    points = [(call, n + 1) for call, count in counts.items() for n in range(count)]
    for call, number in points:
        found = found or after(trial, partial(_kill, name=name, call=call, number=number), usual)
    return len(points), found


def stopped(lab: Path, name: str) -> tuple[int, list[str]]:
    """Stop the work of a trial at each of its changes, and make each fail."""
    return at_every_change(TRIALS[name](lab))


def main() -> int:
    """Try all points of the trials; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(TRIALS))
    names = parser.parse_args().trials or list(TRIALS)
    failed = False
    turns = [(stopped, name) for name in names]
    turns += [(killed, name) for name in names if name in COMMANDS]
    for check, name in turns:
        count, found = in_namespace(partial(check, name=name))
        failed = failed or bool(found)
        print(f"{name}, {check.__name__}: {count} points", *found, sep="\n  ", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Judge what unionmount-testsuite leaves behind: `make unionmount`.

Each time that the suite unmounts its overlay, `check` must find nothing in the layers; and after
commit, deref and trim of a copy of them the kernel must show the same merged tree. This needs root
and a checkout of unionmount-testsuite.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from layerctl.errors import LayerctlError
from layerctl.kernel import mounts, syscalls
from layerctl.model import Role
from layerctl.usecases import working
from tests.support.stacks import Case, make_case
from tests.support.trees import differences, shown

ROOT = Path(__file__).resolve().parents[2]
#: What the suite is run with: which layers, and which features.
RUNS = (
    ("--ov", "--samefs"),
    ("--ov=3", "--samefs"),
    ("--ov=3", "--samefs", "--meta"),
    ("--ov=3", "--samefs", "--verify"),
    ("--ov", "--samefs", "--xdev"),
)
_UMOUNT = "/usr/bin/umount"
#: The options of a mount that decide what its layers mean.
_OPTIONS = ("redirect_dir", "metacopy", "index", "nfs_export", "xino", "uuid")


def trim(case: Case) -> Case:
    """Trim the upper layer."""
    with working.trimming(case.stack, ignore_times=False) as steps:
        list(working.do(steps))
    return case


def commit(case: Case) -> Case:
    """Merge the upper layer into the next one."""
    with working.committing(case.stack, range(1)) as steps:
        list(working.do(steps))
    return case


def deref(case: Case) -> Case:
    """Return the stack with a copy of the upper layer without redirects."""
    where = os.path.dirname(case.target)
    with working.flattening_into(case.stack, range(1), f"{where}/new") as steps:
        list(working.do(steps))
    lowers = [layer.path for layer in case.stack.layers[1:]]
    shutil.rmtree(f"{where}/w")
    os.mkdir(f"{where}/w")
    return make_case(where, lowers, upper=f"{where}/new")


WORKS: tuple[Callable[[Case], Case], ...] = (trim, commit, deref)


def after(target: str) -> list[str]:
    """Unmount; return what is wrong with the layers, or with the work on copies of them."""
    stack = mounts.find_layered(target).stack
    subprocess.run([_UMOUNT, target], check=True)
    with working.checking(stack, None) as (_, faults):
        wrong = [f"{one.cause} {one.layer} {one.path}: {one.evidence}" for one in faults]
    if any(layer.role is Role.DATA for layer in stack.layers) or stack.upper is None:
        return wrong
    words = [f"{name}={stack.options[name]}" for name in _OPTIONS if name in stack.options]
    for work in WORKS:
        with tempfile.TemporaryDirectory(prefix="layerctl-copy-", dir="/dev/shm") as where:
            for number, layer in enumerate(stack.layers):
                subprocess.run(["cp", "-a", layer.path, f"{where}/{number}"], check=True)
            for name in ("w", "m"):
                os.mkdir(f"{where}/{name}")
            lowers = [f"{where}/{number}" for number in range(1, len(stack.layers))]
            copy = make_case(where, lowers, upper=f"{where}/0", options=",".join(words))
            wrong += [f"{work.__name__}: {line}" for line in _kept(copy, work)]
    return wrong


def _kept(case: Case, work: Callable[[Case], Case]) -> list[str]:
    for name in ("trusted.overlay.origin", "trusted.overlay.uuid"):  # those of the original
        if name in os.listxattr(case.stack.layers[0].path):
            os.removexattr(case.stack.layers[0].path, name)
    before = shown(case)
    try:
        other = work(case)
    except LayerctlError as error:
        return [] if error.id in _PASSING else [f"refused: {error.id}"]
    return list(differences(before, shown(other)))


#: Why copies may be refused: they have the origins of what they were copied from, and a mount of
#: another program on this machine may have a name that could lead anywhere.
_PASSING = frozenset({"layers-ambiguous", "layer-in-use"})


def shim(directory: Path, found: Path) -> None:
    """Put a program named umount into a directory, which judges overlays first."""
    program = directory / "umount"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"from tools.oracles.unionmount import unmount\nunmount({str(found)!r}, sys.argv[1:])\n"
    )
    program.chmod(0o755)


def unmount(found: str, arguments: list[str]) -> None:
    """Stand for umount(8): judge the layers of an overlay once it is unmounted."""
    table = {entry.target: entry.fstype for entry in mounts.entries()}
    if len(arguments) != 1 or table.get(arguments[0]) != "overlay":
        os.execv(_UMOUNT, [_UMOUNT, *arguments])
    with open(found, "a") as file:
        file.write("".join(f"{line}\n" for line in ("STATE", *after(arguments[0]))))


def main() -> int:
    """Run the suite with each of RUNS, or with the arguments given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of unionmount-testsuite")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what to run it with")
    arguments = parser.parse_args()
    if not (arguments.checkout / "run").exists():
        parser.error(f"{arguments.checkout} is not a checkout of unionmount-testsuite")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
    failed = False
    for run in (tuple(arguments.arguments),) if arguments.arguments else RUNS:
        with tempfile.TemporaryDirectory(prefix="layerctl-unionmount-") as lab:
            failed = _run(arguments.checkout, Path(lab), run) or failed
    return int(failed)


def _run(checkout: Path, lab: Path, words: tuple[str, ...]) -> bool:
    lab.chmod(0o711)  # some tests are run as another user
    for name in ("bin", "base"):
        (lab / name).mkdir()
    syscalls.mount("base", f"{lab}/base", "tmpfs", 0, "")
    shim(lab / "bin", lab / "found")
    environment = os.environ | {
        "PATH": f"{lab}/bin:{os.environ['PATH']}",
        "UNIONMOUNT_BASEDIR": f"{lab}/base",
    }
    command = ["./run", words[0], *(w for w in words[1:] if w != "--samefs")]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    subprocess.run([_UMOUNT, "-R", f"{lab}/base"], check=True)
    lines = (lab / "found").read_text().splitlines() if (lab / "found").exists() else []
    states = lines.count("STATE")
    wrong = [line for line in lines if line != "STATE"]
    sys.stdout.write(f"{' '.join(words)}: {states} states, {len(wrong)} wrong\n")
    sys.stdout.write("".join(f"  {line}\n" for line in wrong[:40]))
    if done.returncode:
        sys.stdout.write("".join(f"  {x}\n" for x in (done.stdout + done.stderr).splitlines()[-6:]))
    return bool(wrong or done.returncode or not states)


if __name__ == "__main__":
    sys.exit(main())

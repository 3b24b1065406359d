"""Carry out a plan, step by step; whatever fails halfway is undone.

Signals wait until the mount stands or is gone again: an interrupt undoes it like a failure.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from layerctl.codecs import overlay
from layerctl.errors import RefusedError
from layerctl.kernel import beneath, mounts, syscalls
from layerctl.kernel.beneath import Identity
from layerctl.kernel.kmsg import KernelLog
from layerctl.kernel.mounts import Mounted
from layerctl.model import Stack
from layerctl.mounting import build, directories, readback
from layerctl.mounting.plan import Plan, fill, named, paths_of
from layerctl.mounting.run import Run, close, inside, judging, uncut
from layerctl.rules import flags
from layerctl.rules.words import count

_WAITING_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class MountFailedError(Exception):
    """The kernel refused a call: which one, the errno, and its words.

    `judged` tells that it was the call in which the kernel judges the mount as a whole.
    """

    def __init__(self, run: Run, error: OSError, kernel_log: Sequence[str]) -> None:
        super().__init__(f"{run.stage}: {error.strerror}")
        self.stage = run.stage
        self.judged = run.judged
        self.errno = error.errno or 0
        self.strerror = error.strerror or ""
        self.context_log = tuple(run.context_log)
        self.kernel_log = tuple(kernel_log)


class Step(NamedTuple):
    """One step: `description` for people, and what it does; it pushes its own undoing."""

    description: str
    run: Callable[[Run], None]


_NOTHING_CHECKED: Mapping[str, Identity] = {}


def steps(plan: Plan, target: str, make: Sequence[str] = ()) -> list[Step]:
    """Return the steps of a plan, in order. `make` are the directories to make first."""
    out = [_make_directory(path, plan.stack) for path in make]
    number = len({*paths_of(plan.stack), *plan.opened, target})
    out.append(Step(f"open {count(number, 'directory')}", _open_all))
    if plan.apart:
        calls = "mount(2), open_tree" if plan.api == "mount" else "fsopen, fsconfig, fsmount"
        out.append(Step(f"{calls}: build the mount in a namespace of its own", build.apart))
        out.append(Step(f"move_mount: attach it to {target}", _attach))
    elif plan.api == "mount":
        out.append(Step(f"mount(2) {plan.stack.fstype} on {target}", _mount_by_string))
        out.extend(
            Step(f"remount with {count(batch.count('append='), 'more branch')}", _append(batch))
            for batch in plan.appends
        )
    else:
        out.append(Step("fsopen, fsconfig, fsmount: create the mount", build.plain))
        out.append(Step(f"move_mount: attach it to {target}", _attach))
    return out


def carry_out(
    plan: Plan,
    target: str,
    source: str,
    make: Sequence[str] = (),
    *,
    report: Callable[[Plan, Mounted, tuple[str, ...]], None] = lambda plan, mounted, notes: None,
    checked: Mapping[str, Identity] = _NOTHING_CHECKED,
    otherwise: Callable[[], Plan] | None = None,
) -> tuple[Mounted, tuple[str, ...]]:
    """Mount, read back and compare; `report` the plan that worked, the mount, and what to say.

    `checked` are the directories that the checks were about, by their paths. `otherwise` makes
    the plan by mount(2), for where the new calls turn out to be missing. Raises
    MountFailedError where the kernel refuses, RefusedError where it mounted something else than
    was asked for, KeyboardInterrupt after a signal, and what `report` raises. Each leaves nothing
    behind. Signals come through while `report` runs.
    """
    log = KernelLog()
    run = Run(plan, target, source, checked)
    with signals_wait() as mask, run.always as always, run.undo as undo:
        always.callback(log.close)
        always.callback(_close_mount, run)
        try:
            _take(run, make, otherwise)
        except OSError as error:
            words = log.lines("overlay", "aufs")
            raise MountFailedError(run, error, words) from error
        mounted, notes = _read_back(run)
        with signals_come(mask):
            report(run.plan, mounted, notes)
        undo.pop_all()
        return mounted, notes


def _take(run: Run, make: Sequence[str], otherwise: Callable[[], Plan] | None) -> None:
    """Take the steps; where a new call is missing or forbidden, mount(2) is tried in their place.

    A filter of system calls may let fsopen(2) through and none of the calls that follow it.
    """
    try:
        _take_all(run, steps(run.plan, run.target, make))
    except OSError as error:
        other = None if otherwise is None else _by_mount2(run, error, otherwise)
        if other is None:
            raise
        run.plan = other
        _close_mount(run)  # nobody sees this one, but it uses the upper layer
        _take_all(run, steps(other, run.target))


def _take_all(run: Run, each: Sequence[Step]) -> None:
    for step in each:
        run.stage = step.description
        step.run(run)


def _by_mount2(run: Run, error: OSError, otherwise: Callable[[], Plan]) -> Plan | None:
    """Return the plan by mount(2) where a new call did not answer for itself, None where it did."""
    if run.stage != build.STAGE:
        if run.plan.api == "mount" or error.errno not in (errno.ENOSYS, errno.EPERM):
            return None
        if error.errno == errno.EPERM and run.context_log:
            return None
    try:
        other = otherwise()
    except RefusedError:
        return None
    why = f"the new mount API does not work here ({run.stage}: {error.strerror}); {other.why}"
    return other._replace(why=why)


@contextlib.contextmanager
def signals_wait() -> Iterator[set[int]]:
    """Let signals wait until what was begun stands or is undone; yields which waited before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITING_SIGNALS)
    try:
        yield {int(number) for number in before}
    finally:
        with contextlib.suppress(OSError):  # what is done is done
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def signals_come(mask: set[int]) -> Iterator[None]:
    """Let through what waits, and what comes; `mask` is what `signals_wait` yields."""
    waiting = signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            signal.pthread_sigmask(signal.SIG_SETMASK, waiting)


def _close_mount(run: Run) -> None:
    if run.mount_fd >= 0:
        close(run.mount_fd)
        run.mount_fd = -1


def _make_directory(path: str, stack: Stack) -> Step:
    def make(run: Run) -> None:
        run.checked[path] = directories.make(path, stack, run.undo, run.always)

    return Step(f"create the directory {path}", make)


def _open_all(run: Run) -> None:
    """Open every directory of the plan, and see that each is the one that was checked."""
    import resource

    paths = [*paths_of(run.plan.stack), *run.plan.opened, run.target]
    needed = len(paths) + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed <= hard or (soft < needed and hard == resource.RLIM_INFINITY):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    for path in paths:
        run.enter(path)


def _attach(run: Run) -> None:
    run.stage = "move_mount"
    syscalls.move_mount(run.mount_fd, run.enter(run.target), run.target)
    run.undo.callback(_detach, run)


def _detach(run: Run) -> None:
    syscalls.umount2(beneath.name_of(run.mount_fd), syscalls.MNT_DETACH)


def _mount_by_string(run: Run) -> None:
    run.stage = "mount"
    stack = run.plan.stack
    target = run.enter(run.target)
    above = os.open(os.pardir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
    run.always.callback(close, above)
    below = mounts.mount_id_of(target)
    name = _name_of(target)
    with inside(run.plan.cwd):
        data = uncut(fill(run.plan.string, run.descriptors))
        bits = flags.mount2_flags(stack.flags)
        with judging(run):
            syscalls.mount(run.source, beneath.name_of(target), stack.fstype, bits, data)
    # From here on a mount stands. Nobody can rename what it lies on, so the name leads to it.
    with contextlib.suppress(OSError):
        name = _name_of(target)
    try:
        run.mount_fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        identity = mounts.mount_id_of(run.mount_fd)
        if (identity, below) not in {(one.mount_id, one.parent_id) for one in mounts.entries()}:
            raise FileNotFoundError(errno.ENOENT, "the new mount cannot be found", run.target)
    except OSError:
        place = f"{beneath.name_of(above)}/{name}"
        syscalls.umount2(place, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        raise
    run.undo.callback(_detach, run)
    under = f"{run.target.rstrip('/')}/"
    run.look_again(path for path in named(run.plan) if not f"{path}/".startswith(under))


def _name_of(fd: int) -> str:
    """Return the name of an open directory in the one above it. Raises OSError."""
    return os.path.basename(os.readlink(beneath.name_of(fd))) or "."


def _append(batch: str) -> Callable[[Run], None]:
    def append(run: Run) -> None:
        run.stage = "remount"
        data = uncut(fill(batch, run.descriptors))
        bits = flags.mount2_flags(run.plan.stack.flags) | syscalls.MS_REMOUNT
        name = beneath.name_of(run.mount_fd)
        with judging(run):
            syscalls.mount(run.source, name, run.plan.stack.fstype, bits, data)

    return append


def _read_back(run: Run) -> tuple[Mounted, tuple[str, ...]]:
    identity = mounts.mount_id_of(run.mount_fd)
    entry = next((one for one in mounts.entries() if one.mount_id == identity), None)
    if entry is None:
        raise RefusedError(
            "mount-not-found",
            f"the mount on {run.target} cannot be found in {mounts.SELF_MOUNTINFO}",
            why="the kernel accepted it but does not show it, so it cannot be verified",
            hint="run the command where /proc is mounted and belongs to the process",
        )
    mounted = mounts.describe(entry)
    found = _compare(run, mounted.stack)
    if found.differences and entry.fstype == "overlay":
        # Given by descriptor, an upper directory is shown as it is, without backslashes.
        literal = overlay.from_super_options(entry.super_options, literal=True)
        other = _compare(run, literal._replace(flags=mounted.stack.flags))
        if not other.differences:
            mounted, found = (
                mounted._replace(stack=literal._replace(flags=mounted.stack.flags)),
                other,
            )
    if found.differences:
        raise RefusedError(
            "not-as-asked",
            "the mount differs from the request; it was unmounted again",
            why="; ".join(found.differences),
            hint="layerctl mount --dry-run shows what is passed to the kernel",
        )
    return mounted, found.notes


def _compare(run: Run, shown: Stack) -> readback.Comparison:
    def same(asked: str, seen: str) -> bool:
        if asked == seen:
            return True
        try:
            status = os.stat(os.path.join(run.plan.cwd or "/", seen))
            return (status.st_dev, status.st_ino) == beneath.identity(run.open[asked])
        except OSError:
            return False

    return readback.compare(run.plan.stack, shown, same)

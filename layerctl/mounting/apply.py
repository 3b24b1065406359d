"""Carry out a plan, step by step; whatever fails halfway is undone.

Signals wait until the mount stands or is gone again: an interrupt undoes it like a failure.
"""

from __future__ import annotations

import contextlib
import errno
import os.path
from collections.abc import Callable, Mapping, Sequence

from layerctl.codecs import overlay
from layerctl.errors import RefusedError
from layerctl.kernel import beneath, mounts, standing, syscalls
from layerctl.kernel.beneath import Identity
from layerctl.kernel.kmsg import KernelLog
from layerctl.kernel.mounts import Mounted
from layerctl.kernel.process import close, inside, raise_open_files, signals_come, signals_wait
from layerctl.model import Stack
from layerctl.mounting import build, readback
from layerctl.mounting.plan import Plan, fill, named, paths_of
from layerctl.mounting.prepare import Swap
from layerctl.mounting.run import Run, create, judging, uncut
from layerctl.rules import flags
from layerctl.rules.words import count


class MountFailedError(Exception):
    """The kernel refused a call: which one, the errno, and its words.

    `judged` means that it was the call in which the kernel judges the mount as a whole.
    """

    def __init__(self, run: Run, error: OSError, kernel_log: Sequence[str]) -> None:
        super().__init__(f"{run.stage}: {error.strerror}")
        self.stage = run.stage
        self.judged = run.judged
        self.errno = error.errno or 0
        self.strerror = error.strerror or ""
        self.context_log = tuple(run.context_log)
        self.kernel_log = tuple(kernel_log)


#: A description, and the function that does it and registers how to undo it.
MountStep = tuple[str, Callable[[Run], None]]

_NOTHING_CHECKED: Mapping[str, Identity] = {}


def steps(
    plan: Plan, target: str, make: Sequence[str] = (), swap: Swap | None = None
) -> list[MountStep]:
    """Return the steps of a plan, in order. `make` are the directories to make first.

    With `swap`, it replaces another mount, which is unmounted later.
    """
    out = [_make_directory(path, plan.stack) for path in make]
    attach: MountStep = (f"move_mount: attach it to {target}", _attach)
    if swap is not None:
        first = "read-only" if swap.is_written else "free"
        out.insert(0, (f"see that the old mount on {target} is {first}", _first(swap)))
        attach = (f"move_mount: attach it beneath the old mount on {target}", _beneath(swap))
    number = len({*paths_of(plan.stack), *plan.opened, target})
    out.append((f"open {count(number, 'directory')}", _open_all))
    if plan.stack.is_mapped:
        layers = count(sum(one.map is not None for one in plan.stack.layers), "layer")
        out.append((f"mount_setattr: map the owners of {layers}", _map_owners))
    if plan.apart:
        calls = "mount(2), open_tree" if plan.api == "mount" else "fsopen, fsconfig, fsmount"
        out += [(f"{calls}: build the mount in a namespace of its own", build.apart), attach]
    elif plan.api == "mount":
        out.append((f"mount(2) {plan.stack.fstype} on {target}", _mount_by_string))
        out.extend(
            (f"remount with {count(batch.count('append='), 'more branch')}", _append(batch))
            for batch in plan.appends
        )
    else:
        out += [("fsopen, fsconfig, fsmount: create the mount", build.plain), attach]
    return out


def carry_out(
    plan: Plan,
    target: str,
    source: str,
    make: Sequence[str] = (),
    *,
    report: Callable[[Plan, Mounted, tuple[str, ...]], object] = lambda *_: None,
    checked: Mapping[str, Identity] = _NOTHING_CHECKED,
    otherwise: Callable[[], Plan] | None = None,
    swap: Swap | None = None,
) -> tuple[Mounted, tuple[str, ...]]:
    """Mount, read back and compare; `report` the plan that worked, the mount, and notes.

    `checked` are the directories that were checked, by their paths. `otherwise` returns the plan
    by mount(2), in case the new calls turn out to be missing. `swap` is the mount to replace; once
    it is unmounted, nothing is undone any more. Raises MountFailedError if the
    kernel refuses, RefusedError if the mount differs from the request, KeyboardInterrupt after a
    signal, and what `report` raises. Each leaves nothing behind. Signals are delivered while
    `report` runs.
    """
    log = KernelLog()
    run = Run(plan, target, source, checked)
    with signals_wait() as mask, run.always as always, run.undo as undo:
        always.callback(log.close)
        always.callback(_close_mount, run)
        try:
            _take(run, make, otherwise, swap)
        except OSError as error:
            words = log.lines("overlay", "aufs")
            raise MountFailedError(run, error, words) from error
        mounted, notes = _read_back(run)
        if swap is not None:
            undo.pop_all()
            notes += _finish(swap, run)
        with signals_come(mask):
            report(run.plan, mounted, notes)
        undo.pop_all()
        return mounted, notes


def _take(
    run: Run, make: Sequence[str], otherwise: Callable[[], Plan] | None, swap: Swap | None
) -> None:
    """Take the steps; if a new call is missing or forbidden, use mount(2) instead.

    A seccomp filter may permit fsopen(2) and none of the calls that follow it.
    """
    try:
        _take_all(run, steps(run.plan, run.target, make, swap))
    except OSError as error:
        other = None if otherwise is None else _by_mount2(run, error, otherwise)
        if other is None:
            raise
        run.plan = other
        _close_mount(run)  # it is attached nowhere, but it uses the upper layer
        _take_all(run, steps(other, run.target))


def _take_all(run: Run, each: Sequence[MountStep]) -> None:
    for words, take in each:
        run.stage = words
        take(run)


def _by_mount2(run: Run, error: OSError, otherwise: Callable[[], Plan]) -> Plan | None:
    """Return the plan by mount(2) if a new call is not available; None for any other failure."""
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


def _close_mount(run: Run) -> None:
    if run.mount_fd >= 0:
        close(run.mount_fd)
        run.mount_fd = -1


def _make_directory(path: str, stack: Stack) -> MountStep:
    def make(run: Run) -> None:
        run.checked[path] = create(path, stack, run.undo, run.always)

    return f"create the directory {path}", make


def _open_all(run: Run) -> None:
    """Open every directory of the plan, and check that each is the one that was checked before."""
    paths = [*paths_of(run.plan.stack), *run.plan.opened, run.target]
    raise_open_files(len(paths) + 64)
    for path in paths:
        run.enter(path)


def _first(swap: Swap) -> Callable[[Run], None]:
    from layerctl.mounting import swap as swapping  # few mounts replace others

    return lambda run: swapping.first(swap, run)


def _beneath(swap: Swap) -> Callable[[Run], None]:
    from layerctl.mounting import swap as swapping  # as above

    def attach(run: Run) -> None:
        run.stage = "move_mount"
        run.is_beneath = swapping.attach(swap, run)

    return attach


def _finish(swap: Swap, run: Run) -> tuple[str, ...]:
    from layerctl.mounting import swap as swapping  # as above

    return swapping.finish(swap, run)


def _map_owners(run: Run) -> None:
    from layerctl.mounting import owners  # few mounts map owners

    owners.prepare(run)


def _attach(run: Run) -> None:
    run.stage = "move_mount"
    syscalls.move_mount(run.mount_fd, run.enter(run.target), run.target)
    run.undo.callback(standing.detach, run.mount_fd)


def _mount_by_string(run: Run) -> None:
    run.stage = "mount"
    stack = run.plan.stack
    target = run.enter(run.target)
    with contextlib.closing(standing.Spot(target)) as spot:
        with inside(run.plan.cwd):
            data = uncut(fill(run.plan.string, run.descriptors))
            bits = flags.mount2_flags(stack.flags)
            with judging(run):
                syscalls.mount(run.source, beneath.name_of(target), stack.fstype, bits, data)
        run.mount_fd = spot.open_new()  # from here on, it is mounted
    run.undo.callback(standing.detach, run.mount_fd)
    under = f"{run.target.rstrip('/')}/"
    run.look_again(path for path in named(run.plan) if not f"{path}/".startswith(under))


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
    differences = found.differences
    if run.mapped:
        from layerctl.mounting import owners  # as above

        differences += owners.differences(run, run.mount_fd)
    if differences:
        raise RefusedError(
            "not-as-asked",
            "the mount differs from the request; it was unmounted again",
            why="; ".join(differences),
            hint="compare it with the option string of a dry run (mount -n)",
        )
    return mounted, found.notes


def _compare(run: Run, shown: Stack) -> readback.Comparison:
    def same(asked: str, seen: str) -> bool:
        path = os.path.join(run.plan.cwd or "/", seen)
        return asked == seen or beneath.leads_to(path, run.open[asked])

    return readback.compare(run.plan.stack, shown, same)

"""Create a mount that is attached nowhere yet: by the new calls, or in a private namespace."""

from __future__ import annotations

import contextlib

from layerctl.kernel import syscalls
from layerctl.kernel.process import close, inside
from layerctl.mounting.plan import fill, named, paths_of
from layerctl.mounting.run import Run, judging, uncut
from layerctl.rules import flags

#: A failure in this stage says nothing about the mount itself.
STAGE = "a namespace of its own"


def plain(run: Run) -> None:
    """Create the mount by the new calls; it is attached nowhere yet."""
    stack = run.plan.stack
    run.stage = "fsopen"
    context = syscalls.fsopen(stack.fstype)
    try:
        with inside(run.plan.cwd):
            _configure(run, context)
        run.stage = "fsmount"
        run.mount_fd = syscalls.fsmount(context, attributes=flags.attributes(stack.flags))
        run.look_again(named(run.plan))
    except OSError:
        with contextlib.suppress(OSError):
            run.context_log = syscalls.context_log(context)
        raise
    finally:
        close(context)


def apart(run: Run) -> None:
    """Build the mount where no name can be swapped; it lies nowhere yet."""
    from layerctl.kernel import private_names  # which a kernel that takes descriptors never needs

    run.stage = STAGE
    names = {path: run.open[path] for path in paths_of(run.plan.stack)}
    run.mount_fd, failed = private_names.build(names, lambda own: _try(run, own), run.mapped)
    if failed is not None:
        error, run.stage, run.judged, run.context_log = failed
        raise error


def _try(run: Run, own: str) -> tuple[int, tuple[OSError, str, bool, list[str]] | None]:
    """Return the mount; or -1, and what the child knows of its failure."""
    try:
        if run.mapped:
            from layerctl.mounting import owners  # few mounts map owners

            owners.act(run)
        if run.plan.api == "mount":
            _aside(run, own)
        else:
            plain(run)
    except OSError as error:
        return -1, (error, run.stage, run.judged, run.context_log)
    return run.mount_fd, None


def _aside(run: Run, own: str) -> None:
    """Mount by mount(2) in the child's own directory, or on the target, and take it from there."""
    stack, place = run.plan.stack, own or run.target
    run.stage = "mount"
    data = uncut(fill(run.plan.string, run.descriptors))
    with judging(run), inside(run.plan.cwd):
        syscalls.mount(run.source, place, stack.fstype, flags.mount2_flags(stack.flags), data)
    run.stage = "open_tree"
    run.mount_fd = syscalls.open_tree(place)


def _configure(run: Run, context: int) -> None:
    run.stage = "fsconfig source"
    syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "source", run.source)
    for parameter in run.plan.parameters:
        run.stage = f"fsconfig {parameter.key}"
        if parameter.value is not None:
            value = fill(parameter.value, run.descriptors)
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, parameter.key, value)
        elif parameter.path is not None:
            fd = run.enter(parameter.path)
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FD, parameter.key, None, fd)
        else:
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, parameter.key, None)
    for word in flags.superblock_words(run.plan.stack.flags):
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, word, None)
    run.stage = "fsconfig create"
    with judging(run):
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE, None, None)

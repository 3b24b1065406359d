"""Choose the mount API: how to pass a stack to this kernel. Pure.

The names that the kernel gets are what mountinfo shows later, so absolute paths come first:

1. the new calls, a descriptor for each layer: what was checked is mounted, and mountinfo shows its
   path;
2. the new calls, a string for each layer (at most 255 bytes, fsconfig(2));
3. one mount(2) string (at most a page less its NUL: the kernel cuts the rest off in silence);
4. the same two with names relative to the layers' common parent;
5. the same two with names of descriptors (/proc/self/fd/N), which mean nothing afterwards.

Where another user can swap a directory meanwhile, the names are given in a namespace of their own
(kernel/private_names.py), where each leads to the directory that is open. Where there is none, what
is written to is not given by name at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from layerctl.codecs import overlay
from layerctl.codecs.escape import backslash_escape
from layerctl.errors import RefusedError
from layerctl.kernel.beneath import FD_DIRECTORY
from layerctl.kernel.context import Features
from layerctl.model import Layer, Role, Stack
from layerctl.mounting.plan import (
    Parameter,
    Plan,
    fill,
    named,
    paths_of,
    placeholder,
    relative,
    renamed,
    size,
)
from layerctl.rules.limits import MAX_STRING, MAX_VALUE

#: As long as the numbers of descriptors get with 501 directories open.
_HIGHEST_FD = 999

Attempt = Callable[[Stack], Plan | None]


def choose(
    stack: Stack,
    features: Features,
    api: str | None = None,
    swappable: Collection[str] = (),
    *,
    apart: bool = False,
) -> Plan:
    """Return the plan for a stack of absolute paths; `api` forces a mount API.

    `swappable` are those that another user can put another directory in the place of, and `apart`
    tells that a namespace of its own can be had for them. Raises RefusedError where the stack
    cannot be passed to this kernel, or not without danger.
    """
    if stack.fstype == "aufs":
        return _aufs(stack, api)
    if stack.of_role(Role.DATA) and not features.context and not features.unknown:
        raise _no_data_layers()
    attempts = _attempts(features, api, swappable)
    if not attempts:
        raise _no_such_api(api)
    swapped: str | None = None
    for attempt in attempts:
        plan = attempt(stack)
        if plan is None:
            continue
        if apart or stack.is_mapped:
            plan = _apart(plan, swappable)
        written = [path for path in named(plan) if path in swappable and _is_written(path, stack)]
        if written:
            swapped = written[0]
            continue
        if swapped is not None and plan.opened:
            plan = plan._replace(why=_AGAINST_SWAPS.format(path=swapped))
        return plan if api is None else plan._replace(why=f"requested; {plan.why}")
    raise _too_long() if swapped is None else _swappable(swapped)


_AGAINST_SWAPS = (
    f"another user could replace {{path}}, so directories are named by descriptors in "
    f"{FD_DIRECTORY}, and mountinfo will not show their paths"
)


def _aufs(stack: Stack, api: str | None) -> Plan:
    from layerctl.mounting.plan_aufs import plan_aufs  # rare, and a script pays for every import

    if api not in (None, "mount"):
        raise RefusedError(
            "mount-api-call-limit",
            f"aufs can be mounted only by mount(2), not by '{api}'",
            hint="remove --api",
        )
    return plan_aufs(stack)


def _apart(plan: Plan, swappable: Collection[str]) -> Plan:
    """Return a plan that gives no name away, where it gives one that another user can swap.

    Layers whose owners are mapped are mounted in a namespace of their own.
    """
    if plan.stack.is_mapped:
        return plan._replace(apart=True)
    risky = next((path for path in named(plan) if path in swappable), None)
    if risky is None or plan.cwd is not None or plan.opened:
        return plan
    why = f"another user could replace {risky}: the mount is built where nobody else has its names"
    return plan._replace(apart=True, why=f"{plan.why}; {why}")


def _is_written(path: str, stack: Stack) -> bool:
    return path in (stack.upper, stack.work)


def _no_data_layers() -> RefusedError:
    return RefusedError(
        "data-layers-unsupported-old-kernel",
        "this kernel does not support data-only layers",
        why="they need Linux 6.5 or later",
        hint="make the data layer the lowest lower layer (-l DIR); its names then become visible",
    )


def _no_such_api(api: str | None) -> RefusedError:
    return RefusedError(
        "mount-api-call-limit",
        f"this kernel cannot mount overlay by '{api}'",
        why="it does not accept "
        + ("layers as descriptors (since 6.13)" if api == "fd" else "lowerdir+ (since 6.7)"),
        hint="remove --api",
    )


def _swappable(path: str) -> RefusedError:
    return RefusedError(
        "swappable-directory",
        f"another user could replace {path} during the mount",
        why="this mount API names directories by path, so the kernel could write to whatever "
        "is there by then",
        hint="remove --api",
    )


def _too_long() -> RefusedError:
    return RefusedError(
        "option-string-too-long",
        "the options are too long for this kernel, however the layers are named",
        why=f"mount(2) reads {MAX_STRING} bytes and would silently truncate the rest",
        hint="use fewer layers, or fewer and shorter options",
    )


def _attempts(features: Features, api: str | None, swappable: Collection[str]) -> list[Attempt]:
    """Return what this kernel takes, the best first."""
    available = {"fd": features.by_descriptor, "fsconfig": features.append, "mount": True}
    attempts: tuple[tuple[str, Attempt], ...] = (
        ("fd", lambda stack: _by_descriptors(stack, swappable)),
        ("fsconfig", _by_strings),
        ("mount", _by_one_string),
        ("fsconfig", _by_relative_strings),
        ("mount", _by_one_relative_string),
        ("fsconfig", _by_fd_strings),
        ("mount", _by_one_fd_string),
    )
    return [attempt for name, attempt in attempts if available[name] and api in (None, name)]


_KEYS = {Role.LOWER: "lowerdir+", Role.DATA: "datadir+", Role.UPPER: "upperdir"}


def _of_layer(layer: Layer) -> Parameter:
    # upperdir and workdir lose their backslashes in the kernel, lowerdir+ and datadir+ do not.
    value = backslash_escape(layer.path, "\\") if layer.role is Role.UPPER else layer.path
    return Parameter(_KEYS[layer.role], value, layer.path)


def _parameters(stack: Stack) -> list[Parameter]:
    lowers = [layer for layer in stack.layers if layer.role is not Role.UPPER]
    found = [_of_layer(layer) for layer in (*lowers, *stack.of_role(Role.UPPER))]
    if stack.work is not None:
        found.append(Parameter("workdir", backslash_escape(stack.work, "\\"), stack.work))
    found.extend(Parameter(name, value) for name, value in stack.options.items())
    return found


def _fits(parameter: Parameter) -> bool:
    return parameter.value is None or size(parameter.value) <= MAX_VALUE


def _is_ambiguous(parameter: Parameter) -> bool:
    """Tell whether mountinfo would not show how a path was given: escaped, or by descriptor."""
    return parameter.key in ("upperdir", "workdir") and "\\" in (parameter.path or "")


def _by_descriptors(stack: Stack, swappable: Collection[str]) -> Plan | None:
    given = []
    for one in _parameters(stack):
        if one.path is None and not _fits(one):
            return None
        by_name = _is_ambiguous(one) and _fits(one) and one.path not in swappable
        given.append(
            one._replace(path=None) if one.path is None or by_name else one._replace(value=None)
        )
    return Plan(stack, "fd", "the kernel accepts layers as file descriptors", tuple(given))


def _by_strings(stack: Stack) -> Plan | None:
    parameters = tuple(one._replace(path=None) for one in _parameters(stack))
    why = "the kernel accepts each layer separately (lowerdir+)"
    return Plan(stack, "fsconfig", why, parameters) if all(map(_fits, parameters)) else None


def _by_one_string(stack: Stack) -> Plan | None:
    string = overlay.encode(stack)
    why = "all options fit into one string for mount(2)"
    return Plan(stack, "mount", why, string=string) if size(string) <= MAX_STRING else None


def _by_relative_strings(stack: Stack) -> Plan | None:
    why = f"paths are longer than {MAX_VALUE} bytes, so they are relative to their common parent"
    return _relative(stack, _by_strings, why)


def _by_one_relative_string(stack: Stack) -> Plan | None:
    why = (
        f"the options exceed the {MAX_STRING} bytes that mount(2) reads, so the layers are "
        "relative to their common parent"
    )
    return _relative(stack, _by_one_string, why)


def _relative(stack: Stack, attempt: Attempt, why: str) -> Plan | None:
    found = relative(stack)
    if found is None:
        return None
    shorter, parent = found
    plan = attempt(shorter)
    return plan and plan._replace(stack=stack, why=why, cwd=parent)


def _by_fd_strings(stack: Stack) -> Plan | None:
    opened: list[str] = []
    given = []
    for one in _parameters(stack):
        if one.path is None or _fits(one):
            given.append(one._replace(path=None))
        else:
            given.append(Parameter(one.key, f"{FD_DIRECTORY}/{placeholder(len(opened))}"))
            opened.append(one.path)
    if not all(map(_fits, given)):
        return None
    why = (
        f"paths are longer than {MAX_VALUE} bytes, so they are given as descriptors in "
        f"{FD_DIRECTORY}"
    )
    return Plan(stack, "fsconfig", why, tuple(given), opened=tuple(opened))


def _by_one_fd_string(stack: Stack) -> Plan | None:
    paths = paths_of(stack)
    numbers = {path: placeholder(number) for number, path in enumerate(paths)}
    string = overlay.encode(renamed(stack, numbers.__getitem__))
    if size(fill(string, [_HIGHEST_FD] * len(paths))) > MAX_STRING:
        return None
    why = (
        f"the options exceed the {MAX_STRING} bytes that mount(2) reads, so the layers are given "
        f"as descriptors in {FD_DIRECTORY}"
    )
    return Plan(stack, "mount", why, string=string, cwd=FD_DIRECTORY, opened=tuple(paths))

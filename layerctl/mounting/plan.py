"""Which mount API: how to pass a stack to this kernel. Pure.

The names that the kernel gets are what mountinfo shows later, so absolute paths come first:

1. the new calls, a descriptor for each layer: what was checked is mounted, and mountinfo shows its
   path;
2. the new calls, a string for each layer (at most 255 bytes, fsconfig(2));
3. one mount(2) string (at most a page less its NUL: the kernel cuts the rest off in silence);
4. the same two with names relative to the layers' common parent;
5. the same two with names of descriptors (/proc/self/fd/N), which mean nothing afterwards.

Where somebody else can swap a directory meanwhile, the names are given in a namespace of their own
(kernel/private_names.py), where each leads to the directory that is open. Where there is none, what
is written to is not given by name at all.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from layerctl.codecs import overlay
from layerctl.codecs.escape import backslash_escape
from layerctl.errors import RefusedError
from layerctl.kernel.context import Features
from layerctl.model import Layer, Role, Stack
from layerctl.rules.limits import MAX_STRING, MAX_VALUE

APIS = ("fsconfig", "fd", "mount")
FD_DIRECTORY = "/proc/self/fd"
#: As long as the numbers of descriptors get with 501 directories open.
_HIGHEST_FD = 999


class Setting(NamedTuple):
    """One fsconfig(2) call: `path` is opened and given by descriptor, else `value` is a string.

    Neither means a flag.
    """

    key: str
    value: str | None = None
    path: str | None = None


class Plan(NamedTuple):
    """How a stack is mounted: `api` and `why` it was chosen.

    `settings` are for the new calls. `string` is mount(2)'s, and `appends` what remounts add to
    it (aufs). `cwd` is the directory that relative names start from. `opened` are paths that are
    opened before, in order; in the strings, `mark(n)` is the placeholder of the n-th descriptor.
    `apart` tells that the mount is built where no name can be swapped.
    """

    stack: Stack
    api: str
    why: str
    settings: tuple[Setting, ...] = ()
    string: str = ""
    appends: tuple[str, ...] = ()
    cwd: str | None = None
    opened: tuple[str, ...] = ()
    apart: bool = False


def mark(number: int) -> str:
    """Return the placeholder of a descriptor that is not open yet; no path contains a NUL."""
    return f"\0{number}\0"


def fill(text: str, descriptors: Sequence[int]) -> str:
    """Put the numbers of open descriptors in the places of their marks."""
    parts = text.split("\0")
    parts[1::2] = [str(descriptors[int(number)]) for number in parts[1::2]]
    return "".join(parts)


def size(text: str) -> int:
    """Return the length in bytes."""
    return len(text.encode("utf-8", "surrogateescape"))


_AGAINST_SWAPS = (
    f"another user could replace {{path}}, so directories are named by descriptors in "
    f"{FD_DIRECTORY}, and mountinfo will not show their paths"
)


_APART = "another user could replace {path}: the mount is built where nobody else has its names"


def _is_absolute(plan: Plan) -> bool:
    """Tell whether all is named by absolute paths."""
    return plan.cwd is None and not plan.opened


def named(plan: Plan) -> list[str]:
    """Return the directories that a plan gives to the kernel by names that others know."""
    if plan.apart:
        return []
    by_descriptor = {one.path for one in plan.settings if one.value is None}
    return [path for path in paths_of(plan.stack) if path not in by_descriptor | {*plan.opened}]


def choose(
    stack: Stack,
    features: Features,
    api: str | None = None,
    swappable: Collection[str] = (),
    *,
    apart: bool = False,
) -> Plan:
    """Return the plan for a stack of absolute paths; `api` forces a mount API.

    `swappable` are those that somebody else can put another directory in the place of, and `apart`
    tells that a namespace of its own can be had for them. Raises RefusedError where the stack
    cannot be told to this kernel, or not without danger.
    """
    if stack.fstype == "aufs":
        if api not in (None, "mount"):
            raise RefusedError(
                "mount-api-call-limit",
                f"aufs can be mounted only by mount(2), not by '{api}'",
                hint="remove --api",
            )
        from layerctl.mounting.plan_aufs import plan_aufs

        return plan_aufs(stack)
    if stack.of_role(Role.DATA) and not features.context and not features.unknown:
        raise RefusedError(
            "data-layers-unsupported-old-kernel",
            "this kernel does not support data-only layers",
            why="they need Linux 6.5 or later",
            hint="make the data layer the lowest lower layer (-l DIR); its names then become "
            "visible",
        )
    tries = _ways_in(features, api, swappable)
    swapped: str | None = None
    for attempt in tries:
        plan = attempt(stack)
        if plan is not None:
            risky = [path for path in named(plan) if path in swappable]
            if risky and apart and _is_absolute(plan):
                plan = plan._replace(apart=True, why=f"{plan.why}; {_APART.format(path=risky[0])}")
            written = [path for path in risky if path in (stack.upper, stack.work)]
            if written and not plan.apart:
                swapped = written[0]
                continue
            if swapped is not None and plan.opened:
                plan = plan._replace(why=_AGAINST_SWAPS.format(path=swapped))
            return plan if api is None else plan._replace(why=f"requested; {plan.why}")
    if not tries:
        raise RefusedError(
            "mount-api-call-limit",
            f"this kernel cannot mount overlay by '{api}'",
            why="it does not accept "
            + ("layers as descriptors (since 6.13)" if api == "fd" else "lowerdir+ (since 6.7)"),
            hint="remove --api",
        )
    if swapped is not None:
        raise RefusedError(
            "swappable-directory",
            f"another user could replace {swapped} during the mount",
            why="this mount API names directories by path, so the kernel could write to whatever "
            "is there by then",
            hint="remove --api",
        )
    raise RefusedError(
        "option-string-too-long",
        "the options are too long for this kernel, however the layers are named",
        why=f"mount(2) reads {MAX_STRING} bytes and would silently truncate the rest",
        hint="use fewer layers, or fewer and shorter options",
    )


def _ways_in(
    features: Features, api: str | None, swappable: Collection[str]
) -> list[Callable[[Stack], Plan | None]]:
    """Return what this kernel takes, the best first."""
    tries: list[Callable[[Stack], Plan | None]] = []
    if features.by_descriptor and api in (None, "fd"):
        tries.append(lambda stack: _by_descriptors(stack, swappable))
    if features.append and api in (None, "fsconfig"):
        tries.append(_by_strings)
    if api in (None, "mount"):
        tries.append(_by_one_string)
    if features.append and api in (None, "fsconfig"):
        tries.append(_by_relative_strings)
    if api in (None, "mount"):
        tries.append(_by_one_relative_string)
    if features.append and api in (None, "fsconfig"):
        tries.append(_by_fd_strings)
    if api in (None, "mount"):
        tries.append(_by_one_fd_string)
    return tries


def paths_of(stack: Stack) -> list[str]:
    """Return every directory of a stack, layers first, then work."""
    paths = [layer.path for layer in stack.layers]
    return paths if stack.work is None else [*paths, stack.work]


def renamed(stack: Stack, name: Callable[[str], str]) -> Stack:
    """Return the stack with every directory called what `name` says."""
    return stack._replace(
        layers=tuple(layer._replace(path=name(layer.path)) for layer in stack.layers),
        work=None if stack.work is None else name(stack.work),
    )


_KEYS = {Role.LOWER: "lowerdir+", Role.DATA: "datadir+", Role.UPPER: "upperdir"}


def _layer_setting(layer: Layer) -> Setting:
    # upperdir and workdir lose their backslashes in the kernel, lowerdir+ and datadir+ do not.
    value = backslash_escape(layer.path, "\\") if layer.role is Role.UPPER else layer.path
    return Setting(_KEYS[layer.role], value, layer.path)


def _settings(stack: Stack) -> list[Setting]:
    lowers = [layer for layer in stack.layers if layer.role is not Role.UPPER]
    uppers = stack.of_role(Role.UPPER)
    settings = [_layer_setting(layer) for layer in (*lowers, *uppers)]
    if stack.work is not None:
        settings.append(Setting("workdir", backslash_escape(stack.work, "\\"), stack.work))
    settings.extend(Setting(name, value) for name, value in stack.options.items())
    return settings


def _fits(setting: Setting) -> bool:
    return setting.value is None or size(setting.value) <= MAX_VALUE


def _by_strings(stack: Stack) -> Plan | None:
    settings = _settings(stack)
    if not all(map(_fits, settings)):
        return None
    why = "the kernel accepts each layer separately (lowerdir+)"
    strings = tuple(setting._replace(path=None) for setting in settings)
    return Plan(stack, "fsconfig", why, strings)


def _ambiguous(setting: Setting) -> bool:
    """Tell whether mountinfo would not show how a path was given: escaped, or by descriptor."""
    return setting.key in ("upperdir", "workdir") and "\\" in (setting.path or "")


def _by_descriptors(stack: Stack, swappable: Collection[str]) -> Plan | None:
    settings = _settings(stack)
    if not all(_fits(setting) or setting.path for setting in settings):
        return None
    given = []
    for setting in settings:
        by_name = _ambiguous(setting) and _fits(setting) and setting.path not in swappable
        if setting.path is None or by_name:
            given.append(setting._replace(path=None))
        else:
            given.append(setting._replace(value=None))
    return Plan(stack, "fd", "the kernel accepts layers as file descriptors", tuple(given))


def _by_one_string(stack: Stack) -> Plan | None:
    string = overlay.encode(stack)
    if size(string) > MAX_STRING:
        return None
    return Plan(stack, "mount", "all options fit into one string for mount(2)", string=string)


def _common_parent(stack: Stack) -> str | None:
    paths = paths_of(stack)
    parent = os.path.commonpath(paths) if paths else "/"
    if parent in paths:
        parent = os.path.dirname(parent)
    return None if parent == "/" else parent


def relative(stack: Stack) -> tuple[Stack, str] | None:
    """Return the stack named from its layers' common parent, and that; None without one."""
    parent = _common_parent(stack)
    if parent is None:
        return None
    # A lowerdir value that starts with a dash or a dot means nothing special to the kernel.
    return renamed(stack, lambda path: path[len(parent) + 1 :]), parent


def _by_relative_strings(stack: Stack) -> Plan | None:
    named = relative(stack)
    if named is None:
        return None
    shorter, parent = named
    plan = _by_strings(shorter)
    why = f"paths are longer than {MAX_VALUE} bytes, so they are relative to their common parent"
    return plan and plan._replace(stack=stack, why=why, cwd=parent)


def _by_one_relative_string(stack: Stack) -> Plan | None:
    named = relative(stack)
    if named is None:
        return None
    shorter, parent = named
    plan = _by_one_string(shorter)
    why = (
        f"the options exceed the {MAX_STRING} bytes that mount(2) reads, so the layers are "
        "relative to their common parent"
    )
    return plan and plan._replace(stack=stack, why=why, cwd=parent)


def _by_fd_strings(stack: Stack) -> Plan | None:
    settings = _settings(stack)
    opened: list[str] = []
    out = []
    for setting in settings:
        if setting.path is None or _fits(setting):
            out.append(setting._replace(path=None))
        else:
            out.append(Setting(setting.key, f"{FD_DIRECTORY}/{mark(len(opened))}"))
            opened.append(setting.path)
    if not all(map(_fits, out)):
        return None
    why = (
        f"paths are longer than {MAX_VALUE} bytes, so they are given as descriptors in "
        f"{FD_DIRECTORY}"
    )
    return Plan(stack, "fsconfig", why, tuple(out), opened=tuple(opened))


def _by_one_fd_string(stack: Stack) -> Plan | None:
    paths = paths_of(stack)
    marks = {path: mark(number) for number, path in enumerate(paths)}
    string = overlay.encode(renamed(stack, marks.__getitem__))
    if size(fill(string, [_HIGHEST_FD] * len(paths))) > MAX_STRING:
        return None
    why = (
        f"the options exceed the {MAX_STRING} bytes that mount(2) reads, so the layers are given "
        f"as descriptors in {FD_DIRECTORY}"
    )
    return Plan(stack, "mount", why, string=string, cwd=FD_DIRECTORY, opened=tuple(paths))

"""How a stack is passed to the kernel: the parts of a plan. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Sequence
from typing import NamedTuple

from layerctl.model import Stack

APIS = ("fsconfig", "fd", "mount")
#: What `mount --print` writes: see `layerctl.mounting.forms` and `boot`.
FORMS = ("options", "command", "fstab", "unit", "tmpfiles")


class Parameter(NamedTuple):
    """One fsconfig(2) call: `path` is opened and given by descriptor, else `value` is a string.

    Neither means a flag.
    """

    key: str
    value: str | None = None
    path: str | None = None


class Plan(NamedTuple):
    """How a stack is mounted: `api` and `why` it was chosen.

    `parameters` are for the new calls. `string` is mount(2)'s, and `appends` what remounts add to
    it (aufs). `cwd` is the directory that relative names start from. `opened` are paths that are
    opened before, in order; in the strings, `placeholder(n)` is the n-th descriptor. `apart` means
    that the mount is built where no name can be swapped.
    """

    stack: Stack
    api: str
    why: str
    parameters: tuple[Parameter, ...] = ()
    string: str = ""
    appends: tuple[str, ...] = ()
    cwd: str | None = None
    opened: tuple[str, ...] = ()
    apart: bool = False


def placeholder(number: int) -> str:
    """Return the placeholder of a descriptor that is not open yet; no path contains a NUL."""
    return f"\0{number}\0"


def fill(text: str, descriptors: Sequence[int]) -> str:
    """Put the numbers of open descriptors in the places of their placeholders."""
    parts = text.split("\0")
    parts[1::2] = [str(descriptors[int(number)]) for number in parts[1::2]]
    return "".join(parts)


def size(text: str) -> int:
    """Return the length in bytes."""
    return len(text.encode("utf-8", "surrogateescape"))


def paths_of(stack: Stack) -> list[str]:
    """Return every directory of a stack, layers first, then work."""
    paths = [layer.path for layer in stack.layers]
    return paths if stack.work is None else [*paths, stack.work]


def named(plan: Plan) -> list[str]:
    """Return the directories that a plan passes to the kernel by names that others can swap."""
    if plan.apart:
        return []
    by_descriptor = {one.path for one in plan.parameters if one.value is None}
    return [path for path in paths_of(plan.stack) if path not in by_descriptor | {*plan.opened}]


def renamed(stack: Stack, name: Callable[[str], str]) -> Stack:
    """Return the stack with every directory called what `name` says."""
    return stack._replace(
        layers=tuple(layer._replace(path=name(layer.path)) for layer in stack.layers),
        work=None if stack.work is None else name(stack.work),
    )


def relative(stack: Stack) -> tuple[Stack, str] | None:
    """Return the stack named from its layers' common parent, and that; None without one."""
    paths = paths_of(stack)
    parent = os.path.commonpath(paths) if paths else "/"
    if parent in paths:
        parent = os.path.dirname(parent)
    if parent == "/":
        return None
    # A lowerdir value that starts with a dash or a dot means nothing special to the kernel.
    return renamed(stack, lambda path: path[len(parent) + 1 :]), parent

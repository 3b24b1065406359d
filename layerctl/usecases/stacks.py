"""The stack of a command: of layer flags, and of a live mount."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from layerctl.codecs.request import Request, build
from layerctl.errors import NotFoundError
from layerctl.kernel import mounts, paths
from layerctl.model import MountEntry, Stack

if TYPE_CHECKING:
    from layerctl.stores.store import Container


class Target(NamedTuple):
    """The stack of a command; `mount` is None if it is not mounted here.

    `notes` are for standard error: what was assumed. `path` is the part of TARGET that leads on
    into the merged tree, `container` the container that the stack is the root of.
    """

    stack: Stack
    notes: tuple[str, ...] = ()
    mount: MountEntry | None = None
    path: str = ""
    container: Container | None = None


def absolute_stack(stack: Stack) -> Stack:
    """Return the stack with absolute paths of all layers and the work directory."""
    return stack._replace(
        layers=tuple(
            layer._replace(path=paths.absolute(layer.path)) if layer.path else layer
            for layer in stack.layers
        ),
        work=None if stack.work is None else paths.absolute(stack.work),
    )


def from_flags(request: Request) -> Stack:
    """Return the stack of layer flags, with absolute paths. Raises RequestError."""
    return absolute_stack(build(request))


def of_mount(mounted: mounts.Mounted) -> Target:
    """Return a live mount's stack with absolute paths.

    The kernel shows names as they were passed to mount(2). Relative ones are resolved from the
    working directory, with a note, if they exist there. Raises NotFoundError if one does not.
    """
    stack, entry = mounted.stack, mounted.entry
    names = [layer.path for layer in stack.layers] + ([stack.work] if stack.work else [])
    if all(name.startswith("/") for name in names):
        return Target(stack, mounted.notes, entry)
    layers = [layer.path for layer in stack.layers]
    lost = [one for one in layers if not one.startswith("/") and not paths.is_directory(one)]
    if lost:
        raise NotFoundError(
            "relative-layers",
            f"{entry.target} was mounted with the relative layer name '{lost[0]}'",
            why="the kernel keeps the name as given, and it does not exist relative to this "
            "directory",
            hint="run the command in the directory where it was mounted, or give absolute paths "
            "with -l, -u or -b",
        )
    note = f"{entry.target} was mounted with relative layer names; they start at this directory"
    return Target(absolute_stack(stack), (*mounted.notes, note), entry)


def as_shown(mounted: mounts.Mounted) -> Target:
    """Return a live mount's stack as `of_mount` does, but with names that lead nowhere as shown."""
    try:
        return of_mount(mounted)
    except NotFoundError as error:
        return Target(mounted.stack, (*mounted.notes, error.message), mounted.entry)

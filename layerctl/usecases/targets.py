"""The stack of a command, from TARGET or from layer flags; nothing else decides this."""

from __future__ import annotations

from typing import NamedTuple

from layerctl.codecs.request import Request, build
from layerctl.errors import NotFoundError, RequestError
from layerctl.kernel import mounts, paths
from layerctl.model import Layer, MountEntry, Role, Stack


class Target(NamedTuple):
    """The stack of a command; `mount` is None if it was given by layer flags.

    `notes` are for standard error: what was assumed.
    """

    stack: Stack
    notes: tuple[str, ...] = ()
    mount: MountEntry | None = None


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


def open_target(target: str | None, request: Request) -> Target:
    """Return the stack of the mount at TARGET, or of the layer flags.

    Raises RequestError if neither or both are given, NotFoundError if there is no such mount.
    """
    if request.names_layers:
        if target is not None:
            raise RequestError(
                "usage",
                "TARGET and layer options cannot be combined",
                hint="name either a mount or its layers",
            )
        return Target(from_flags(request))
    if target is None:
        raise RequestError(
            "usage",
            "neither a mount nor layers were given",
            hint="name a mount, or layers with -l, -u, -b or -o",
        )
    return of_mount(mounts.find_layered(target))


def open_tree(name: str) -> Target:
    """Return the stack of the mount at a path, or the directory there as a stack of one layer.

    Raises NotFoundError where there is neither.
    """
    try:
        return open_target(name, Request())
    except NotFoundError as error:
        if error.id not in ("not-mounted", "not-layered") or not paths.is_directory(name):
            raise
    return Target(Stack("overlay", (Layer(paths.absolute(name), Role.LOWER),)))


def find_mount(target: str) -> mounts.Mounted:
    """Return the layered mount at TARGET, of any type. Raises NotFoundError if there is none.

    The kernel does not know the layers of fuse-overlayfs: its stack has none.
    """
    entry = mounts.find(target)
    if entry.fstype == mounts.FUSE_OVERLAYFS:
        return mounts.Mounted(entry, Stack("fuse-overlayfs", ()))
    if entry.fstype not in mounts.LAYERED:
        raise mounts.not_layered(target, entry)
    return mounts.describe(entry)


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

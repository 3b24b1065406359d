"""What TARGET means: a mount, a path below one, or a name in an engine's store."""

from __future__ import annotations

from layerctl.codecs.request import Request
from layerctl.errors import NotFoundError, RequestError
from layerctl.kernel import mounts, paths
from layerctl.model import Layer, Role, Stack
from layerctl.rules.names import KINDS, PATH
from layerctl.usecases.stacks import Target, as_shown, from_flags, of_mount

#: The errors of a name that is not a mount point, and may be another name.
_NO_MOUNT = ("target-missing", "not-mounted")


def open_target(target: str | None, request: Request) -> Target:
    """Return the stack that TARGET names, or the one of the layer flags.

    TARGET is a mount point, a path below one, or the name, id or hash of a container, an image or
    a layer. Raises RequestError if neither or both are given, NotFoundError if nothing has that
    name, or several things have it.
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
    return named(target, request.root)


def named(name: str, root: str | None = None, *, shown: bool = False) -> Target:
    """Return the stack that a name means, in the stores of the disk at `root` if that is given.

    `shown` takes relative layers that lead nowhere as the kernel shows them. Raises NotFoundError.
    """
    kind, colon, rest = name.partition(":")
    if colon and kind == PATH:
        return _of_path(rest, shown=shown)
    unknown: NotFoundError | None = None
    if root is None and not (colon and kind in KINDS):
        try:
            return _of_path(name, shown=shown)
        except NotFoundError as error:
            if error.id not in _NO_MOUNT:
                raise
            unknown = error
    # What reads the stores is imported only here: a mount point needs none of it.
    from layerctl.usecases.named import stored_target

    return stored_target(name, root, unknown)


def named_here(name: str) -> Target:
    """Return the mount that a path means, and the path in it. Raises NotFoundError."""
    return _of_path(name.removeprefix(f"{PATH}:"), shown=True)


def _of_path(path: str, *, shown: bool) -> Target:
    entry, below = mounts.find_below(path)
    mounted = mounts.layered_entry(path, entry)
    return (as_shown(mounted) if shown else of_mount(mounted))._replace(path=below)


def open_tree(name: str, root: str | None = None) -> Target:
    """Return the stack that a name means, or the directory of that name as a stack of one layer.

    Raises NotFoundError if there is neither.
    """
    try:
        found = named(name, root)
        if not found.path:
            return found
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

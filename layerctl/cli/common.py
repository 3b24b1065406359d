"""What several commands share: the layer flags, and the way from TARGET or flags to a stack."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import click

from layerctl.cli.complete import directories, files, mount_options, types
from layerctl.codecs.request import Request, build
from layerctl.errors import NotFoundError, RequestError
from layerctl.kernel import mounts, paths
from layerctl.model import MountEntry, Stack

json_option = click.option("--json", "as_json", is_flag=True, help="Write one JSON document.")

Decorator = Callable[[Any], Any]

_SOURCES: tuple[Decorator, ...] = (
    click.option(
        "--sysfs", default=mounts.AUFS_SYSFS, metavar="DIR", show_default=True,
        shell_complete=directories, help="Read aufs information from this directory.",
    ),
    click.option(
        "--mountinfo", default=mounts.SELF_MOUNTINFO, metavar="FILE", show_default=True,
        shell_complete=files, help="Read the mount table from this file.",
    ),
)  # fmt: skip

_DIR: dict[str, Any] = {"metavar": "DIR", "shell_complete": directories}
_LAYER_FLAGS: tuple[Decorator, ...] = (
    click.option(
        "-t", "--type", "fstypes", multiple=True, metavar="TYPE", shell_complete=types,
        help="Filesystem type: overlay (or overlay2), aufs, fuse-overlayfs or auto.",
    ),
    click.option(
        "-l", "--lower", "lowers", multiple=True, **_DIR,
        help="Add a lower layer of an overlay, topmost first.",
    ),
    click.option(
        "--data", "data", multiple=True, **_DIR, help="Add a data-only layer, below all lower "
        "layers."
    ),
    click.option("-u", "--upper", "upper", **_DIR, help="Set the writable layer of an overlay."),
    click.option(
        "-w", "--work", "work", **_DIR,
        help="Set the work directory of an overlay (default: UPPER.work).",
    ),
    click.option(
        "-b", "--branch", "branches", multiple=True, metavar="DIR[=PERM]",
        shell_complete=directories,
        help="Add a branch of an aufs, topmost first; PERM is rw, ro, rr, ro+wh, ...",
    ),
    click.option(
        "-o", "--options", "options", multiple=True, metavar="OPTIONS",
        shell_complete=mount_options, help="Mount options as for mount(8), including layers.",
    ),
    click.option("-r", "--read-only", "read_only", is_flag=True, help="Mount read-only."),
)  # fmt: skip

_FLAG_NAMES = (
    "lowers", "data", "upper", "work", "branches", "options", "read_only",
)  # fmt: skip


def add_options(
    function: Callable[..., Any], wrapper: Callable[..., Any], options: Iterable[Decorator]
) -> Callable[..., Any]:
    """Return `wrapper` in the place of the command `function`, with more options before its own."""
    wrapper.__name__ = function.__name__
    wrapper.__doc__ = function.__doc__
    wrapper.__click_params__ = list(  # type: ignore[attr-defined]  # click keeps options there
        getattr(function, "__click_params__", ())
    )
    decorated: Callable[..., Any] = wrapper
    for option in reversed(tuple(options)):
        decorated = option(decorated)
    return decorated


def layer_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the layer flags to a command; it gets them as one `request`."""
    return _layer_flags(function, ())


def layer_flags_and(file_types: Collection[str]) -> Decorator:
    """Add the layer flags; the command gets, as `old_types`, the file types among those of --type.

    --type was what --file-type is now; to be removed after the release that says so.
    """
    return lambda function: _layer_flags(function, file_types)


def _layer_flags(function: Callable[..., Any], file_types: Collection[str]) -> Callable[..., Any]:
    def wrapper(**arguments: Any) -> Any:
        types = arguments.pop("fstypes")
        if file_types:
            arguments["old_types"] = tuple(one for one in types if one in file_types)
            types = [one for one in types if one not in file_types]
        request = Request(
            fstype=types[-1] if types else None,
            **{name: arguments.pop(name) for name in _FLAG_NAMES},
        )
        return function(request=request, **arguments)

    return add_options(function, wrapper, _LAYER_FLAGS)


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --sysfs and --mountinfo, which read what the kernel says from elsewhere."""
    return add_options(function, function, _SOURCES)


def absolute_stack(stack: Stack) -> Stack:
    """Return the stack with every layer and the work directory spelled from the root."""
    return stack._replace(
        layers=tuple(
            layer._replace(path=paths.absolute(layer.path)) if layer.path else layer
            for layer in stack.layers
        ),
        work=None if stack.work is None else paths.absolute(stack.work),
    )


def stack_from_flags(request: Request) -> Stack:
    """Build the stack that the layer flags name, with absolute paths."""
    return absolute_stack(build(request))


class Asked(NamedTuple):
    """The stack that a command is about; `mount` is None where it was named by layer flags."""

    stack: Stack
    notes: tuple[str, ...] = ()
    mount: MountEntry | None = None


def find_stack(target: str | None, request: Request) -> Asked:
    """Return the stack of the mount at TARGET, or the one that the layer flags name.

    Raises RequestError where neither or both were given, NotFoundError for no such mount.
    """
    if request.names_layers:
        if target is not None:
            raise RequestError(
                "usage",
                "TARGET and layer options cannot be combined",
                hint="name either a mount or its layers",
            )
        return Asked(stack_from_flags(request))
    if target is None:
        raise RequestError(
            "usage",
            "neither a mount nor layers were given",
            hint="name a mount, or layers with -l, -u, -b or -o",
        )
    mounted = mounts.find_layered(target)
    return Asked(*resolve_relative(mounted), mounted.entry)


def resolve_relative(mounted: mounts.Mounted) -> tuple[Stack, tuple[str, ...]]:
    """Return a live mount's stack with absolute paths.

    mountinfo shows the names that the kernel was given. A relative one meant something to who
    mounted it: it is taken from this working directory if a directory is there, and said.
    """
    import os

    stack = mounted.stack
    names = [layer.path for layer in stack.layers] + ([stack.work] if stack.work else [])
    relative = [name for name in names if not name.startswith("/")]
    if not relative:
        return stack, mounted.notes
    layers = [layer.path for layer in stack.layers]
    lost = [name for name in layers if not name.startswith("/") and not os.path.isdir(name)]
    if lost:
        raise NotFoundError(
            "relative-layers",
            f"{mounted.entry.target} was mounted with the relative layer name '{lost[0]}'",
            why="the kernel keeps the name as given, and it does not exist relative to this "
            "directory",
            hint="run the command in the directory where it was mounted, or give absolute paths "
            "with -l, -u or -b",
        )
    note = (
        f"{mounted.entry.target} was mounted with relative layer names; using this directory as "
        "their start"
    )
    return absolute_stack(stack), (*mounted.notes, note)

"""What several commands share: the layer flags, and where the kernel is read from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import click

from layerctl.cli.complete import directories, files, mount_options, types
from layerctl.cli.help import WithExamples
from layerctl.codecs.request import Request
from layerctl.kernel import mounts

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
ROOT = click.option(
    "--root", **_DIR,
    help="Look names up in the container stores of this disk or store, not of this machine.",
)  # fmt: skip
_READ_ONLY = click.option("-r", "--read-only", "read_only", is_flag=True, help="Mount read-only.")


def _mount_options(*short: str) -> Decorator:
    return click.option(
        *short, "--options", "options", multiple=True, metavar="OPTIONS",
        shell_complete=mount_options, help="Mount options as for mount(8), including layers.",
    )  # fmt: skip


_SHORT_O = _mount_options("-o")
_LAYER_FLAGS: tuple[Decorator, ...] = (
    click.option(
        "-t", "--type", "fstypes", multiple=True, metavar="TYPE", shell_complete=types,
        help="Filesystem type: overlay (or overlay2), aufs, fuse-overlayfs or auto.",
    ),
    click.option(
        "-l", "--lower", "lowers", multiple=True, **_DIR,
        help="Add a lower layer of an overlay, topmost first. To mount, DIR may be an image, or "
        "FILE:N for partition N of one.",
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
    _SHORT_O,
    _READ_ONLY,
    ROOT,
)  # fmt: skip

_MAP_FLAGS: tuple[Decorator, ...] = (
    click.option(
        "--map", "map", multiple=True, metavar="[u:|g:]UID:HOST:COUNT",
        help="Show the owners of the layers after this option, from UID on disk, as HOST (COUNT of "
        "them). It ends at the next --map, or --map none; several in a row are one map.",
    ),
    click.option(
        "--map-file", "map_file", multiple=True, metavar="FILE", shell_complete=files,
        help="Like --map, one map per line, as in /proc/PID/uid_map.",
    ),
    click.option(
        "--map-of", "map_of", multiple=True, metavar="PID", type=int,
        help="Like --map, with the maps of this process's user namespace.",
    ),
)  # fmt: skip
_MAP_NAMES = ("map", "map_file", "map_of")

_FLAG_NAMES = (
    "lowers", "data", "upper", "work", "branches", "options", "read_only", "root",
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


def mapped_layer_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the layer flags, and those that map owners; for a command of the class MappedLayers."""
    with_layers = layer_flags(function)

    def wrapper(**arguments: Any) -> Any:
        given = {name: arguments.pop(name) for name in _MAP_NAMES}
        if any(given.values()):
            from layerctl.usecases.idmaps import bound  # few mounts map owners

            order = click.get_current_context().meta[MappedLayers.ORDER]
            arguments["maps"] = bound(order)
        return with_layers(**arguments)

    return add_options(with_layers, wrapper, _MAP_FLAGS)


class MappedLayers(WithExamples):
    """A command that knows the order of its options: a map applies to the layers after it."""

    ORDER = "layerctl.order"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and keep the order, if there are maps."""
        if any(word.startswith("--map") for word in args):
            given, _, order = self.make_parser(ctx).parse_args(args=list(args))
            left = {name: iter(value) for name, value in given.items() if isinstance(value, list)}
            ctx.meta[self.ORDER] = [
                (str(one.name), str(next(left[one.name])) if one.name in left else "")
                for one in order
            ]
        return super().parse_args(ctx, args)


def writable_layer_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the layer flags except --read-only to a command, whose own -r means something else."""
    return _layer_flags(function, (), [flag for flag in _LAYER_FLAGS if flag is not _READ_ONLY])


def layer_flags_without_o(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the layer flags to a command whose -o is another option."""
    flags = tuple(flag for flag in _LAYER_FLAGS if flag is not _SHORT_O)
    return _layer_flags(function, (), (*flags, _mount_options()))


def layer_flags_and(file_types: Collection[str]) -> Decorator:
    """Add the layer flags; the command gets, as `old_types`, the file types among those of --type.

    --type was what --file-type is now; to be removed after the release that says so.
    """
    return lambda function: _layer_flags(function, file_types)


def _layer_flags(
    function: Callable[..., Any],
    file_types: Collection[str],
    flags: Iterable[Decorator] = _LAYER_FLAGS,
) -> Callable[..., Any]:
    def wrapper(**arguments: Any) -> Any:
        types = arguments.pop("fstypes")
        if file_types:
            arguments["old_types"] = tuple(one for one in types if one in file_types)
            types = [one for one in types if one not in file_types]
        request = Request(
            fstype=types[-1] if types else None,
            maps=arguments.pop("maps", ()),
            **{name: arguments.pop(name) for name in _FLAG_NAMES if name in arguments},
        )
        return function(request=request, **arguments)

    return add_options(function, wrapper, flags)


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --sysfs and --mountinfo, which read what the kernel says from elsewhere."""
    return add_options(function, function, _SOURCES)

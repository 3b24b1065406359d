"""From the user's input to a stack: layer flags and `-o` strings result in the same. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from layerctl.codecs import overlay
from layerctl.codecs.escape import split_unescaped
from layerctl.errors import RequestError
from layerctl.model import IdMap, Layer, Role, Stack
from layerctl.rules.options import TYPE_NAMES, nearest

#: What counts as a branch permission after the last `=` of `-b`.
_PERMISSION = r"[a-z]+(\+[a-z_]*)*"
_AUFS_WORD = r"(br|dirs|add|ins|append|prepend)[:=]"
#: Options that name layers of the other type.
_AUFS_LAYERS = ("br", "dirs")
_OVERLAY_LAYERS = ("lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir")


class Request(NamedTuple):
    """The layer flags as typed. `root` is the directory whose engines' stores know names.

    `maps` are the ID maps of layers, by the name of the flag and its number among these
    (`codecs.idmap.bind`).
    """

    fstype: str | None = None
    lowers: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    upper: str | None = None
    work: str | None = None
    branches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    read_only: bool = False
    root: str | None = None
    maps: tuple[tuple[tuple[str, int], IdMap], ...] = ()

    @property
    def names_layers(self) -> bool:
        """Whether any layer or option is given, so that a stack can be built."""
        return bool(
            self.lowers or self.data or self.upper or self.work or self.branches or self.options
        )


class RemountWords(NamedTuple):
    """A remount request without the words `remount` and `bind`, and whether `bind` was given."""

    request: Request
    bind: bool


def as_remount(request: Request) -> RemountWords | None:
    """Return what a request changes in a live mount; None if it is for a new mount.

    Raises RequestError if `remount` has a value.
    """
    words = [split_unescaped(text, ",") for text in request.options]
    if any(word.startswith("remount=") for one in words for word in one):
        raise RequestError(
            "bad-option-value", "remount takes no value", hint="write it as: -o remount,ro"
        )
    if not any("remount" in one for one in words):
        return None
    bind = any("bind" in one for one in words)
    kept = [",".join(word for word in one if word not in ("remount", "bind")) for one in words]
    return RemountWords(request._replace(options=tuple(filter(None, kept))), bind)


def fstype_of(request: Request) -> str:
    """Return the requested type, by name or by the layers. Raises RequestError if unknown."""
    if request.fstype is not None:
        known = TYPE_NAMES.get(request.fstype)
        if known is None:
            close = nearest(request.fstype, list(TYPE_NAMES))
            raise RequestError(
                "unknown-type",
                f"'{request.fstype}' is not a layered filesystem type",
                why="layerctl can mount overlay (overlay2 in Docker), aufs and fuse-overlayfs",
                hint=f"use -t {close[0] if close else 'overlay'}",
            )
        return known
    if request.branches:
        return "aufs"
    if not (request.lowers or request.data or request.upper):
        texts = [text for options in request.options for text in options.split(",")]
        if any(re.match(_AUFS_WORD, text) for text in texts):
            return "aufs"
    return "overlay"


def build(request: Request) -> Stack:
    """Build the stack. Raises RequestError if the options do not define one.

    `layerctl.rules.validity.problems` finds what is wrong with the stack itself.
    """
    if any(text.startswith(("{", "[", " ")) or "\\" in text for text in request.options):
        from layerctl.codecs.pasted import plain  # few strings have escapes

        request = request._replace(options=tuple(map(plain, request.options)))
    fstype = fstype_of(request)
    stack = _aufs(request) if fstype == "aufs" else _overlay(request)._replace(fstype=fstype)
    if request.read_only:
        stack = stack._replace(flags=(*stack.flags, "ro"))
    if request.maps and not (fstype == "overlay" and stack.is_mapped):
        from layerctl.codecs.idmap import without_layer  # few requests have maps

        raise without_layer()
    return stack


def _refuse_layers(stack: Stack, names: tuple[str, ...], instead: str) -> None:
    """Raise RequestError if the options also name layers of another type."""
    for name in stack.options:
        if name.partition(":")[0] in names:
            raise _misplaced(f"-o {name}=", stack.fstype, instead)


def _misplaced(flag: str, fstype: str, instead: str) -> RequestError:
    return RequestError(
        "wrong-layer-flag",
        f"{flag} cannot be used with {fstype}",
        hint=f"use {instead}, or another type (-t)",
    )


def _aufs(request: Request) -> Stack:
    for flag, given in (
        ("-l", request.lowers),
        ("--data", request.data),
        ("-u", request.upper),
        ("-w", request.work),
    ):
        if given:
            raise _misplaced(flag, "aufs", "-b DIR=rw or -b DIR=ro")
    from layerctl.codecs import aufs  # rare, and a script pays for every import

    layers = tuple(map(parse_branch_flag, request.branches))
    stack = Stack("aufs", layers)
    words = ",".join(filter(None, request.options))  # one string, as mount(8) passes them on
    stack = aufs.parse(words, base=stack, read_only=request.read_only)
    _refuse_layers(stack, _OVERLAY_LAYERS, "-b DIR=rw or -b DIR=ro")
    return stack


def parse_branch_flag(text: str) -> Layer:
    """Parse `-b DIR[=PERM]`: unlike in an option string, DIR may contain a `=`.

    The text after the last `=` is a permission if it looks like one.
    """
    path, equals, permission = text.rpartition("=")
    if equals and re.fullmatch(_PERMISSION, permission):
        return Layer(path, Role.BRANCH, permission)
    return Layer(text, Role.BRANCH)


def _overlay(request: Request) -> Stack:
    if request.branches:
        raise _misplaced("-b", "overlay", "-l DIR and -u DIR")
    stack = Stack("overlay", ())
    maps = dict(request.maps)
    for number, text in enumerate(request.options):
        known, stack = stack.layers, overlay.parse(text, base=stack)
        ids = maps.get(("options", number))
        if ids is not None:
            mapped = (one if one in known else one._replace(map=ids) for one in stack.layers)
            stack = stack._replace(layers=tuple(mapped))
    _refuse_layers(stack, _AUFS_LAYERS, "-l DIR and -u DIR")
    below = [layer for layer in stack.layers if layer.role is not Role.UPPER]
    for what, flag, in_flags, in_options in (
        ("lower layers", "-l or --data", request.lowers + request.data, below),
        ("the upper directory", "-u", request.upper, stack.upper),
        ("the work directory", "-w", request.work, stack.work),
    ):
        if in_flags and in_options:
            raise RequestError(
                "conflicting-options",
                f"{what} given both with {flag} and in -o",
                hint=f"use only {flag}",
            )
    layers = (
        *([] if request.upper is None else _flagged(request, "upper", (request.upper,))),
        *(stack.of_role(Role.UPPER) if request.upper is None else ()),
        *_flagged(request, "lowers", request.lowers),
        *_flagged(request, "data", request.data),
        *below,
    )
    work = stack.work if request.work is None else request.work
    _refuse_empty(layers, work)
    return stack._replace(layers=layers, work=work)


_ROLES = {"upper": Role.UPPER, "lowers": Role.LOWER, "data": Role.DATA}


def _flagged(request: Request, flag: str, paths: Iterable[str]) -> Iterable[Layer]:
    """Return the layers of one flag, each with its ID map."""
    role, maps = _ROLES[flag], dict(request.maps)
    return (Layer(path, role, None, maps.get((flag, n))) for n, path in enumerate(paths))


def _refuse_empty(layers: Iterable[Layer], work: str | None) -> None:
    """Raise RequestError for a directory whose name is empty."""
    for layer in layers:
        if not layer.path:
            raise RequestError(
                "malformed-option-string",
                f"the name of the {layer.role} layer is empty",
                hint="name a directory",
            )
    if work == "":
        raise RequestError(
            "malformed-option-string",
            "the name of the work directory is empty",
            hint="name a directory, or remove it to use UPPER.work",
        )

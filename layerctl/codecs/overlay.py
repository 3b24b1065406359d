"""The options of overlay: the string for mount(2), and mountinfo of a live mount. Pure.

Escapes (fs/overlayfs/params.c, and tested on 5.10 to 7.2): in the string, a backslash escapes `,`
and, in `lowerdir`, also `:`; `lowerdir+` and `datadir+` are literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from layerctl.codecs.escape import (
    backslash_escape,
    backslash_unescape,
    octal_decode,
    split_unescaped,
)
from layerctl.codecs.words import divide, join_options, split_options, word
from layerctl.errors import RequestError
from layerctl.model import Layer, Role, Stack

_COLONS = r"(?s)((?:[^\\:]|\\.|\\$)*)(:*)"


class LayerOrderError(ValueError):
    """The colons of a `lowerdir` value are not valid separators."""


def split_lowerdir(value: str) -> list[Layer]:
    """Split a `lowerdir` value: `:` before each lower layer, `::` before each data-only one.

    Raises LayerOrderError for colons that the kernel refuses (6.5 and newer; older kernels
    refuse them as an empty path).
    """
    layers: list[Layer] = []
    role = Role.LOWER
    position = 0
    pattern = re.compile(_COLONS)
    while position < len(value):
        match = pattern.match(value, position)
        assert match is not None  # noqa: S101 - every part of the pattern may be empty
        name, colons = match[1], match[2]
        if not name:
            raise LayerOrderError("it starts with a colon")
        path = backslash_unescape(name)
        if not path:
            raise LayerOrderError("there is nothing before or after a backslash")
        layers.append(Layer(path, role))
        position = match.end()
        if not colons:
            break
        if position == len(value):
            raise LayerOrderError("it ends with a colon")
        if len(colons) > 2:
            raise LayerOrderError("it has more than two colons in a row")
        if len(colons) == 1 and role is Role.DATA:
            raise LayerOrderError("a lower layer follows a data-only layer")
        role = Role.DATA if len(colons) == 2 else Role.LOWER
    return layers


def join_lowerdir(layers: Iterable[Layer]) -> str:
    """Return the `lowerdir` value of lower and data-only layers, escaped for a mount(2) string."""
    out = ""
    for layer in layers:
        separator = "" if not out else ("::" if layer.role is Role.DATA else ":")
        out += separator + backslash_escape(layer.path, "\\:,")
    return out


def parse(text: str, *, base: Stack | None = None) -> Stack:
    """Read an option string as mount(2) does; `base` is what an earlier string said.

    Raises RequestError if the colons of `lowerdir` are not valid.
    """
    stack = base or Stack("overlay", ())
    own, flags = divide(split_options(text, escapes=True))
    upper, work, options = stack.upper, stack.work, dict(stack.options)
    lowers = [layer for layer in stack.layers if layer.role is not Role.UPPER]
    plain = False
    for name, value in map(word, own):
        match name, value:
            case "lowerdir", str():
                lowers, plain = _lowerdir(value), bool(value)  # an empty one drops all
            case (("lowerdir+" | "datadir+"), str()):
                if plain:
                    raise RequestError(
                        "malformed-option-string",
                        f"'{name}' cannot be combined with 'lowerdir'",
                        why="the kernel accepts either one lowerdir list, or lowerdir+ and "
                        "datadir+",
                        hint="give each layer separately: -l DIR for lower layers, --data DIR for "
                        "data-only layers",
                    )
                role = Role.LOWER if name == "lowerdir+" else Role.DATA
                lowers.append(Layer(value, role))
            case "upperdir", str():
                upper = backslash_unescape(value)
            case "workdir", str():
                work = backslash_unescape(value)
            case _:
                options[name] = _unquoted(value)
    top = stack.of_role(Role.UPPER)
    if upper != stack.upper:
        top = (Layer(upper or "", Role.UPPER),)
    return Stack("overlay", (*top, *lowers), work, options, (*stack.flags, *flags))


def _unquoted(value: str | None) -> str | None:
    if value is not None and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def _lowerdir(value: str) -> list[Layer]:
    try:
        return split_lowerdir(value)
    except LayerOrderError as error:
        raise RequestError(
            "malformed-option-string",
            f"invalid lowerdir list: {error}",
            why="':' separates lower layers, '::' precedes a data-only layer, and '\\:' is a colon "
            "in a name",
            hint="give each layer separately, without escapes: -l DIR -l DIR",
        ) from None


def encode(stack: Stack) -> str:
    """Return the string for mount(2): layers, then options; flags are not part of it."""
    words = []
    lowers = [layer for layer in stack.layers if layer.role is not Role.UPPER]
    if lowers:
        words.append("lowerdir=" + join_lowerdir(lowers))
    if stack.upper is not None:
        words.append("upperdir=" + escape_path(stack.upper))
    if stack.work is not None:
        words.append("workdir=" + escape_path(stack.work))
    quoted = {
        name: f'"{value}"' if value is not None and "," in value else value
        for name, value in stack.options.items()
    }
    return ",".join(words + join_options(quoted))


def escape_path(path: str) -> str:
    """Escape an upperdir or workdir for a mount(2) string."""
    return backslash_escape(path, "\\,")


def from_super_options(text: str, *, literal: bool = False) -> Stack:
    """Parse the last field of mountinfo: decode octal escapes first, then those of overlay.

    The rules for colons are not enforced, since the kernel has mounted it. An upper or work
    directory that was passed as a descriptor is shown without overlay's escapes, which the text
    does not reveal; `literal` reads them that way.
    """
    unescape = str if literal else backslash_unescape
    upper: str | None = None
    work: str | None = None
    lowers: list[Layer] = []
    options: dict[str, str | None] = {}
    flags: list[str] = []
    for name, raw in map(word, text.split(",")):
        value = None if raw is None else octal_decode(raw)
        match name, value:
            case (("rw" | "ro" | "sync" | "dirsync" | "mand" | "lazytime"), None):
                flags.append(name)
            case "lowerdir", str():
                lowers = _shown_lowerdir(value)
            case "lowerdir+", str():
                lowers.append(Layer(value, Role.LOWER))
            case "datadir+", str():
                lowers.append(Layer(value, Role.DATA))
            case "upperdir", str():
                upper = unescape(value)
            case "workdir", str():
                work = unescape(value)
            case _:
                options[name] = value
    top = [Layer(upper, Role.UPPER)] if upper is not None else []
    return Stack("overlay", (*top, *lowers), work, options, tuple(flags))


def _shown_lowerdir(value: str) -> list[Layer]:
    try:
        return split_lowerdir(value)
    except LayerOrderError:
        names = split_unescaped(value, ":")
        return [Layer(backslash_unescape(name), Role.LOWER) for name in names if name]

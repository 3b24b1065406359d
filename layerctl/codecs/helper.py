"""Options of `mount -t layerctl`: those of mount(8), and flags of `layerctl mount`. Pure.

A word `NAME=VALUE` stands for `--NAME VALUE`. A backslash before a comma or a backslash keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from layerctl.codecs.escape import backslash_escape, backslash_unescape
from layerctl.codecs.idmap import NONE
from layerctl.codecs.idmap import words as map_words
from layerctl.codecs.words import join_options, split_options, word
from layerctl.errors import RequestError
from layerctl.model import IdMap, Role, Stack
from layerctl.rules.options import TABLES, is_flag

#: The type of an fstab line that mount(8) passes to layerctl.
TYPE = "layerctl"
_ROLES = {Role.UPPER: "upper", Role.LOWER: "lower", Role.DATA: "data"}
_KNOWN = frozenset(option.name for table in TABLES.values() for option in table)


def encode(stack: Stack) -> list[str]:
    """Return the words for an overlay: maps and layers in an order that keeps what each applies to.

    Flags are not part of it.
    """
    words: list[str] = []
    current: IdMap | None = None
    for layer in stack.layers:
        if layer.map != current:
            current = layer.map
            words += [f"map={one}" for one in ([NONE] if current is None else map_words(current))]
        words.append(f"{_ROLES[layer.role]}={_escaped(layer.path)}")
    if stack.work is not None:
        words.append(f"work={_escaped(stack.work)}")
    return words + join_options(stack.options)


def _escaped(path: str) -> str:
    return backslash_escape(path, "\\,")


def arguments(options: str, flags: Mapping[str, bool | None], *, sloppy: bool = False) -> list[str]:
    """Return the arguments of `layerctl mount` for a string of options, in the same order.

    `flags` are the names of its options, each with whether it takes a value (None: perhaps). A
    name that is also one of the kernel's is the kernel's. `sloppy` drops words that nothing knows
    (mount -s). At a remount, fstab repeats all options, and only those of the kernel count. Raises
    RequestError for a missing or superfluous value.
    """
    words = split_options(options, escapes=True)
    remount = "remount" in words
    found: list[str] = []
    plain: list[str] = []
    for text in words:
        name, value = word(text)
        if name not in flags or name in _KNOWN or is_flag(text):
            if not sloppy or _is_known(name):
                plain.append(text)
            continue
        if remount:
            continue
        found += [*_options(plain), *_flag(name, value, takes=flags[name])]
        plain = []
    return [*found, *_options(plain)]


def _is_known(name: str) -> bool:
    return name in _KNOWN or is_flag(name) or name in ("remount", "bind") or ":" in name


def _options(plain: list[str]) -> Iterator[str]:
    if plain:
        yield from ("-o", ",".join(plain))


def _flag(name: str, value: str | None, *, takes: bool | None) -> Iterator[str]:
    if takes is (value is None):
        raise RequestError(
            "bad-option-value",
            f"option '{name}' needs a value" if takes else f"option '{name}' takes no value",
            hint=f"write it as: -o {name}=VALUE" if takes else f"write it as: -o {name}",
        )
    yield f"--{name}" if value is None else f"--{name}={backslash_unescape(value)}"

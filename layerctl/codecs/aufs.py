"""The options of aufs, its fields in mountinfo and its sysfs files. Pure.

An option string has no escapes: the path of a branch cannot contain `,` `:` or `=`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from layerctl.codecs.escape import octal_decode
from layerctl.codecs.words import Word, divide, join_options, split_options, word
from layerctl.errors import RequestError
from layerctl.model import Layer, Role, Stack
from layerctl.rules.branches import BranchChange, changed
from layerctl.rules.options import integer

#: Options that are also spelled with `:` instead of `=` (aufs.5).
_COLON_WORD = r"(?s)(br|add|ins|append|prepend|del|mod):(.*)"
_CHANGES = frozenset({"add", "ins", "append", "prepend", "del", "mod"})

#: Characters that no path in an option string can contain.
FORBIDDEN = ",:="


class Branch(NamedTuple):
    """One branch of a live aufs from sysfs; `id` is None if the kernel has no bridN."""

    position: int
    path: str
    permission: str
    id: int | None = None


class SysfsInstance(NamedTuple):
    """One directory /sys/fs/aufs/si_ID; `xino` is None without a xino file."""

    id: str
    xino: str | None
    branches: tuple[Branch, ...]


def parse_branch(text: str) -> Layer:
    """Parse `PATH[=PERM]` like aufs: the permission starts at the first `=`; if empty, it is ro."""
    path, equals, permission = text.partition("=")
    return Layer(path, Role.BRANCH, permission or "ro" if equals else None)


def parse(text: str, *, base: Stack | None = None, read_only: bool = False) -> Stack:
    """Read an option string as mount(2) does; `base` is what an earlier string said.

    `read_only` means that the mount will be read-only, even if the string does not say so. Raises
    RequestError for what aufs refuses or silently truncates (`a::b`).
    """
    stack = base or Stack("aufs", ())
    own, flags = divide(split_options(text, escapes=False))
    stack = stack._replace(flags=(*stack.flags, *flags))
    branches = _Branches(stack.layers)
    for text_word in own:
        name, value = _named(text_word)
        if name in ("br", "dirs"):
            branches.name(_branches(name, value))
        elif name in _CHANGES:
            branches.change(name, value)
        else:
            stack = stack._replace(options={**stack.options, name: value})
    return stack._replace(layers=branches.layers(read_only=read_only or stack.read_only))


def _named(text: str) -> Word:
    colon = re.fullmatch(_COLON_WORD, text)
    return (colon[1], colon[2]) if colon else word(text)


class _Branches:
    """The branches that the words of one option string define, in order.

    aufs chooses the default permission of a branch when it parses the word, from the position in
    that word alone: `rw` for the first, `ro` for others (au_opt_add in opts.c). Each `br` and
    `dirs` counts its branches from 0 (au_fsctx_parse_br in fsctx.c): `br=/a,prepend=/b,br=/c`
    results in b, c, a.
    """

    #: Placeholders for the default permission of the first branch, and of others.
    _FIRST, _OTHER = "rw by default", "ro by default"

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self._named = len(layers)
        self._made = tuple(
            self._settled(layer, first=index == 0) for index, layer in enumerate(layers)
        )

    def name(self, layers: tuple[Layer, ...]) -> None:
        """Add branches like `br`."""
        for layer in layers:
            self._apply(BranchChange("add", layer, self._named), f"br={layer.path}")
            self._named += 1

    def change(self, name: str, value: str | None) -> None:
        """Apply `add`, `append`, `prepend`, `del` or `mod`, each to one branch."""
        self._apply(branch_change(name, value), f"{name}={value}")

    def layers(self, *, read_only: bool) -> tuple[Layer, ...]:
        """Return the branches; defaults that do not follow from their places are spelled out."""
        found = []
        for index, layer in enumerate(self._made):
            permission = layer.permission
            if permission in (self._FIRST, self._OTHER):
                first = permission == self._FIRST
                spelled = "rw" if first and not read_only else "ro"
                permission = None if first == (index == 0) else spelled
            found.append(layer._replace(permission=permission))
        return tuple(found)

    def _settled(self, layer: Layer, *, first: bool) -> Layer:
        default = self._FIRST if first else self._OTHER
        return layer if layer.permission is not None else layer._replace(permission=default)

    def _apply(self, change: BranchChange, given: str) -> None:
        first = change.word == "prepend" or change.position == 0
        change = change._replace(branch=self._settled(change.branch, first=first))
        try:
            self._made = changed(self._made, change)
        except IndexError:
            there = len(self._made)
            raise RequestError(
                "aufs-br-syntax",
                f"'{given}' has no position for the branch",
                why=f"the format is INDEX:PATH[=PERM], with an index of at most {there} here"
                if given.startswith(("add", "ins"))
                else f"aufs gives it the place {change.position}, of which there are only {there} "
                "so far",
                hint=f"write add={there}:PATH to put it below all",
            ) from None
        except KeyError:
            raise RequestError(
                "aufs-br-syntax",
                f"'{given}' does not name a branch of this aufs",
                hint="name one of: " + ", ".join(layer.path for layer in self._made),
            ) from None


def _branches(name: str, value: str | None) -> tuple[Layer, ...]:
    if not value:
        raise RequestError(
            "aufs-br-syntax",
            f"the option '{name}' has no branches",
            hint=f"name the branches, topmost first: -o {name}=/top=rw:/below=ro",
        )
    names = value.split(":")
    if names[-1] == "":  # aufs ignores one trailing colon
        names.pop()
    if "" in names:
        raise RequestError(
            "aufs-br-syntax",
            f"'{name}={value}' contains an empty branch",
            why="aufs would silently drop every branch after it",
            hint="put one ':' between two branches",
        )
    return tuple(map(parse_branch, names))


def branch_change(name: str, value: str | None) -> BranchChange:
    """Parse an option that changes one branch. Raises RequestError for what aufs refuses."""
    if not value:
        raise RequestError(
            "aufs-br-syntax",
            f"the option '{name}' has no value",
            hint="name the branches with -b DIR=PERM",
        )
    if name in ("add", "ins"):
        number, _, branch = value.partition(":")
        place = integer(number)
        if place is None or place < 0 or not branch:
            raise RequestError(
                "aufs-br-syntax",
                f"'{name}={value}' has no position for the branch",
                why="the format is INDEX:PATH[=PERM]",
                hint=f"use {name}=0:PATH to add it at the top",
            )
        return BranchChange("add", parse_branch(branch), place)
    layer = Layer(value, Role.BRANCH) if name == "del" else parse_branch(value)
    if name == "mod" and layer.permission is None:
        raise RequestError(
            "aufs-br-syntax",
            f"'{name}={value}' names no permission",
            hint=f"write {name}={value}=rw, or another permission",
        )
    return BranchChange(name, layer)


def remount_words(text: str) -> tuple[str, tuple[BranchChange, ...]]:
    """Split the options of a remount into changes of branches, in order, and the others.

    Raises RequestError for what aufs refuses.
    """
    others: list[str] = []
    changes: list[BranchChange] = []
    for text_word in split_options(text, escapes=False):
        name, value = _named(text_word)
        if name not in _CHANGES:
            others.append(text_word)
        elif name in ("add", "ins"):
            changes.append(branch_change(name, value))
        else:
            several = [branch_change(name, part) for part in (value or "").split(":")]
            changes += reversed(several) if name == "prepend" else several
    return ",".join(others), tuple(changes)


def branch_word(layer: Layer) -> str:
    """Return `PATH[=PERM]`. Raises ValueError if an option string cannot contain the path."""
    if any(char in layer.path for char in FORBIDDEN):
        raise ValueError(layer.path)
    return layer.path if layer.permission is None else f"{layer.path}={layer.permission}"


def encode(stack: Stack) -> str:
    """Return the string for mount(2), `br=` (not `br:`) first; flags are not part of it.

    Raises ValueError if a path contains `,` `:` or `=`.
    """
    words = ["br=" + ":".join(map(branch_word, stack.layers))] if stack.layers else []
    return ",".join(words + join_options(stack.options))


def from_super_options(text: str) -> tuple[Stack, str | None]:
    """Parse the last field of mountinfo into the stack and the `si=` id (None if not shown).

    Only without sysfs does it end with the branches, as `br:/a=rw:/b=ro`.
    """
    head, shown, branches = text.partition(",br:")
    options: dict[str, str | None] = {}
    flags: list[str] = []
    for name, raw in map(word, head.split(",")):
        if raw is None and name in ("rw", "ro", "sync", "dirsync", "mand", "lazytime"):
            flags.append(name)
        else:
            options[name] = None if raw is None else octal_decode(raw)
    layers = tuple(_shown_branch(part) for part in branches.split(":")) if shown else ()
    identity = options.pop("si", None)
    return Stack("aufs", layers, None, options, tuple(flags)), identity


def _shown_branch(text: str) -> Layer:
    path, _, permission = text.rpartition("=")
    return Layer(octal_decode(path), Role.BRANCH, permission)


def sysfs_instance(identity: str, files: Mapping[str, str]) -> SysfsInstance:
    """Parse the files of one si_ID directory: `brN` is `PATH=PERM`, `bridN` a number, `xi_path`.

    Raises ValueError for a NUL, which no path contains.
    """
    branches = []
    for name, content in files.items():
        if "\0" in content or "\\000" in content:
            raise ValueError(f"{name} holds a NUL, which no path does")
        match = re.fullmatch(r"br(\d+)", name)
        if match:
            layer = _shown_branch(content.removesuffix("\n"))
            number = files.get(f"brid{match[1]}", "").strip()
            branches.append(
                Branch(
                    int(match[1]),
                    layer.path,
                    layer.permission or "",
                    int(number) if number.lstrip("-").isdecimal() else None,
                )
            )
    xino = octal_decode(files.get("xi_path", "").removesuffix("\n"))
    branches.sort(key=lambda branch: branch.position)
    return SysfsInstance(identity, xino or None, tuple(branches))

"""The effect of a remount on the flags of a mount, of its filesystem, and on options. Pure.

A mount has flags, and so has its filesystem; `ro` is one of both. mount(2) with MS_REMOUNT sets
both kinds, with MS_BIND only those of the mount (mount(2), "Remounting an existing mount"). It
always sets all of them, so a change of one must repeat the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from layerctl.model import MountEntry, Stack
from layerctl.rules.flags import in_effect, superblock_words
from layerctl.rules.overlay import redirect_mode, settings

#: Flags of a filesystem that a remount does not change (MS_RMT_MASK in linux/fs.h).
FIXED = frozenset({"dirsync"})
#: Flags that mountinfo does not show, so they cannot be read back.
UNSHOWN = frozenset({"silent", "iversion"})
_ATIMES = ("noatime", "relatime", "strictatime")


class Flags(NamedTuple):
    """The flags in effect, of the mount and of its filesystem."""

    mount: frozenset[str]
    superblock: frozenset[str]

    @property
    def text(self) -> str:
        """The flags as text."""
        both = self.mount | self.superblock
        return ",".join(["ro" if "ro" in both else "rw", *sorted(both - {"ro"})])


def shown(entry: MountEntry) -> Flags:
    """Return the flags that mountinfo shows; none of the atime flags means strictatime."""
    words = frozenset(in_effect(entry.mount_options))
    if not words & set(_ATIMES):
        words |= {"strictatime"}
    return Flags(words, frozenset(in_effect(entry.super_options.split(","))))


def wanted(now: Flags, words: Iterable[str], *, bind: bool) -> Flags:
    """Return the flags after `words` have changed those of `now`, in order.

    With `bind` only the mount changes. The default for access times is relatime, as in the kernel.
    """
    words = list(words)
    mount = set(in_effect([*now.mount, *words]))
    mount -= set(superblock_words(mount)) - {"ro"} | UNSHOWN
    if not mount & set(_ATIMES):
        mount.add("relatime")
    whole = set(in_effect([*now.superblock, *words]))
    whole &= {*superblock_words(whole), *UNSHOWN}
    return Flags(frozenset(mount), now.superblock if bind else frozenset(whole))


def in_effect_already(
    stack: Stack,
    name: str,
    value: str | None,
    parameters: Mapping[str, str],
    *,
    one_filesystem: bool = False,
) -> bool:
    """Tell whether an option is already in effect in a live overlay, as far as mountinfo shows.

    Options that mountinfo does not show have the module's default (ovl_show_options). If all layers
    are on one filesystem, xino has no effect and is never shown.
    """
    options = stack.options
    if name in ("volatile", "fsync"):
        mode = "volatile" if "volatile" in options else options.get("fsync", "auto")
        return mode == ("volatile" if name == "volatile" else value)
    if name in options:
        return options[name] == value
    effect = settings(stack, parameters)
    match name:
        case "redirect_dir":
            mode = redirect_mode(value, parameters)
            return mode == effect.redirect or (stack.upper is None and mode == "follow")
        case "metacopy":
            return (value == "on") is effect.metacopy
        case "index":
            return (value == "on") is effect.indexed
        case "nfs_export":
            return (value == "on") is effect.exported
        case "xino":
            return one_filesystem or value == ("auto" if effect.xino else "off")
    return value is not None and value == _DEFAULTS.get(name)


#: Defaults of options that have no module parameter.
_DEFAULTS = {"verity": "off", "uuid": "auto"}

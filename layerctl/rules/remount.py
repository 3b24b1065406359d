"""What a remount changes: flags of the mount, flags of the filesystem, options. Pure.

A mount has flags of its own, and its filesystem has others; `ro` is among both. mount(2) with
MS_REMOUNT sets both, with MS_BIND besides those of the mount alone (mount(2), "Remounting an
existing mount"); each time all of them, so that who changes one must name the others too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from layerctl.model import MountEntry, Stack
from layerctl.rules.flags import in_effect, superblock_words
from layerctl.rules.overlay import redirect_mode, settings

#: Flags of a filesystem that a remount leaves as they are (MS_RMT_MASK of linux/fs.h).
FIXED = frozenset({"dirsync"})
#: Flags that mountinfo does not show: whether they are in effect cannot be read back.
UNSHOWN = frozenset({"silent", "iversion"})
_ATIMES = ("noatime", "relatime", "strictatime")


class Flags(NamedTuple):
    """The flags in effect: those of the mount and those of its filesystem, without order."""

    mount: frozenset[str]
    superblock: frozenset[str]

    @property
    def text(self) -> str:
        """The flags as a word list for people."""
        both = self.mount | self.superblock
        return ",".join(["ro" if "ro" in both else "rw", *sorted(both - {"ro"})])


def shown(entry: MountEntry) -> Flags:
    """Return the flags that mountinfo shows; no kind of atime among them means strictatime."""
    words = frozenset(in_effect(entry.mount_options))
    if not words & set(_ATIMES):
        words |= {"strictatime"}
    return Flags(words, frozenset(in_effect(entry.super_options.split(","))))


def wanted(now: Flags, words: Iterable[str], *, bind: bool) -> Flags:
    """Return the flags as they shall be: `words` change those of `now`, in their order.

    With `bind` the mount alone is changed. What goes back to the default of access times gets
    relatime, as from the kernel.
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
    """Tell whether a live overlay has an option as it is asked for, as far as it is shown.

    What mountinfo does not show has its default (ovl_show_options), which is the module's; where
    all layers are on one filesystem, xino means nothing and is never shown.
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


#: Values of options without a parameter of the module, where nothing is shown.
_DEFAULTS = {"verity": "off", "uuid": "auto"}

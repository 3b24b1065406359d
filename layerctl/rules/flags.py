"""Flags of any mount, and their numbers for mount(2) and the newer calls. Pure.

Numbers from linux/mount.h. A word for the default clears the bit of its opposite; `defaults` itself
clears nothing, and options that let ordinary users mount imply others (mount(8)).
"""

from __future__ import annotations

from collections.abc import Iterable

from layerctl.rules.options import is_userspace

#: word: (bit of mount(2), attribute of fsmount(2), word of the superblock for fsconfig(2))
_SET: dict[str, tuple[int, int, str]] = {
    "ro": (1, 0x1, "ro"),
    "nosuid": (2, 0x2, ""),
    "nodev": (4, 0x4, ""),
    "noexec": (8, 0x8, ""),
    "sync": (16, 0, "sync"),
    "mand": (64, 0, "mand"),
    "dirsync": (128, 0, "dirsync"),
    "nosymfollow": (256, 0x200000, ""),
    "noatime": (1024, 0x10, ""),
    "nodiratime": (2048, 0x80, ""),
    "silent": (1 << 15, 0, ""),
    "relatime": (1 << 21, 0, ""),
    "iversion": (1 << 23, 0, ""),
    "strictatime": (1 << 24, 0x20, ""),
    "lazytime": (1 << 25, 0, "lazytime"),
}
_CLEAR = {
    "rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "async": "sync",
    "nomand": "mand", "symfollow": "nosymfollow", "atime": "noatime", "diratime": "nodiratime",
    "loud": "silent", "norelatime": "relatime", "noiversion": "iversion",
    "nostrictatime": "strictatime", "nolazytime": "lazytime",
}  # fmt: skip
_IMPLIED = {
    "user": ("nosuid", "nodev", "noexec"), "users": ("nosuid", "nodev", "noexec"),
    "owner": ("nosuid", "nodev"), "group": ("nosuid", "nodev"),
}  # fmt: skip
#: Only one of these is in effect: a later one replaces an earlier one.
_ATIMES = frozenset({"noatime", "relatime", "strictatime"})


def in_effect(words: Iterable[str]) -> list[str]:
    """Return the words that are in effect, after later ones have overridden earlier ones."""
    active: dict[str, None] = {}
    for word in words:
        for single in _IMPLIED.get(word, (word,)):
            if single in _CLEAR:
                active.pop(_CLEAR[single], None)
            elif single in _SET:
                if single in _ATIMES:
                    for other in _ATIMES:
                        active.pop(other, None)
                active[single] = None
    return list(active)


def spelled(words: Iterable[str]) -> list[str]:
    """Return equivalent words for mount(8), including those that it does not pass on."""
    words = list(words)
    active = in_effect(words)
    givers = [word for word in words if word in _IMPLIED]
    implied = {flag for word in givers for flag in _IMPLIED[word]}
    given_back = [word for word, flag in _CLEAR.items() if flag in implied - set(active)]
    others = [word for word in words if word not in givers and is_userspace(word)]
    return [*givers, *given_back, *active, *others]


def mount2_flags(words: Iterable[str]) -> int:
    """Return the MS_* bits for mount(2)."""
    return _union(_SET[word][0] for word in in_effect(words))


def attributes(words: Iterable[str]) -> int:
    """Return the MOUNT_ATTR_* bits for fsmount(2)."""
    return _union(_SET[word][1] for word in in_effect(words))


def superblock_words(words: Iterable[str]) -> list[str]:
    """Return the flags that fsconfig(2) sets on the superblock."""
    return [_SET[word][2] for word in in_effect(words) if _SET[word][2]]


def _union(bits: Iterable[int]) -> int:
    total = 0
    for bit in bits:
        total |= bit
    return total

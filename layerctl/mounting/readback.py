"""Compare the stack that was mounted with the one that was requested. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from layerctl.model import Layer, Stack
from layerctl.rules.flags import in_effect
from layerctl.rules.words import count

#: Options that overlay drops if a filesystem below does not support them. Only the kernel log shows
#: it ('falling back to', 'ignore').
_FALLS_BACK = frozenset(
    {
        "redirect_dir", "index", "nfs_export", "metacopy", "xino", "uuid", "verity", "volatile",
        "fsync",
    }
)  # fmt: skip
#: Values that mountinfo does not show, since they are the default.
_SILENT_VALUES = frozenset({"off", "auto", "follow", "none"})
#: Attributes that aufs drops if they are not compiled in or are obsolete.
_DROPPED_ATTRIBUTES = frozenset({"fhsm", "unpin", "moo"})


class Comparison(NamedTuple):
    """`differences` are reasons to undo the mount; `notes` are changes that the kernel may make."""

    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare(asked: Stack, shown: Stack, same: Callable[[str, str], bool]) -> Comparison:
    """Compare the stack asked for with the one that mountinfo (and sysfs) show.

    `same(asked path, shown path)` tells whether two names are one directory.
    """
    differences: list[str] = []
    notes: list[str] = []
    if len(asked.layers) != len(shown.layers):
        asked_for = count(len(asked.layers), "layer")
        differences.append(f"it has {len(shown.layers)} instead of {asked_for}")
    for index, (one, other) in enumerate(zip(asked.layers, shown.layers, strict=False)):
        if one.role is not other.role:
            differences.append(f"layer {index} became {other.role} instead of {one.role}")
        elif not same(one.path, other.path):
            differences.append(f"layer {index} is {other.path} instead of {one.path}")
        else:
            _permissions(one, other, differences, notes)
    if (
        asked.work is not None
        and asked.upper is not None
        and not (shown.work is not None and same(asked.work, shown.work))
    ):
        differences.append(f"the work directory is {shown.work} instead of {asked.work}")
    _mode(asked, shown, differences, notes)
    _options(asked, shown, differences, notes)
    return Comparison(tuple(differences), tuple(notes))


def _permissions(one: Layer, other: Layer, differences: list[str], notes: list[str]) -> None:
    if one.permission is None or other.permission is None:
        return  # a default is the kernel's to choose: 'rr' for a natively read-only filesystem
    base, *attributes = one.permission.split("+")
    shown_base, *shown_attributes = other.permission.split("+")
    lost = set(attributes) - set(shown_attributes)
    if base != shown_base or set(shown_attributes) - set(attributes) or lost - _DROPPED_ATTRIBUTES:
        differences.append(
            f"branch {one.path} has the permission {other.permission} instead of {one.permission}"
        )
    elif lost:
        words = ", ".join(sorted("+" + name for name in lost))
        notes.append(f"branch {one.path}: this aufs ignores {words}")


def _mode(asked: Stack, shown: Stack, differences: list[str], notes: list[str]) -> None:
    writable = asked.fstype == "aufs" or asked.upper is not None
    if asked.read_only and not shown.read_only:
        differences.append("it was mounted writable instead of read-only")
    elif writable and shown.read_only and not asked.read_only:
        notes.append(
            "the kernel mounted it read-only, because it could not write to the work directory "
            "(see layerctl doctor TARGET)"
        )
    for word in in_effect(asked.flags):
        if word in ("nosuid", "nodev", "noexec", "nosymfollow") and word not in shown.flags:
            differences.append(f"the flag {word} is not in effect")


def _options(asked: Stack, shown: Stack, differences: list[str], notes: list[str]) -> None:
    if asked.fstype != "overlay":
        if "noxino" in asked.options and "noxino" not in shown.options:
            differences.append("noxino is not in effect")
        return
    effect = dict(shown.options)
    if effect.get("fsync") == "volatile":  # how newer kernels show `volatile`
        effect["volatile"] = None
    if "volatile" in effect:
        effect.setdefault("fsync", "volatile")
    for name, value in asked.options.items():
        if name in effect and effect[name] == value:
            continue
        if name not in effect and value in _SILENT_VALUES:
            continue
        if name in _FALLS_BACK:
            word = name if value is None else f"{name}={value}"
            now = f"{name}={effect[name]} is in effect" if name in effect else "it is not in effect"
            notes.append(f"{word} was requested, but {now}")
        elif name in ("userxattr", "default_permissions") and name not in effect:
            differences.append(f"the option {name} is not in effect")

"""Checks of a live mount, and their table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from layerctl.diagnosing.checks import layers, stacking, storage
from layerctl.diagnosing.checks.check import ALL, FORBIDDEN_ROOT, OVERLAY, Check, When
from layerctl.diagnosing.checks.layers import roles
from layerctl.diagnosing.clue import Clue, Raw
from layerctl.diagnosing.commands import mount_command
from layerctl.kernel.facts import Facts
from layerctl.kernel.facts.ignored_markers import IgnoredMarkers
from layerctl.kernel.holders import Holders
from layerctl.kernel.mounts import Mounted
from layerctl.model import MountEntry, Severity, Stack
from layerctl.rules.overlay import own_place, settings
from layerctl.rules.words import count


class Live(NamedTuple):
    """A live mount and the facts about it.

    `covers` are layers covered by mounts, with those mounts.
    """

    mounted: Mounted
    stack: Stack
    facts: Facts
    holders: Holders
    markers: IgnoredMarkers
    covers: tuple[tuple[str, MountEntry], ...] = ()

    @property
    def target(self) -> str:
        """Where it is mounted."""
        return self.mounted.entry.target

    def values(self, **changed: str | None) -> dict[str, str]:
        """Return the values for commands; `changed` are options to mount with."""
        stack = self.stack._replace(options={**self.stack.options, **changed})
        values: dict[str, str] = {
            "target": self.target,
            "command": Raw(mount_command(stack, self.target)),
        }
        if stack.upper is not None:
            values["upper"] = stack.upper
        if stack.work is not None:
            values["work"] = stack.work
        return values


def read_only(live: Live) -> Iterator[Clue]:
    """Find an upper layer that is not written to although the mount was not requested read-only."""
    stack, entry = live.stack, live.mounted.entry
    # a mount that was asked to be read-only has both flags; where the kernel fell back, one
    if "ro" in entry.super_options.split(",") and "ro" not in entry.mount_options:
        seen = [f"{live.target} has the upper layer {stack.upper} and is read-only"]
        upper = live.facts.of(stack.upper or "")
        if storage.is_read_only(upper):
            seen.append(f"{stack.upper} itself is on a read-only mount")
        yield Clue("mounted-read-only", tuple(seen), live.values())


def layers_there(live: Live) -> Iterator[Clue]:
    """Find layers that are no longer at their paths."""
    for role, path in roles(live.stack):
        place = live.facts.of(path)
        if place.error is not None and path.startswith("/") and own_place(path) is None:
            seen = (f"{role} {path}: {os.strerror(place.error)}",)
            yield Clue("layer-gone", seen, {"path": path})


def covered(live: Live) -> Iterator[Clue]:
    """Find mounts that cover a layer directory."""
    for path, cover in live.covers:
        seen = (f"{path} is covered by the {cover.fstype or 'root'} mount on {cover.target}",)
        yield Clue("layer-covered", seen, {"path": path})


def volatile(live: Live) -> Iterator[Clue]:
    """Find an upper layer that a crash makes unusable."""
    options = live.stack.options
    if "volatile" in options or options.get("fsync") == "volatile":
        options = {k: v for k, v in options.items() if k not in ("volatile", "fsync")}
        values = live._replace(stack=live.stack._replace(options=options)).values()
        yield Clue("volatile-upper", (f"{live.target} is mounted volatile",), values)


def fell_back(live: Live) -> Iterator[Clue]:
    """Find features that are off because the upper layer lacks attributes."""
    options = live.stack.options
    if options.get("uuid") == "null" and options.get("redirect_dir") == "nofollow":
        seen = (
            "the mount shows uuid=null and redirect_dir=nofollow: its upper layer cannot store "
            "attributes",
        )
        inside = live.facts.caller.in_user_namespace and "userxattr" not in options
        cause = "userns-needs-userxattr" if inside else "upper-fs-no-xattr"
        kept = {k: v for k, v in options.items() if k not in ("uuid", "redirect_dir")}
        bare = live._replace(stack=live.stack._replace(options=kept))
        values = bare.values(userxattr=None) if inside else bare.values()
        yield Clue(cause, seen, values, Severity.WARNING)


def renames(live: Live) -> Iterator[Clue]:
    """Find that rename(2) of a lower directory fails with EXDEV."""
    value = live.stack.options.get("redirect_dir")
    if settings(live.stack, live.facts.overlay.parameters).redirect != "on":
        shown = "off, the kernel's default" if value is None else value
        seen = (f"redirect_dir is {shown}",)
        yield Clue(
            "redirect-dir-off-rename-exdev", seen, live.values(redirect_dir="on"), Severity.INFO
        )


def hard_links(live: Live) -> Iterator[Clue]:
    """Find that a change of a lower file breaks its hard links."""
    if not settings(live.stack, live.facts.overlay.parameters).indexed:
        yield Clue(
            "hardlink-broken-across-overlay",
            ("index is off",),
            live.values(index="on"),
            Severity.INFO,
        )


def inode_numbers(live: Live) -> Iterator[Clue]:
    """Find that inode numbers are not unique, or change."""
    mounts = [live.facts.of(layer.path).mount for layer in live.stack.layers]
    devices = {entry.device for entry in mounts if entry is not None}
    if len(devices) > 1 and live.stack.options.get("xino") not in ("on", "auto"):
        seen = (f"the layers are on {len(devices)} filesystems and xino is off",)
        yield Clue("xino-off-inode-instability", seen, live.values(xino="on"), Severity.INFO)


def space(live: Live) -> Iterator[Clue]:
    """Find a lack of free space or inodes for the upper layer."""
    yield from storage.space(live.stack, live.facts)


def submounts(live: Live) -> Iterator[Clue]:
    """Find filesystems that are mounted inside a layer, apart from the mount itself."""
    below = live.facts._replace(
        mounts=tuple(
            entry
            for entry in live.facts.mounts
            if entry.target != live.target and not entry.target.startswith(f"{live.target}/")
        )
    )
    yield from stacking.submounts(live.stack, below, mounted=True)


def markers(live: Live) -> Iterator[Clue]:
    """Find markers in the layers that the mount ignores."""
    for path, example in live.markers.without_effect:
        seen = f"{path}: {example}"
        yield Clue("markers-without-effect", (seen,), {"path": path, **live.values()})
    if live.markers.stopped:
        seen = f"checked only the first {live.markers.looked_at} names of the upper layer"
        fix = "doctor always stops there; this command checks all of them:"
        yield Clue("fact-unreadable", (seen,), live.values(), fix=fix, commands=(_LIST_MARKERS,))


#: What lists every marker of an upper layer.
_LIST_MARKERS = "getfattr -Rhd -m overlay {upper}"


def aufs_whiteouts(live: Live) -> Iterator[Clue]:
    """Find whiteouts of aufs in the layers of an overlay, among their first names."""
    facts = live.facts._replace(overlay=live.facts.overlay._replace(foreign=live.markers.foreign))
    yield from layers.aufs_whiteouts(live.stack, facts)


def held(live: Live) -> Iterator[Clue]:
    """Find copies of the mount in other mount namespaces."""
    if live.holders.elsewhere:
        seen = tuple(
            f"also mounted on {target} in the mount namespace of {name} (process {pid})"
            for pid, name, target in live.holders.elsewhere[:5]
        )
        yield Clue("leaked-mount-busy", seen, live.values(), Severity.INFO)
    unseen = live.holders.unseen
    if unseen:  # a note for root too, since the mount itself is known
        fix = FORBIDDEN_ROOT if live.facts.caller.is_root else None
        hidden = f"the open files and directories of {count(unseen, 'process')}"
        yield Clue("fact-unreadable", (hidden,), severity=Severity.INFO, fix=fix)


_WRITABLE = (When.UPPER, When.WRITABLE)

CHECKS: tuple[Check[[Live]], ...] = (
    Check(
        "live.read-only", "The mount has not fallen back to read-only",
        read_only, OVERLAY, (When.UPPER,),
    ),
    Check("live.layers-there", "Every layer is still at its path", layers_there, ALL),
    Check("live.covered", "No mount covers a layer", covered, ALL),
    Check("live.volatile", "The upper layer survives a crash", volatile, ALL, (When.UPPER,)),
    Check(
        "live.fell-back", "The upper layer stores all of overlay's attributes",
        fell_back, OVERLAY, (When.UPPER,),
    ),
    Check(
        "live.space", "The upper filesystem has free space and inodes",
        space, OVERLAY, (When.UPPER,),
    ),
    Check("live.submounts", "No filesystem is mounted inside a layer", submounts, OVERLAY),
    Check("live.marks", "No markers without effect were found in the layers", markers, ALL),
    Check(
        "live.foreign-marks", "No whiteouts of aufs were found in the layers",
        aufs_whiteouts, OVERLAY,
    ),
    Check("live.renames", "Lower directories can be renamed", renames, OVERLAY, _WRITABLE),
    Check("live.hard-links", "Lower files keep their hard links", hard_links, OVERLAY, _WRITABLE),
    Check(
        "live.inode-numbers", "Inode numbers are unique and persistent", inode_numbers, OVERLAY
    ),
    Check("live.held", "No other mount namespace has a copy of the mount", held, ALL),
)  # fmt: skip

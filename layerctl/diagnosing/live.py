"""`doctor TARGET`: what is wrong with a mount that is there, and what of it will bite later."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from layerctl.diagnosing.checks import layers, stacking, storage
from layerctl.diagnosing.checks.layers import roles
from layerctl.diagnosing.clue import Clue, Raw
from layerctl.diagnosing.commands import mount_command
from layerctl.diagnosing.preflight import FORBIDDEN_ROOT, Checked, run_checks
from layerctl.kernel import holders, live_layers, uncover
from layerctl.kernel.facts import Facts, ignored_markers
from layerctl.kernel.facts.gather import gather
from layerctl.kernel.facts.overlay import ask_for_room
from layerctl.kernel.mounts import Mounted
from layerctl.model import Finding, MountEntry, Severity, Stack
from layerctl.rules.overlay import settings
from layerctl.rules.words import count


class Live(NamedTuple):
    """A live mount and what was gathered about it."""

    mounted: Mounted
    stack: Stack
    facts: Facts
    holders: holders.Holders
    marks: ignored_markers.IgnoredMarkers
    covers: tuple[tuple[str, MountEntry], ...] = ()

    @property
    def target(self) -> str:
        """Where it is mounted."""
        return self.mounted.entry.target

    def values(self, **changed: str | None) -> dict[str, str]:
        """Return what fills the commands; `changed` are options to mount with."""
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


Report = tuple[list[Finding], list[Checked]]


def examine(mounted: Mounted, stack: Stack, *, probe: bool = False) -> Report:
    """Return the findings of a live mount, gravest first, and what was looked at.

    With `probe` a full upper filesystem is asked for room, by a file that has no name. Where a
    mount covers a layer, it is looked at from a private copy of the mount namespace in which that
    mount is gone. Raises OSError where it cannot be.
    """
    held = holders.of(mounted.entry)
    paths = [path for _, path in roles(stack) if path.startswith("/")]
    covers, targets = live_layers.covers(mounted.entry, paths)

    def look() -> Report:
        return _examine(mounted, stack, held, tuple(covers), probe=probe)

    return uncover.beneath(targets, look) if targets else look()


def _examine(
    mounted: Mounted,
    stack: Stack,
    held: holders.Holders,
    covers: tuple[tuple[str, MountEntry], ...],
    *,
    probe: bool,
) -> Report:
    facts = gather(stack, None)
    if probe and _writes(stack):
        facts = ask_for_room(stack, facts)
    marks = ignored_markers.find(stack)
    live = Live(mounted, stack, facts, held, marks, covers)
    calls = [(check, (live,)) for check in CHECKS]
    return run_checks(calls, facts.unknown, root=facts.caller.is_root)


def read_only(live: Live) -> Iterator[Clue]:
    """The mount is writable if it has a writable layer."""
    stack, entry = live.stack, live.mounted.entry
    if entry.fstype != "overlay" or stack.upper is None:
        return
    # who asks for a read-only mount gets both flags; the kernel's own falling back sets one
    if "ro" in entry.super_options.split(",") and "ro" not in entry.mount_options:
        seen = [f"{live.target} has the upper layer {stack.upper} and is read-only"]
        upper = live.facts.of(stack.upper)
        if storage.is_read_only(upper):
            seen.append(f"{stack.upper} itself is on a read-only mount")
        yield Clue("mounted-read-only", tuple(seen), live.values())


def layers_there(live: Live) -> Iterator[Clue]:
    """Every layer is still at its path."""
    for role, path in roles(live.stack):
        place = live.facts.of(path)
        if place.error is not None and path.startswith("/"):
            seen = (f"{role} {path}: {os.strerror(place.error)}",)
            yield Clue("layer-gone", seen, {"path": path})


def covered(live: Live) -> Iterator[Clue]:
    """No mount covers a layer directory."""
    for path, cover in live.covers:
        seen = (f"{path} is covered by the {cover.fstype or 'root'} mount on {cover.target}",)
        yield Clue("layer-covered", seen, {"path": path})


def volatile(live: Live) -> Iterator[Clue]:
    """The upper layer survives a crash."""
    options = live.stack.options
    if "volatile" in options or options.get("fsync") == "volatile":
        options = {k: v for k, v in options.items() if k not in ("volatile", "fsync")}
        values = live._replace(stack=live.stack._replace(options=options)).values()
        yield Clue("volatile-upper", (f"{live.target} is mounted volatile",), values)


def fell_back(live: Live) -> Iterator[Clue]:
    """No feature is off because the upper layer lacks attributes."""
    options = live.stack.options
    if live.mounted.entry.fstype != "overlay" or live.stack.upper is None:
        return
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
    """Lower directories can be renamed (redirect_dir)."""
    if not _writable_overlay(live):
        return
    value = live.stack.options.get("redirect_dir")
    if settings(live.stack, live.facts.overlay.parameters).redirect != "on":
        shown = "off, the kernel's default" if value is None else value
        seen = (f"redirect_dir is {shown}",)
        yield Clue(
            "redirect-dir-off-rename-exdev", seen, live.values(redirect_dir="on"), Severity.INFO
        )


def hard_links(live: Live) -> Iterator[Clue]:
    """Hard links of lower files are preserved (index)."""
    if not _writable_overlay(live):
        return
    if not settings(live.stack, live.facts.overlay.parameters).indexed:
        yield Clue(
            "hardlink-broken-across-overlay",
            ("index is off",),
            live.values(index="on"),
            Severity.INFO,
        )


def inode_numbers(live: Live) -> Iterator[Clue]:
    """Inode numbers are unique and persistent (xino, or one filesystem)."""
    if live.mounted.entry.fstype != "overlay":
        return
    mounts = [live.facts.of(layer.path).mount for layer in live.stack.layers]
    devices = {entry.device for entry in mounts if entry is not None}
    if len(devices) > 1 and live.stack.options.get("xino") not in ("on", "auto"):
        seen = (f"the layers are on {len(devices)} filesystems and xino is off",)
        yield Clue("xino-off-inode-instability", seen, live.values(xino="on"), Severity.INFO)


def _writable_overlay(live: Live) -> bool:
    return _writes(live.stack)


def _writes(stack: Stack) -> bool:
    return stack.fstype == "overlay" and stack.upper is not None and not stack.read_only


def space(live: Live) -> Iterator[Clue]:
    """The upper filesystem has free space and inodes."""
    yield from storage.space(live.stack, live.facts)


def submounts(live: Live) -> Iterator[Clue]:
    """No filesystem is mounted inside a lower layer."""
    below = live.facts._replace(
        mounts=tuple(
            entry
            for entry in live.facts.mounts
            if entry.target != live.target and not entry.target.startswith(f"{live.target}/")
        )
    )
    yield from stacking.submounts(live.stack, below, mounted=True)


def marks(live: Live) -> Iterator[Clue]:
    """The markers in the layers take effect with these options."""
    for path, example in live.marks.without_effect:
        seen = f"{path}: {example}"
        yield Clue("markers-without-effect", (seen,), {"path": path, **live.values()})
    if live.marks.stopped:
        seen = f"checked only the first {live.marks.looked_at} names of the upper layer"
        fix = "doctor always stops there; this command checks all of them:"
        yield Clue("fact-unreadable", (seen,), live.values(), fix=fix, commands=(_FIND_MARKS,))


#: What shows every mark of an upper layer.
_FIND_MARKS = "getfattr -Rhd -m overlay {upper}"


def foreign_marks(live: Live) -> Iterator[Clue]:
    """No layer of an overlay has aufs whiteouts (among its first names)."""
    facts = live.facts._replace(overlay=live.facts.overlay._replace(foreign=live.marks.foreign))
    yield from layers.foreign_marks(live.stack, facts)


def held(live: Live) -> Iterator[Clue]:
    """No other mount namespace has a copy of the mount."""
    if live.holders.elsewhere:
        seen = tuple(
            f"also mounted on {target} in the mount namespace of {name} (process {pid})"
            for pid, name, target in live.holders.elsewhere[:5]
        )
        yield Clue("leaked-mount-busy", seen, live.values(), Severity.INFO)
    unseen = live.holders.unseen
    if unseen:  # a note for root too: what the mount itself is like is known all the same
        holds = "holds" if unseen == 1 else "hold"
        fix = FORBIDDEN_ROOT if live.facts.caller.is_root else None
        told = f"what {count(unseen, 'process')} {holds}"
        yield Clue("fact-unreadable", (told,), severity=Severity.INFO, fix=fix)


CHECKS: tuple[Callable[[Live], Iterator[Clue]], ...] = (
    read_only,
    layers_there,
    covered,
    volatile,
    fell_back,
    space,
    submounts,
    marks,
    foreign_marks,
    renames,
    hard_links,
    inode_numbers,
    held,
)

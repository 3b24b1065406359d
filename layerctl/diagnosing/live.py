"""`doctor TARGET`: what is wrong with a mount that is there, and what of it will cause trouble."""

from __future__ import annotations

from layerctl.diagnosing import engines
from layerctl.diagnosing.checks.check import Report, make
from layerctl.diagnosing.checks.layers import roles
from layerctl.diagnosing.checks.mounted import CHECKS, Live
from layerctl.kernel import containers, holders, live_layers, uncover
from layerctl.kernel.facts import ignored_markers
from layerctl.kernel.facts.gather import gather
from layerctl.kernel.facts.overlay import ask_for_room
from layerctl.kernel.mounts import Mounted
from layerctl.model import MountEntry, Stack
from layerctl.rules.engines import Owner, of_mount


def examine(mounted: Mounted, stack: Stack, *, probe: bool = False) -> Report:
    """Return the findings of a live mount, worst first, and what was looked at.

    With `probe` a full upper filesystem is asked for room, by a file that has no name. Where a
    mount covers a layer, it is looked at from a private copy of the mount namespace in which that
    mount is gone. Raises OSError if it cannot be.
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
    if probe:
        facts = ask_for_room(stack, facts)
    live = Live(mounted, stack, facts, held, ignored_markers.find(stack), covers)
    checks = [check for check in CHECKS if check.applies(stack, facts)]
    report = make(checks, facts.unknown, facts.caller.is_root, live)
    owner = _owner(mounted)
    if owner is None:
        return report
    target = mounted.entry.target
    found = [engines.fixed(one, owner, target) for one in report.findings]
    return report._replace(findings=found)


def _owner(mounted: Mounted) -> Owner | None:
    """Return the engine whose mount it is, with the container's name where the engine has one."""
    layers = tuple(layer.path for layer in mounted.stack.layers)
    found = of_mount(mounted.entry.target, layers)
    container = None if found is None else containers.of(mounted)
    if found is None or container is None:
        return found
    named = container.name if found.engine.name in ("docker", "podman") else None
    return found._replace(container=named or container.id)

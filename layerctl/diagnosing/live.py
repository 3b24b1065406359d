"""`doctor TARGET`: what is wrong with a mount that is there, and what of it will cause trouble."""

from __future__ import annotations

from layerctl.diagnosing import engines
from layerctl.diagnosing.checks.check import Report, make
from layerctl.diagnosing.checks.layers import roles
from layerctl.diagnosing.checks.mounted import CHECKS, Live
from layerctl.kernel import holders, live_layers, uncover
from layerctl.kernel.facts import ignored_markers
from layerctl.kernel.facts.gather import gather
from layerctl.kernel.facts.overlay import ask_for_room, storage
from layerctl.kernel.mounts import Mounted
from layerctl.model import MountEntry, Stack
from layerctl.rules.engines import of_mount
from layerctl.rules.overlay import own_place


def examine(mounted: Mounted, stack: Stack, container: str = "", *, probe: bool = False) -> Report:
    """Return the findings of a live mount, worst first, and the checks that were run.

    `container` is what its engine calls the container, where it is the root of one. With `probe` a
    full upper filesystem is asked for room, by a file that has no name. Where a mount covers a
    layer, the layer is examined from a private copy of the mount namespace without that mount.
    Raises OSError if that is not possible.
    """
    held = holders.of(mounted.entry)
    paths = [path for _, path in roles(stack) if path.startswith("/")]
    covers, targets = live_layers.covers(mounted.entry, paths)

    def look() -> Report:
        return _examine(mounted, stack, held, tuple(covers), probe=probe)

    report = uncover.beneath(targets, look) if targets else look()
    target = mounted.entry.target
    owner = of_mount(target, tuple(layer.path for layer in mounted.stack.layers))
    if owner is None:
        return report
    owner = owner._replace(container=container or owner.container)
    found = [engines.fixed(one, owner, target) for one in report.findings]
    return report._replace(findings=found)


def _examine(
    mounted: Mounted,
    stack: Stack,
    held: holders.Holders,
    covers: tuple[tuple[str, MountEntry], ...],
    *,
    probe: bool,
) -> Report:
    facts = gather(stack, None)
    if stack.upper is not None and own_place(stack.upper):
        left = storage(mounted.entry.target)  # that of the upper layer, which nothing else reaches
        facts = facts._replace(overlay=facts.overlay._replace(storage=left))
    if probe:
        facts = ask_for_room(stack, facts)
    live = Live(mounted, stack, facts, held, ignored_markers.find(stack), covers)
    checks = [check for check in CHECKS if check.applies(stack, facts)]
    return make(checks, facts.unknown, facts.caller.is_root, live)

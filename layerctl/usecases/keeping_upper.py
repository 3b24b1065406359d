"""Replace a writable overlay by one with the same upper layer, which is in one overlay at a time.

The same layers are mounted read-only in between, the upper layer as a lower one, so that no name is
missing; only when the old overlay is gone, the upper layer gets its new one.
"""

from __future__ import annotations

from layerctl.errors import LayerctlError, RefusedError
from layerctl.kernel import holders
from layerctl.kernel.mounts import Mounted
from layerctl.kernel.process import signals_wait
from layerctl.model import Role, Stack
from layerctl.mounting.plan import Plan
from layerctl.mounting.prepare import Prepared, Swap
from layerctl.mounting.swap import can_mount_beneath
from layerctl.rules.words import shell
from layerctl.usecases import mount
from layerctl.usecases.mount import Report
from layerctl.usecases.replacing import OF_UPPER


def carry_out(prepared: Prepared, api: str | None, swap: Swap, report: Report) -> None:
    """Mount, verify and `report`, like `mount.carry_out`.

    Raises what that does; then the old stack is mounted again, or the error says that it is
    read-only.
    """
    mount.demand_possible(prepared)
    if not can_mount_beneath():
        raise RefusedError(
            "upper-in-use-by-replaced",
            f"the upper layer of {prepared.target} cannot be the upper layer of its replacement",
            why="this kernel cannot mount beneath another mount (Linux 6.5), so the old one would "
            "stay",
            hint="name a new upper layer with -u DIR or --tmpfs",
        )
    _demand_alone(swap.old, but_peers=True)
    between: list[Mounted] = []

    def remember(_: Plan | None, mounted: Mounted, __: tuple[str, ...]) -> None:
        between.append(mounted)

    # Where the target leads changes on the way; each step sees that it is the mount it expects.
    prepared = prepared._replace(facts=prepared.facts._replace(target=None))
    bare = prepared._replace(make=(), notes=(), findings=(), default_work=None)
    with signals_wait():
        bridge = bare._replace(stack=_as_lower(prepared.stack), swap=swap)
        mount.carry_out(bridge, api, remember)
        ours = Swap(between[0], lazy=False, ours=True)
        try:
            _demand_alone(swap.old, but_peers=False)
            mount.carry_out(prepared._replace(swap=ours), api, report)
        except LayerctlError as error:
            if error.id != "leaked-mount-busy":  # else the new one is there, beneath the other
                _restore(bare._replace(stack=_absolute(swap.old, prepared), swap=ours), error)
            raise


def _as_lower(stack: Stack) -> Stack:
    """Return the stack read-only, its upper layer as the topmost lower one."""
    layers = tuple(
        one._replace(role=Role.LOWER) if one.role is Role.UPPER else one for one in stack.layers
    )
    options = {name: text for name, text in stack.options.items() if name not in OF_UPPER}
    return stack._replace(layers=layers, work=None, options=options, flags=(*stack.flags, "ro"))


def _demand_alone(old: Mounted, *, but_peers: bool) -> None:
    """Raise RefusedError if the filesystem of a mount is mounted anywhere else.

    `but_peers` leaves out those that are unmounted with it.
    """
    entry = old.entry
    others = holders.also_mounted(entry, but_peers=but_peers)
    if others:
        raise RefusedError(
            "upper-in-use-by-replaced",
            f"the overlay on {entry.target} is also mounted {others[0]}",
            why="its upper layer stays in use there, and in two overlays it is undefined",
            hint="unmount it there, or name a new upper layer with -u DIR or --tmpfs",
            commands=(shell("layerctl", "mount", "--replace", "-u", "DIR", entry.target),),
            details=tuple(f"also mounted: {one}" for one in others),
        )


def _absolute(old: Mounted, prepared: Prepared) -> Stack:
    """Return the old stack, its paths as they are in the new one, which has all of them."""
    known = {layer.path for layer in prepared.stack.layers} | {prepared.stack.work}
    named = all(layer.path in known for layer in old.stack.layers)
    return old.stack if named else prepared.stack


def _restore(prepared: Prepared, error: LayerctlError) -> None:
    """Mount the old stack again in the place of the read-only one, or add to the error."""
    try:
        mount.carry_out(prepared, None, lambda *_: None)
    except LayerctlError as other:
        error.details += (
            f"{prepared.target} is read-only now: {other.message}",
            "its layers are the same; unmount it, and mount it again",
        )

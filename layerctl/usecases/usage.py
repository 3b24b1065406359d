"""What stacks take up: one of them, or all that are mounted, with what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.tally import LayerUsage, StackUsage, Sums
from layerctl.inspecting.usage import measure
from layerctl.kernel import beneath, layers, mounts
from layerctl.kernel.beneath import Identity
from layerctl.kernel.mounts import Mounted

#: Which mounts use a layer, by the identity of its directory.
Users = dict[Identity, list[str]]


def mounted_once() -> list[Mounted]:
    """Return every layered mount; of several mounts of one filesystem the first."""
    return list({one.entry.device: one for one in reversed(mounts.layered())}.values())[::-1]


def users_of_layers() -> Users:
    """Return which mounts use each layer that the caller can look at."""
    users: Users = {}
    for mounted in mounted_once():
        for layer in mounted.stack.layers:
            identity = layers.identity(layer.path)
            if identity is not None:
                users.setdefault(identity, []).append(mounted.entry.target)
    return users


def of_stack(view: Opened, target: str | None, users: Users, top: int) -> StackUsage:
    """Measure one opened stack. Raises OSError where two readings of its layers differ."""
    tally = measure(view, top=top).tally
    measured = []
    for index, (layer, sums) in enumerate(zip(view.stack.layers, tally.by_layer(), strict=True)):
        identity = beneath.identity(view.resolver.roots[index])
        others = tuple(one for one in users.get(identity, ()) if one != target)
        measured.append(
            LayerUsage(index, view.layers[index], layer.role.value, sums, identity, others)
        )
    return StackUsage(
        target, view.stack.fstype, tuple(measured), tally.total(), tuple(tally.largest())
    )


def total(stacks: Sequence[StackUsage]) -> Sums:
    """Return what several stacks take up: a layer of several of them counts once.

    What of such a layer is hidden in all of them is hidden, by the least that any of them hides.
    """
    if len(stacks) == 1:
        return stacks[0].total
    least: dict[Identity, Sums] = {}
    for layer in (layer for stack in stacks for layer in stack.layers):
        known = least.get(layer.identity)
        if known is None or layer.sums.hidden < known.hidden:
            least[layer.identity] = layer.sums
    return _sum(least.values())


def _sum(several: Iterable[Sums]) -> Sums:
    return Sums(*map(sum, zip(Sums(), *several, strict=True)))

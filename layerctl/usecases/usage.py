"""The disk usage of one stack, or of all mounted stacks, with what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layerctl.inspecting.opening import Opened, opened
from layerctl.inspecting.tally import LayerUsage, StackUsage, Sums
from layerctl.inspecting.usage import measure
from layerctl.kernel import beneath, host, layers, mounts
from layerctl.kernel.beneath import Identity
from layerctl.kernel.mounts import Mounted
from layerctl.model import MountEntry, Stack

#: Which mounts use a layer, by the identity of its directory.
Users = dict[Identity, list[str]]


def mounted_once() -> list[Mounted]:
    """Return every layered mount; only the first of several mounts of one filesystem."""
    return list({one.entry.device: one for one in reversed(mounts.layered())}.values())[::-1]


def users_of_layers() -> Users:
    """Return which mounts use each layer that the caller can access."""
    users: Users = {}
    for mounted in mounted_once():
        for layer in mounted.stack.layers:
            identity = layers.identity(layer.path)
            if identity is not None:
                users.setdefault(identity, []).append(mounted.entry.target)
    return users


def of_stack(view: Opened, target: str | None, users: Users, top: int) -> StackUsage:
    """Measure an opened stack. Raises OSError if its layers change meanwhile."""
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


def sizes(stack: Stack, mount: MountEntry | None, most: int) -> list[tuple[int, bool]]:
    """Return the bytes that each layer takes up, and whether that is all of it.

    Counting a layer stops at `most` entries. Raises LayerctlError where layers cannot be opened.
    """
    with opened(stack, mount) as view:
        return [host.tree_size(".", dir_fd=fd, most=most) for fd in view.resolver.roots]


def total(stacks: Sequence[StackUsage]) -> Sums:
    """Return the disk usage of several stacks; a layer of several of them counts once.

    Of such a layer, the smallest amount that any of the stacks hides counts as hidden.
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

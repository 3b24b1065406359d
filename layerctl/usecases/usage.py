"""The disk usage of one stack, or of all mounted stacks, with what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from layerctl.inspecting.opening import Opened, opened
from layerctl.inspecting.tally import LayerUsage, StackUsage, Sums
from layerctl.inspecting.usage import measure
from layerctl.kernel import beneath, host, layers, mounts
from layerctl.kernel.beneath import Identity
from layerctl.kernel.mounts import Mounted
from layerctl.model import MountEntry, Stack
from layerctl.stores import owners
from layerctl.stores.store import Container, Image, Store
from layerctl.usecases.named import listed_images, stores_of


class Subject(NamedTuple):
    """A mount, a container or an image whose disk usage may be asked for.

    `mounted` is None if it is not mounted; `stack` has the layers as the kernel or a store names
    them.
    """

    kind: str
    name: str
    stack: Stack
    mounted: Mounted | None = None
    container: Container | None = None

    @property
    def place(self) -> str | None:
        """Where it is mounted."""
        return None if self.mounted is None else self.mounted.entry.target


#: What uses a layer, by the identity of its directory.
Users = dict[Identity, list[Subject]]


def everything(root: str | None = None) -> tuple[list[Subject], list[str]]:
    """Return every mount, container and image, each once, and what could not be read.

    With `root`, those of the disk there alone. Raises NotFoundError if it cannot be opened.
    """
    found = [] if root is not None else [_of_mount(one) for one in _mounted_once()]
    seen = {one.container.id for one in found if one.container is not None}
    unknown: list[str] = []
    for store in stores_of(root):
        unknown += store.unknown
        things: list[Container | Image] = [one for one in store.containers if one.id not in seen]
        things += listed_images(store)
        for thing in things:
            subject = _stored(store, thing)
            if subject is None:
                unknown.append(f"a layer of {_label(thing)} is missing")
            else:
                found.append(subject)
    return found, unknown


def _mounted_once() -> list[Mounted]:
    """Return every layered mount; only the first of several mounts of one filesystem."""
    return list({one.entry.device: one for one in reversed(mounts.layered())}.values())[::-1]


def _of_mount(mounted: Mounted) -> Subject:
    container = owners.of(mounted)
    if container is None:
        return Subject("mount", mounted.entry.target, mounted.stack, mounted)
    return Subject("container", container.label, mounted.stack, mounted, container)


def _stored(store: Store, thing: Container | Image) -> Subject | None:
    """Return what a store has, None if a layer of it is missing."""
    container = thing if isinstance(thing, Container) else None
    try:
        stack = store.stack(thing.layers, writable=container is not None)
    except (KeyError, IndexError):
        return None
    kind = "image" if container is None else "container"
    return Subject(kind, _label(thing), stack, None, container) if stack.layers else None


def _label(thing: Container | Image) -> str:
    return thing.label if isinstance(thing, Container) else thing.name


def users_of_layers(subjects: Iterable[Subject]) -> Users:
    """Return what uses each layer that the caller can access."""
    users: Users = {}
    for subject in subjects:
        for layer in subject.stack.layers:
            identity = layers.identity(layer.path)
            if identity is not None:
                users.setdefault(identity, []).append(subject)
    return users


def of_stack(view: Opened, target: str | None, users: Users, top: int) -> StackUsage:
    """Measure an opened stack, mounted at `target`. Raises OSError if its layers change."""
    tally = measure(view, top=top).tally
    own = list(map(layers.identity, view.layers))
    measured = []
    for index, (layer, sums) in enumerate(zip(view.stack.layers, tally.by_layer(), strict=True)):
        identity = beneath.identity(view.resolver.roots[index])
        others = [one for one in users.get(identity, ()) if not _is_same(one, target, own)]
        names = tuple(one.name for one in others)
        measured.append(
            LayerUsage(index, view.layers[index], layer.role.value, sums, identity, names)
        )
    return StackUsage(
        target, view.stack.fstype, tuple(measured), tally.total(), tuple(tally.largest())
    )


def _is_same(subject: Subject, target: str | None, own: list[Identity | None]) -> bool:
    """Tell whether something is the stack that was measured, under whatever name."""
    if subject.place is not None and target is not None:
        return subject.place == target
    return [layers.identity(layer.path) for layer in subject.stack.layers] == own


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

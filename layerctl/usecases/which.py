"""What a name, a hash or a path stands for: its layer, the image step that made it, its users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from layerctl.errors import LayerctlError, NotFoundError
from layerctl.kernel.host import tree_size
from layerctl.model import Stack
from layerctl.stores import names, owners
from layerctl.stores.known import Answer, Fate
from layerctl.stores.names import Named
from layerctl.stores.reading import step
from layerctl.stores.store import Container, Image, Store, StoredLayer
from layerctl.usecases.named import nothing, on_the_disk
from layerctl.usecases.stacks import Target
from layerctl.usecases.targets import named_here

#: Of as many containers that use a layer it is examined what they show of a path.
MOST_EXAMINED = 50


def answers(name: str, root: str | None, stores: Sequence[Store]) -> list[Answer]:
    """Return what a name stands for, every meaning of it. Raises NotFoundError if it has none."""
    unknown: NotFoundError | None = None
    if root is None:
        try:
            return [_of_mount(name, named_here(name))]
        except NotFoundError as error:
            unknown = error
    found = names.find(on_the_disk(name, root), stores)
    if not found:
        raise nothing(name, root, stores, unknown)
    return [_of_named(name, one) for one in found]


def _of_mount(name: str, target: Target) -> Answer:
    """Return what a mount point, or a path below one, stands for."""
    known = owners.known_of(layer.path for layer in target.stack.layers)
    mount = "" if target.mount is None else target.mount.target
    if not target.path:
        return Answer(name, "mount", of=mount, directory=target.stack.layers[0].path)
    # A hash alone needs no layer to be opened, and scripts pay for every import.
    from layerctl.inspecting.opening import opened
    from layerctl.inspecting.story import tell

    with opened(target.stack, target.mount) as view:
        story = tell(view, target.path)
    if story.provider is None:
        raise NotFoundError("target-missing", f"{name} is not visible in {mount}")
    directory = view.layers[story.provider]
    return Answer(
        name,
        "layer",
        id=known[directory].label,
        of=mount,
        position=story.provider,
        directory=directory,
        path=target.path,
    )


def _of_named(name: str, found: Named) -> Answer:
    store, thing = found.store, found.thing
    if isinstance(thing, Container):
        image = store.image(thing.image)
        of = thing.image if image is None else image.name
        top = store.layers.get(thing.layers[0]) if thing.layers else None
        directory = "" if top is None else top.directory
        size, whole = tree_size(directory) if directory else (None, True)
        return Answer(
            name, "container", thing.engine, thing.id, of,
            directory=directory, size=size, whole=whole, users=(thing.label,),
        )  # fmt: skip
    if isinstance(thing, Image):
        users = tuple(one.label for one in store.containers if one.image == thing.id)
        return Answer(name, "image", store.engine, thing.id, thing.name, users=users)
    return _of_layer(name, found, thing)


def _of_layer(name: str, found: Named, layer: StoredLayer) -> Answer:
    store = found.store
    users = [one for one in store.containers if layer.id in one.layers]
    image = _origin(store, layer.id)
    of, index, made = "", None, ""
    if image is not None:
        of, index = image.name, image.layers.index(layer.id)
        made = step(image.steps, index)
    elif users:
        of, index = users[0].label, users[0].layers.index(layer.id)
    size, whole = tree_size(layer.directory) if layer.directory else (None, True)
    fates = tuple(_fates(store, users, layer, found.path)) if found.path else ()
    return Answer(
        name, "layer", store.engine, layer.id, of, index, made, layer.directory, found.path,
        size, whole, tuple(one.label for one in users), fates,
    )  # fmt: skip


def _origin(store: Store, layer: str) -> Image | None:
    """Return the image that a layer was made for: of those with names, the one of fewest layers."""
    images = [image for image in store.images if layer in image.layers]
    named = [image for image in images if image.names] or images
    return min(named, key=lambda image: (len(image.layers), image.name), default=None)


def _fates(
    store: Store, users: Sequence[Container], layer: StoredLayer, path: str
) -> Iterator[Fate]:
    for container in users[:MOST_EXAMINED]:
        try:
            stack = store.stack(container.layers, writable=True)
            state = _state(stack, container.layers.index(layer.id), path)
        except (KeyError, LayerctlError, OSError):
            state = "unknown"
        yield Fate(container.label, state)


def _state(stack: Stack, index: int, path: str) -> str:
    from layerctl.inspecting.opening import opened  # as above
    from layerctl.inspecting.story import tell

    with opened(stack) as view:
        story = tell(view, path)
    if not story.visible:
        return "deleted"
    return "shown" if story.provider == index or story.letter == "d" else "replaced"

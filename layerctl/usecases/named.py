"""Targets that are no mount points: containers, images and layers in engines' stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layerctl.errors import NotFoundError, RefusedError
from layerctl.kernel import mounts, paths
from layerctl.kernel.mounts import Mounted
from layerctl.rules.options import nearest
from layerctl.rules.words import count, shell
from layerctl.stores import find, names, owners
from layerctl.stores.known import Known
from layerctl.stores.names import Named
from layerctl.stores.store import Container, Image, Store, StoredLayer
from layerctl.usecases.stacks import Target, of_mount

#: As many candidates for an ambiguous name are listed.
_MOST_LISTED = 10


def stored_target(name: str, root: str | None, unknown: NotFoundError | None) -> Target:
    """Return the stack of a container, an image or a layer; see `targets.open_target`.

    `unknown` is the reason why the name is not a mount point.
    """
    found = one_named(name, root, unknown)
    mounted = None if root is not None else _mounted(found)
    if mounted is not None:
        target = of_mount(mounted)
        container = found.thing if isinstance(found.thing, Container) else None
        return target._replace(path=found.path, container=container)
    writable = isinstance(found.thing, Container)
    try:
        stack = found.store.stack(found.layers, writable=writable)
    except KeyError as error:
        raise incomplete(found, str(error.args[0])) from None
    container = found.thing if isinstance(found.thing, Container) else None
    return Target(stack, (), None, found.path, container)


def one_named(
    name: str,
    root: str | None,
    unknown: NotFoundError | None = None,
    thing: type[Container] | type[Image] | None = None,
) -> Named:
    """Return the one thing in a store that a name means, of the kind of `thing` if that is given.

    Raises NotFoundError if there is none, or several; `unknown` is raised for what looks like a
    path and is in no store.
    """
    stores = stores_of(root, (name,))
    found = names.find(on_the_disk(name, root), stores)
    if thing is not None:
        found = [one for one in found if isinstance(one.thing, thing)]
    if len(found) == 1:
        return found[0]
    if found:
        raise _ambiguous(name, found)
    raise nothing(name, root, stores, unknown)


def stores_of(root: str | None, given: Iterable[str] = ()) -> Sequence[Store]:
    """Return the stores of a disk, or those of this machine, its mounts and the given paths.

    Raises NotFoundError if the disk cannot be opened.
    """
    try:
        usual = find.stores("/" if root is None else root)
    except OSError as error:
        raise NotFoundError(
            "target-missing",
            f"{root}: {error.strerror}",
            hint="name the directory where the disk is mounted, or a store on it",
        ) from None
    if root is not None:
        return usual
    layers = (layer.path for one in mounts.layered() for layer in one.stack.layers)
    absolute = (path for path in given if path.startswith("/"))
    roots = dict.fromkeys(filter(None, map(owners.root_of, (*absolute, *layers))))
    others = (store for place in roots for store in find.at(place))
    return list({(one.root, one.driver): one for one in (*usual, *others)}.values())


def on_the_disk(name: str, root: str | None) -> str:
    """Return a path of the machine that a disk came from as it is on this one."""
    if root is None or not name.startswith("/"):
        return name
    base = paths.real(root).rstrip("/")
    return name if name.startswith(f"{base}/") else base + name


def _mounted(found: Named) -> Mounted | None:
    """Return the live mount of a container, None if it has none in this mount namespace."""
    if not isinstance(found.thing, Container):
        return None
    top = found.store.layers.get(next(iter(found.layers), ""))
    directory = top.directory if top is not None else ""
    for mounted in mounts.layered():
        owner = owners.of(mounted)
        if owner is not None and owner.id == found.thing.id:
            return mounted
        if directory and any(layer.path == directory for layer in mounted.stack.layers[:1]):
            return mounted
    return None


def _ambiguous(name: str, found: Sequence[Named]) -> NotFoundError:
    listed = ", ".join(one.spelled for one in found[:_MOST_LISTED])
    more = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    return NotFoundError(
        "ambiguous-name",
        f"{name} means {count(len(found), 'thing')}: {listed}{more}",
        hint="use one of these names, or more of the id",
    )


def nothing(
    name: str, root: str | None, stores: Sequence[Store], unknown: NotFoundError | None
) -> NotFoundError:
    """Return the error for a name that nothing has; for a path it is `unknown`, if given."""
    if unknown is not None and ("/" in name or unknown.id == "not-mounted"):
        return unknown
    known = [thing.label for store in stores for thing in store.containers]
    known += [one for store in stores for image in store.images for one in image.names]
    close = nearest(name, known)
    lost = sum(len(store.unknown) for store in stores)
    where = "this machine" if root is None else root
    why = f"no mount, container, image or layer of {where} is called that"
    if lost:
        why += (
            f"; parts of the stores cannot be read ({count(lost, 'note')} in layerctl list --all)"
        )
    return NotFoundError(
        "target-missing",
        f"{name}: no such target",
        why=why,
        hint=f"did you mean '{close[0]}'?" if close else "",
        commands=() if close else (shell("layerctl", "list", "--all"),),
    )


def incomplete(found: Named, layer: str) -> RefusedError:
    """Return the error for a thing of which a store lacks a layer."""
    owner = found.spelled
    what = "layer" if isinstance(found.thing, StoredLayer) else "one of its layers"
    return RefusedError(
        "stored-layer-missing",
        f"{owner} cannot be put together: {what} is missing",
        why=f"{found.store.root} has no directory for the layer {layer}",
        hint="inspect the layers that are left, each by its own name (layer:ID)",
    )


def known_stacks(root: str | None) -> tuple[list[Known], tuple[str, ...]]:
    """Return every mount, container and image, and what could not be read.

    Raises NotFoundError if the disk at `root` cannot be opened.
    """
    stores = stores_of(root)
    mounted = {} if root is not None else {one.entry.mount_id: one for one in mounts.layered()}
    found: list[Known] = []
    for store in stores:
        found += _containers(store, mounted)
        found += _images(store)
    others = [
        Known("mount", one.entry.target, layers=len(one.stack.layers), target=one.entry.target)
        for one in mounted.values()
    ]
    return [*others, *found], tuple(text for store in stores for text in store.unknown)


def _containers(store: Store, mounted: dict[int, Mounted]) -> Iterable[Known]:
    """Yield the containers of a store; their mounts are removed from `mounted`."""
    owned = {}
    for key, one in list(mounted.items()):
        owner = owners.of(one)
        if owner is not None:
            owned[owner.id] = key
    for container in store.containers:
        image = store.image(container.image)
        mount = mounted.pop(owned.get(container.id, -1), None)
        target = None if mount is None else mount.entry.target
        yield Known(
            "container", container.label, container.engine, container.id, container.state,
            container.image if image is None else image.name, len(container.layers), target,
            store.root,
        )  # fmt: skip


def _images(store: Store) -> Iterable[Known]:
    for image in listed_images(store):
        for name in image.names or (image.name,):
            yield Known(
                "image", name, store.engine, image.id, layers=len(image.layers), root=store.root
            )


def listed_images(store: Store) -> Iterable[Image]:
    """Yield the images of a store, without those that only steps on the way to others are."""
    inner = {layers for image in store.images if image.names for layers in _suffixes(image.layers)}
    return (one for one in store.images if one.names or one.layers not in inner)


def _suffixes(layers: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    return (layers[at:] for at in range(len(layers)))

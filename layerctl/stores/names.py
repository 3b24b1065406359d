"""What people call things in a store: containers, images and layers by name, id, hash or path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from layerctl.kernel.rooted import Rooted
from layerctl.rules.names import IMAGE, KINDS, LAYER
from layerctl.stores.reading import short_name
from layerctl.stores.store import Container, Image, Store, StoredLayer

#: No start of an id that is shorter names one: it might be a word.
SHORTEST = 4
_HEX = re.compile(r"[0-9a-f]+")
#: A layer's directory as part of a path, and what is in the layer behind it.
_INSIDE = re.compile(
    r"(?:.*/|)(?:(?:overlay2?/(?P<id>[0-9a-z]{12,64}(?:-init)?)"
    r"|snapshots/(?P<number>\d+))(?:/(?:diff\d*|fs|merged)(?:/(?P<path>.*))?)?"
    r"|aufs/(?:diff|mnt)/(?P<aufs>[0-9a-z]{12,64}(?:-init)?)(?:/(?P<inside>.*))?"
    r"|l/(?P<link>[A-Z0-9]{26})(?:/(?P<linked>.*))?)/?"
)


class Named(NamedTuple):
    """Something in a store that a name fits; `path` is what the name says beyond it, in a layer."""

    store: Store
    thing: Container | Image | StoredLayer
    path: str = ""

    @property
    def spelled(self) -> str:
        """A name that fits nothing else of this kind."""
        if isinstance(self.thing, Container):
            return f"{self.thing.engine}:{self.thing.label}"
        if isinstance(self.thing, Image):
            return f"{IMAGE}:{self.thing.name}"
        return f"{LAYER}:{self.thing.id}"

    @property
    def layers(self) -> tuple[str, ...]:
        """The ids of its layers, topmost first; of a layer itself and those below."""
        if isinstance(self.thing, StoredLayer):
            return self.store.below(self.thing.id)
        return self.thing.layers


def find(name: str, stores: Sequence[Store]) -> list[Named]:
    """Return what a name fits; where it fits something whole, not what it is only the start of."""
    kind, colon, rest = name.partition(":")
    if colon and kind in KINDS and rest:
        kinds: tuple[str, ...] = (kind,)
        name = rest
    else:
        kinds = KINDS
    whole: list[Named] = []
    starts: list[Named] = []
    for store in stores:
        for one, is_whole in _of_store(name, store, kinds):
            (whole if is_whole else starts).append(one)
    return whole or starts


def _of_store(name: str, store: Store, kinds: tuple[str, ...]) -> Iterator[tuple[Named, bool]]:
    for container in store.containers:
        if container.engine in kinds:
            found = _fits(name, container.id, (container.name or "",))
            if found is not None:
                yield Named(store, container), found
    for image in store.images if IMAGE in kinds else ():
        called = (*image.names, *map(_untagged, image.names))
        fits = [_fits(short_name(name), image.id, called), _fits(name, image.config, ())]
        if any(one is not None for one in fits):
            yield Named(store, image), any(fits)
    if LAYER in kinds:
        yield from _layers(name, store)


def _untagged(name: str) -> str:
    """Return the name for the latest version of an image, or an empty string."""
    return name.removesuffix(":latest") if name.endswith(":latest") else ""


def _fits(name: str, identity: str, names: Iterable[str]) -> bool | None:
    """Tell whether a name is a whole one (True), the start of an id (False), or neither (None)."""
    plain, given = identity.rpartition(":")[2], name.removeprefix("sha256:")
    if name in names or given == plain:
        return True
    if len(given) >= SHORTEST and _HEX.fullmatch(given) and plain.startswith(given):
        return False
    return None


def _layers(name: str, store: Store) -> Iterator[tuple[Named, bool]]:
    match = _INSIDE.fullmatch(name)
    if match is not None:
        link = match["link"]
        identity = _linked(store, link) if link else match["id"] or match["number"] or match["aufs"]
        layer = store.layers.get(identity or "")
        inside = not name.startswith("/") or name.startswith(f"{store.root}/")
        if layer is not None and inside:
            path = match["path"] or match["inside"] or match["linked"] or ""
            yield Named(store, layer, path), True
        return
    for layer in store.layers.values():
        fits = [
            found
            for one in (layer.id, layer.chain, layer.diff)
            if one and not one.isdecimal() and (found := _fits(name, one, ())) is not None
        ]
        if fits:
            yield Named(store, layer), any(fits)


def _linked(store: Store, link: str) -> str | None:
    """Return the id of the layer of a short link of the engine."""
    root = Rooted(store.root)
    try:
        directory = root.real(f"/{store.driver}/l/{link}")
    except OSError:
        return None
    finally:
        root.close()
    return next((one.id for one in store.layers.values() if one.directory == directory), None)


def names_of(store: Store) -> Iterator[tuple[str, str]]:
    """Yield the names of a store's containers and images, each with what it is."""
    for container in store.containers:
        yield container.label, f"container of {container.engine}"
    for image in store.images:
        for name in image.names:
            yield name, f"image of {store.engine}"


def labels(stores: Iterable[Store]) -> dict[str, str]:
    """Return a short label for each layer's directory: `web` for what a container wrote.

    A layer of an image is `NAME#N`, N its place in the image from the topmost, 0; one of several
    images goes by the one with the fewest layers, which the others were made from.
    """
    found: dict[str, str] = {}
    for store in stores:
        images = [image for image in store.images if image.names]
        for image in sorted(images, key=lambda one: (len(one.layers), one.name)):
            name = _short(image, images)
            for index, identity in enumerate(image.layers):
                layer = store.layers.get(identity)
                if layer is not None and layer.directory:
                    found.setdefault(layer.directory, f"{name}#{index}")
        for container in store.containers:
            for identity, label in zip(
                container.layers, (container.label, f"{container.label}-init"), strict=False
            ):
                layer = store.layers.get(identity)
                if layer is not None and layer.directory:
                    found.setdefault(layer.directory, label)
    return found


def steps(stores: Iterable[Store]) -> dict[str, str]:
    """Return the step of an image's history that made each layer's directory, where known."""
    found: dict[str, str] = {}
    for store in stores:
        for image in store.images:
            for identity, step in zip(image.layers, image.steps, strict=False):
                layer = store.layers.get(identity)
                if step and layer is not None and layer.directory:
                    found.setdefault(layer.directory, step)
    return found


def _short(image: Image, images: Iterable[Image]) -> str:
    """Return an image's name without its tag, where no other image has that name."""
    name, _, _ = _tagless(image.name)
    if any(other is not image and _tagless(other.name)[0] == name for other in images):
        return image.name
    return name


def _tagless(name: str) -> tuple[str, str, str]:
    head, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    return f"{head}{slash}{last}", colon, tag

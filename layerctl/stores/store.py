"""What an engine's store holds: layers, the images and containers made of them, and their stacks.

A store that is damaged or half written gives what can be had: `unknown` says what could not be
read, and whoever answers from it must say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from layerctl.kernel.paths import is_plain_directory
from layerctl.model import Layer, Role, Stack


class StoredLayer(NamedTuple):
    """One layer of a store.

    `id` is the name of its directory in the store, `directory` what a mount takes of it, empty if
    it is gone. `chain` is the chain id of OCI images, of this layer and all below; `diff` the diff
    id, of its contents. `parent` is the id of the next one down. `recorded` is False if none of the
    store's records names it.
    """

    id: str
    directory: str
    parent: str | None = None
    chain: str = ""
    diff: str = ""
    recorded: bool = True


class Image(NamedTuple):
    """An image: its id, names with tags, and the ids of its layers, topmost first.

    `steps` are the commands that made each layer (`created_by` of its history), where known.
    `config` is the digest of its configuration, where its id is that of its manifest.
    """

    id: str
    names: tuple[str, ...]
    layers: tuple[str, ...]
    steps: tuple[str, ...] = ()
    config: str = ""

    @property
    def name(self) -> str:
        """Its first name, else the start of its id."""
        return self.names[0] if self.names else self.id.rpartition(":")[2][:12]


class Container(NamedTuple):
    """A container as its engine knows it; `name` is None if it has none that can be read.

    `layers` are ids, the writable one first; `image` is the id of its image, `state` the engine's
    last word on it (`running`, `exited`, ...), empty if it keeps none.
    """

    engine: str
    id: str
    name: str | None
    image: str = ""
    layers: tuple[str, ...] = ()
    state: str = ""

    @property
    def label(self) -> str:
        """Its name, else its id: of a hash, the start."""
        return self.name or (self.id[:12] if len(self.id) == 64 else self.id)


class Store(NamedTuple):
    """What one store holds. `root` is where it lies, `driver` how it keeps its layers.

    `whole` means that every record which names layers could be read.
    """

    engine: str
    root: str
    driver: str
    layers: dict[str, StoredLayer]
    images: tuple[Image, ...] = ()
    containers: tuple[Container, ...] = ()
    unknown: tuple[str, ...] = ()
    whole: bool = True

    def below(self, top: str) -> tuple[str, ...]:
        """Return the ids of a layer and of those below it, by its container or by its parents."""
        for container in self.containers:
            if top in container.layers:
                return container.layers[container.layers.index(top) :]
        found: dict[str, None] = {}
        here: str | None = top
        while here is not None and here not in found:
            found[here] = None
            layer = self.layers.get(here)
            here = None if layer is None else layer.parent
        return tuple(found)

    def image(self, identity: str) -> Image | None:
        """Return the image of an id."""
        return next((one for one in self.images if one.id == identity), None)

    def stack(self, layers: tuple[str, ...], *, writable: bool) -> Stack:
        """Return the stack of layers, as the engine would mount it.

        With `writable` the first one is its upper layer. Raises KeyError for a layer that the
        store does not have, or whose directory is gone.
        """
        paths = [self._directory(one) for one in layers]
        if self.driver == "aufs":
            kinds = ["rw", *["ro+wh"] * (len(paths) - 1)] if writable else ["ro+wh"] * len(paths)
            branches = map(Layer, paths, [Role.BRANCH] * len(paths), kinds)
            return Stack("aufs", tuple(branches))
        upper = [Layer(paths[0], Role.UPPER)] if writable else []
        lowers = [Layer(path, Role.LOWER) for path in paths[len(upper) :]]
        work = f"{paths[0].rpartition('/')[0]}/work" if writable else None
        return Stack("overlay", (*upper, *lowers), work)

    def _directory(self, identity: str) -> str:
        layer = self.layers.get(identity)
        if layer is None or not is_plain_directory(layer.directory):
            raise KeyError(identity)
        return layer.directory

    def uses(self, identity: str) -> Iterator[Image | Container]:
        """Yield the images and containers that a layer is part of."""
        for image in self.images:
            if identity in image.layers:
                yield image
        for container in self.containers:
            if identity in container.layers:
                yield container

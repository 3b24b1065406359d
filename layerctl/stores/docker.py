"""Docker's own store: ROOT/image/DRIVER, ROOT/containers, and the layers of overlay2 or aufs.

Sources: moby image/fs.go, layer/filestore.go (`cache-id` of an image's layer, `mount-id` and
`init-id` of a container's), daemon/graphdriver/overlay2 (`link`, `lower`) and aufs (`layers/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from layerctl.kernel.rooted import Rooted
from layerctl.stores.reading import Reading, chain_ids, steps_of, strings
from layerctl.stores.store import Container, Image, Store, StoredLayer

DRIVERS = ("overlay2", "aufs")


def read(root: Rooted, path: str) -> Iterator[Store]:
    """Yield what each driver's part of a store holds. Raises nothing."""
    for driver in DRIVERS:
        if root.has(f"{path}/image/{driver}/layerdb"):
            yield _Docker(root, path, driver).store()


class Containers(Reading):
    """What Docker itself knows of its containers, whoever keeps their layers."""

    def ids(self) -> list[str]:
        """Return the ids of its containers."""
        return self.names("containers", optional=True)

    def container(self, identity: str, layers: tuple[str, ...]) -> Container:
        """Return a container with the ids of its layers."""
        config = self.mapping(self.json(f"containers/{identity}/config.v2.json"))
        name, image = config.get("Name"), config.get("Image")
        return Container(
            "docker",
            identity,
            name.lstrip("/") if isinstance(name, str) else None,
            image if isinstance(image, str) else "",
            layers,
            _state(self.mapping(config.get("State"))),
        )


class _Docker(Containers):
    def __init__(self, root: Rooted, path: str, driver: str) -> None:
        super().__init__(root, path)
        self.driver = driver
        self.image = f"image/{driver}"
        self.layers: dict[str, StoredLayer] = {}
        #: The directory of each layer, by its chain id.
        self.cached: dict[str, str] = {}

    def store(self) -> Store:
        self._find_layers()
        images = tuple(self._images())
        self._read_rest()
        containers = tuple(self._containers())
        return Store(
            "docker",
            self.place,
            self.driver,
            self.layers,
            images,
            containers,
            self.unknown(),
            self.whole,
        )

    def _find_layers(self) -> None:
        """Find the directories of layers, and which of them the chain ids of images stand for."""
        base, below = ("overlay2", "/diff") if self.driver == "overlay2" else ("aufs/diff", "")
        for name, place in self.directories(base).items():
            if name != "l":
                self.layers[name] = StoredLayer(name, f"{place}{below}", recorded=False)
        base = f"{self.image}/layerdb/sha256"
        self.whole = self.root.has(f"{self.path}/{base}")
        for digest in self.names(base):
            identity = self.text(f"{base}/{digest}/cache-id")
            if identity:
                known = self.layers.get(identity, StoredLayer(identity, ""))
                chain = f"sha256:{digest}"
                self.layers[identity] = known._replace(chain=chain, recorded=True)
                self.cached[chain] = identity
            else:
                self.whole = False

    def _read_rest(self) -> None:
        """Read what is below layers that no image told of: one was deleted, or is damaged."""
        for chain, identity in self.cached.items():
            layer = self.layers[identity]
            if not layer.diff:
                place = f"{self.image}/layerdb/{chain.replace(':', '/')}"
                parent = self.cached.get(self.text(f"{place}/parent", optional=True))
                diff = self.text(f"{place}/diff")
                self.layers[identity] = layer._replace(parent=parent, diff=diff)

    def _images(self) -> Iterator[Image]:
        names: dict[str, list[str]] = {}
        file = f"{self.image}/repositories.json"
        listed = self.mapping(self.json(file)).get("Repositories")
        for tags in self.mapping(listed).values():
            for name, identity in self.mapping(tags).items():
                if isinstance(identity, str) and "@" not in name:
                    names.setdefault(identity, []).append(name)
        base = f"{self.image}/imagedb/content/sha256"
        for digest in self.names(base):
            config = self.json(f"{base}/{digest}")
            if not isinstance(config, dict):
                continue
            identity = f"sha256:{digest}"
            diffs = strings(self.mapping(config.get("rootfs")).get("diff_ids"))
            layers = self._of_image(identity, diffs)
            steps = steps_of(config, len(layers))
            yield Image(identity, tuple(sorted(names.get(identity, ()))), layers, steps)

    def _of_image(self, image: str, diffs: Sequence[str]) -> tuple[str, ...]:
        """Return the layers of an image, topmost first, and keep what that says about each."""
        found: list[str] = []
        for chain, diff in zip(chain_ids(diffs), diffs, strict=True):
            identity = self.cached.get(chain)
            if identity is None:
                self.lost(f"{image[:19]}: its layer {chain[:19]} is missing")
                continue
            parent = found[-1] if found else None
            self.layers[identity] = self.layers[identity]._replace(parent=parent, diff=diff)
            found.append(identity)
        return tuple(reversed(found))

    def _containers(self) -> Iterator[Container]:
        base = f"{self.image}/layerdb/mounts"
        for identity in self.names(base, optional=True):
            top = self.text(f"{base}/{identity}/mount-id")
            init = self.text(f"{base}/{identity}/init-id", optional=True)
            parent = self.text(f"{base}/{identity}/parent", optional=True)
            self.whole = self.whole and bool(top)
            layers = [one for one in (top, init) if one]
            for one in layers:
                known = self.layers.get(one, StoredLayer(one, ""))
                self.layers[one] = known._replace(recorded=True)
            below = self.cached.get(parent)
            while below is not None and below not in layers:
                layers.append(below)
                below = self.layers[below].parent
            if parent and parent not in self.cached:
                layers = [*layers[:1], *self._lower(top)]
            yield self.container(identity, tuple(layers))

    def _lower(self, identity: str) -> Sequence[str]:
        """Return the layers below one as its driver noted them, where the database is damaged."""
        if self.driver == "aufs":
            return self.text(f"aufs/layers/{identity}", optional=True).split()
        links = self.text(f"overlay2/{identity}/lower", optional=True).split(":")
        found = [self.directory(f"overlay2/{link}") for link in links if link]
        return [one.split("/")[-2] for one in found if one]


def _state(state: dict[str, Any]) -> str:
    for key in ("Paused", "Restarting", "Dead", "Running"):
        if state.get(key) is True:
            return key.lower()
    return "created" if str(state.get("StartedAt", "")).startswith("0001") else "exited"

"""The store of podman, buildah and CRI-O: ROOT/overlay-{layers,images,containers} and ROOT/overlay.

Sources: containers/storage layers.go, images.go, containers.go (the JSON lists, each with a
`volatile-` twin), store.go (big data files), drivers/overlay.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from layerctl.kernel.rooted import Rooted
from layerctl.stores.reading import Reading, short_name, steps_of, strings
from layerctl.stores.store import Container, Image, Store, StoredLayer

#: A name of big data that is used as a file name as it is.
_PLAIN = re.compile(r"[.0-9a-z]*")


def read(root: Rooted, path: str, shared: tuple[str, ...] = ()) -> Store:
    """Return what a store holds; `shared` are additional image stores beside it. Raises nothing."""
    own = _Storage(root, path)
    others = [_Storage(root, one) for one in shared]
    parts = (own, *others)
    layers: dict[str, StoredLayer] = {}
    for part in reversed(parts):
        layers |= part.layers()
    images = tuple(image for part in parts for image in part.images(layers))
    containers = tuple(own.containers(layers))
    unknown = tuple(text for part in parts for text in part.unknown())
    return Store("podman", own.place, "overlay", layers, images, containers, unknown, own.whole)


class _Storage(Reading):
    def __init__(self, root: Rooted, path: str) -> None:
        super().__init__(root, path)

    def _listed(self, path: str) -> tuple[list[dict[str, Any]], bool]:
        """Return the objects of a list and of its volatile twin, and whether the list was there."""
        folder, _, file = path.rpartition("/")
        own = self.json(path, optional=folder != "overlay-layers")
        twin = self.json(f"{folder}/volatile-{file}", optional=True)
        return [*self.objects(own), *self.objects(twin)], isinstance(own, list)

    def layers(self) -> dict[str, StoredLayer]:
        found: dict[str, StoredLayer] = {}
        present = self.directories("overlay")
        every, whole = self._listed("overlay-layers/layers.json")
        self.whole = whole
        for one in every:
            identity = str(one.get("id") or "")
            if "/" in identity or identity in ("", ".", ".."):
                self.lost(f"{self.place}: a layer is called '{identity}'")
                continue
            parent = one.get("parent")
            found[identity] = StoredLayer(
                identity,
                f"{present[identity]}/diff" if identity in present else "",
                parent if isinstance(parent, str) and parent else None,
                diff=str(one.get("diff-digest") or ""),
            )
        for name, place in present.items():
            if name not in found and re.fullmatch(r"[0-9a-f]{64}", name):
                found[name] = StoredLayer(name, f"{place}/diff", recorded=False)
        return found

    def images(self, layers: dict[str, StoredLayer]) -> Iterator[Image]:
        for one in self._listed("overlay-images/images.json")[0]:
            identity, top = one.get("id"), one.get("layer")
            if not isinstance(identity, str):
                continue
            below = self._below(identity, top, layers)
            config = self._config(identity)
            yield Image(
                identity,
                tuple(map(short_name, strings(one.get("names")))),
                below,
                steps_of(config, len(below)),
            )

    def _below(self, owner: str, top: Any, layers: dict[str, StoredLayer]) -> tuple[str, ...]:
        found: dict[str, None] = {}
        here = top if isinstance(top, str) and top else None
        while here is not None and here not in found:
            found[here] = None
            layer = layers.get(here)
            if layer is None:
                self.lost(f"{owner[:12]}: its layer {here[:12]} is missing")
                break
            here = layer.parent
        return tuple(found)

    def _config(self, identity: str) -> dict[str, Any]:
        """Return an image's configuration: the big data that is called by its own digest."""
        if not re.fullmatch(r"[0-9a-f]+", identity):
            return {}
        file = _file_of(f"sha256:{identity}")
        return self.mapping(self.json(f"overlay-images/{identity}/{file}", optional=True))

    def containers(self, layers: dict[str, StoredLayer]) -> Iterator[Container]:
        for one in self._listed("overlay-containers/containers.json")[0]:
            identity = one.get("id")
            if isinstance(identity, str):
                names = strings(one.get("names"))
                below = self._below(identity, one.get("layer"), layers)
                image = one.get("image")
                yield Container(
                    "podman",
                    identity,
                    names[0] if names else _name(one.get("metadata")),
                    image if isinstance(image, str) else "",
                    below,
                )


def _file_of(name: str) -> str:
    """Return the file that keeps big data of a name (containers/storage, makeBigDataBaseName)."""
    if _PLAIN.fullmatch(name):
        return name
    return "=" + base64.standard_b64encode(name.encode()).decode()


def _name(metadata: Any) -> str | None:
    """Return the name in the metadata of a container, None if there is none."""
    try:
        known = json.loads(metadata)
    except (TypeError, ValueError, RecursionError):
        return None
    name = known.get("name") if isinstance(known, dict) else None
    return name if isinstance(name, str) and name else None

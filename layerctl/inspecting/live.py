"""Open the layers of a live mount, as the mount has them."""

from __future__ import annotations

from layerctl.errors import LayerctlError, NotFoundError, NotPermittedError
from layerctl.kernel import live_layers
from layerctl.kernel.live_layers import Place
from layerctl.model import Layer, MountEntry, Stack
from layerctl.rules.words import shell


def open_layers(stack: Stack, mount: MountEntry, top: int | None) -> list[int]:
    """Open the layers of a live mount. Raises LayerctlError if one is unknown."""
    paths = [layer.path for layer in stack.layers]
    places = live_layers.open_all(mount, paths, top)
    for number, (layer, place) in enumerate(zip(stack.layers, places, strict=True)):
        if place.fd < 0:
            live_layers.close(places)
            raise _unknown(number, layer, mount, place)
    return [place.fd for place in places]


def _unknown(number: int, layer: Layer, mount: MountEntry, place: Place) -> LayerctlError:
    """Return the error for a layer that cannot be identified with certainty."""
    what = f"layer {number} of {mount.target}, {layer.path}, is unknown"
    if place.cover is None:
        return NotFoundError(
            "layer-unknown",
            what,
            why="the directory with this name is not the one that was mounted",
            hint="name the current directories with -l, -u or -b",
        )
    cover = place.cover
    why = f"the {cover.fstype or 'root'} mount on {cover.target} covers it"
    if place.privilege:
        return NotPermittedError(
            "layer-covered", what, why=f"{why}; looking beneath it requires CAP_SYS_ADMIN",
            commands=(shell("sudo", "layerctl", "inspect", "mount", mount.target),),
        )  # fmt: skip
    return NotFoundError(
        "layer-unknown", what, why=f"{why}, and the layer cannot be found beneath it",
        commands=(shell("findmnt", "-A", cover.target),),
    )  # fmt: skip

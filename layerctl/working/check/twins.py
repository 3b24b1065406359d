"""An upper layer that was copied along with its UUID, as far as the other one is near."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.kernel import layers, siblings
from layerctl.working.check.fault import Fault, Mending, mark

_BYTES = 16


def check(view: Opened, overlay: Overlay) -> Iterator[Fault]:
    """Yield the UUID of an upper layer that another layer has, too.

    Looked at are the layers of the stack and the directories near the upper one.
    """
    attribute = f"{overlay.settings.prefix}uuid"
    own = layers.attribute(attribute, overlay.roots[0]) if overlay.settings.has_upper else None
    if own is None or len(own) != _BYTES:
        return
    for other in _others(view, overlay, attribute, own):
        seen = f"{other} has the same"
        mend = mark(0, "", attribute, uuid.uuid4().bytes)
        yield Fault("uuid-twice", 0, "", seen, Mending.ASK, mend)
        return


def _others(view: Opened, overlay: Overlay, attribute: str, own: bytes) -> Iterator[str]:
    for path, root in zip(view.layers[1:], overlay.roots[1:], strict=True):
        if layers.attribute(attribute, root) == own:
            yield path
    for path, fd in siblings.near(view.layers[0]):
        try:
            if layers.attribute(attribute, fd) == own:
                yield path
        except OSError:
            continue

"""What can precede a name and a colon, to say what kind of thing it is."""

from __future__ import annotations

ENGINES = ("docker", "podman", "containerd")
IMAGE, LAYER, PATH = "image", "layer", "path"
#: The kinds that engines' stores know.
KINDS = (*ENGINES, IMAGE, LAYER)

"""What a shared walk puts between its batches (see `layerctl.inspecting.parallel`)."""

from __future__ import annotations

#: A subtree begins, ends, or is left to the other process. Compared by identity.
BEGIN: list[str] = ["begin"]
END: list[str] = ["end"]
HOLE: list[str] = ["hole"]

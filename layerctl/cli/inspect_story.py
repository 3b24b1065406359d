"""The story of one path, told by `layerctl inspect merged`."""

from __future__ import annotations

from layerctl.cli.inspect_common import end
from layerctl.errors import EXIT_NOT_FOUND, EXIT_OK
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.story import tell
from layerctl.render.columns import original
from layerctl.render.entries import story_document, unknown_fields
from layerctl.render.mounts import known_fields
from layerctl.render.output import Output, write
from layerctl.render.story import print_story
from layerctl.render.tables import STORY
from layerctl.stores import owners


def write_story(view: Opened, path: str, output: Output, *, unfolded: bool) -> int:
    """Write how each layer treats a path; return the exit code."""
    story = tell(view, path)
    document = story_document(story, view.layers) | unknown_fields(view)
    rows = document.pop("layers")

    if not output.whole and output.wanted(STORY) & {"label", "step", "directory"}:
        known = owners.known_of(view.layers)
        rows = [row | known_fields(known[original(row, "path")]) for row in rows]

    def human() -> None:
        known = owners.known_of(view.layers)
        print_story(story, output.color, known, unfolded=unfolded, exact=output.sizes)

    write(STORY, rows, output, human=human, beside=lambda: document)
    return end(view) or (EXIT_OK if story.visible else EXIT_NOT_FOUND)

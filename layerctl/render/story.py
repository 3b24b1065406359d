"""One path's story for people."""

from __future__ import annotations

from layerctl.codecs.escape import printable
from layerctl.inspecting.story import Story, noun
from layerctl.render.tree import write_lines


def print_story(story: Story) -> None:
    """Print what shows the path, then every layer with its state and reason, then sentences."""
    path = printable(story.path) or "."
    if story.visible and story.letter is not None:
        link = "" if story.link is None else f" to {printable(story.link)}"
        head = f"{path}: a {noun(story.letter)}{link}, from layer {story.provider}"
        if not story.reachable:
            head += " (listed, but a lookup is denied)"
    else:
        head = f"{path}: not visible"
    lines = [head]
    width = len(str(len(story.layers) - 1))
    for layer in story.layers:
        where = printable(layer.file if layer.file is not None else layer.directory)
        lines.append(f"  {layer.index:>{width}}  {layer.state:<8}  {printable(layer.reason)}")
        lines.append(f"  {'':>{width}}  {'':<8}  {where}")
    lines += [printable(line) for line in story.lines]
    write_lines(lines)

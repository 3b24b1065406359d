"""One path's story for people."""

from __future__ import annotations

from layerctl.codecs.escape import printable
from layerctl.inspecting.resolvers.tree import noun
from layerctl.inspecting.story import Story
from layerctl.render.human import WORDS, layer_code, paint, wants_colour
from layerctl.render.tree import write_lines


def print_story(story: Story, color: str) -> None:
    """Print what shows the path, then every layer with its state and reason, then sentences."""
    path = printable(story.path) or "."
    if story.visible and story.letter is not None:
        link = "" if story.link is None else f" to {printable(story.link)}"
        head = f"{path}: a {noun(story.letter)}{link}, from layer {story.provider}"
        if not story.reachable:
            head += " (listed, but a lookup fails)"
    else:
        head = f"{path}: not visible"
    colour = wants_colour(color)
    lines = [paint(head, "1", colour=colour)]
    width = len(str(len(story.layers) - 1))
    for layer in story.layers:
        where = printable(layer.file if layer.file is not None else layer.directory)
        state = paint(f"{layer.state:<8}", WORDS[layer.state], colour=colour)
        lines.append(f"  {layer.index:>{width}}  {state}  {printable(layer.reason)}")
        if layer.file is not None:
            where = paint(where, layer_code(layer.index), colour=colour)
        lines.append(f"  {'':>{width}}  {'':<8}  {where}")
    lines += [printable(line) for line in story.lines]
    write_lines(lines)

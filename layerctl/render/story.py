"""One path's story for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from layerctl.codecs.escape import printable
from layerctl.inspecting.resolvers.tree import noun
from layerctl.inspecting.story import LayerStory, Story
from layerctl.render.details import brief
from layerctl.render.elide import plain_step
from layerctl.render.human import WORDS, layer_code, paint, wants_colour
from layerctl.render.tree import write_lines
from layerctl.stores.owners import Known


def print_story(
    story: Story,
    color: str,
    known: Mapping[str, Known],
    *,
    unfolded: bool = False,
    exact: bool = False,
) -> None:
    """Print what provides the path, then every layer with its state and reason, then notes.

    `known` is what stores know of the layers' directories. Consecutive layers that lack the path
    for the same reason are one line, unless `unfolded`. `exact` prints sizes in bytes.
    """
    colour = wants_colour(color)
    lines = [paint(_head(story), "1", colour=colour)]
    runs = list(_runs(story.layers, unfolded=unfolded))
    width = max(len(_numbers(run)) for run in runs)
    for run in runs:
        layer = run[0]
        state = paint(f"{layer.state:<8}", WORDS[layer.state], colour=colour)
        lines.append(f"  {_numbers(run):>{width}}  {state}  {printable(layer.reason)}")
        margin = " " * (width + 14)
        if layer.details is not None:
            like = brief(layer.details, is_marker=layer.state == "whiteout", exact=exact)
            lines.append(margin + paint(like, "2", colour=colour))
        if layer.state != "absent" and (what := _known(known.get(layer.directory))):
            lines.append(margin + paint(what, "2", colour=colour))
        if layer.file is not None:
            lines.append(
                margin + paint(printable(layer.file), layer_code(layer.index), colour=colour)
            )
        elif layer.state != "absent" or unfolded:
            lines.append(margin + printable(layer.directory))
    lines += [printable(line) for line in story.lines]
    write_lines(lines)


def _head(story: Story) -> str:
    """Return in a sentence what provides the path."""
    path = printable(story.path) or "."
    if not story.visible or story.letter is None:
        return f"{path}: not visible"
    link = "" if story.link is None else f" to {printable(story.link)}"
    head = f"{path}: a {noun(story.letter)}{link}, from layer {story.provider}"
    return head if story.reachable else f"{head} (listed, but a lookup fails)"


def _runs(layers: Sequence[LayerStory], *, unfolded: bool) -> Iterator[list[LayerStory]]:
    """Yield the layers; consecutive ones that lack the path for the same reason together."""

    def kind(layer: LayerStory) -> tuple[object, ...]:
        folds = layer.state == "absent" and not unfolded
        return ("", layer.reason) if folds else (layer.index,)

    for _, run in groupby(layers, key=kind):
        yield list(run)


def _known(known: Known | None) -> str:
    """Return in words what a store knows of a layer."""
    if known is None:
        return ""
    return printable("  ".join(filter(None, (known.label, plain_step(known.step)))))


def _numbers(run: Sequence[LayerStory]) -> str:
    first, last = run[0].index, run[-1].index
    return str(first) if first == last else f"{first}-{last}"

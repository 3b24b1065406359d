"""`layerctl inspect merged`."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import click

from layerctl.cli.common import layer_flags_and
from layerctl.cli.complete import merged_arguments
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import end, opened_stack, streams, write_stream
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.errors import EXIT_NOT_FOUND, EXIT_OK, RequestError
from layerctl.inspecting.details import Reader
from layerctl.inspecting.filters import Filter
from layerctl.inspecting.listing import Listing
from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.tree import TYPES, EntryKind, MergedDir
from layerctl.inspecting.story import tell
from layerctl.inspecting.summary import summarise
from layerctl.inspecting.usage import measure
from layerctl.model import Stack
from layerctl.render.columns import Listing as Table
from layerctl.render.details import KEYS, ORIGINS, detail_fields
from layerctl.render.entries import (
    JsonEntries,
    entry_documents,
    story_document,
    unknown_fields,
    write_paths,
)
from layerctl.render.errors import note
from layerctl.render.json import Document
from layerctl.render.output import Format, Output, write
from layerctl.render.progress import watched
from layerctl.render.story import print_story
from layerctl.render.stream import separator
from layerctl.render.summary import summary_documents
from layerctl.render.tables import ENTRIES, STORY, SUMMARY
from layerctl.render.tree import print_tree

#: What, with --layer and --summary, makes PATH a directory to list instead of asking its story.
_OF_LISTINGS = ("as_tree", "types", "old_types", "max_depth", "glob")

_TYPE_NAMES = tuple(dict.fromkeys(TYPES.values()))


def _listing(_: Output, given: dict[str, Any]) -> Table:
    """Return what the arguments of the command ask for."""
    if given["summary"]:
        return SUMMARY
    path = _target_and_path(given["request"], given["arguments"])[1]
    narrowed = given["layer"] is not None or any(given[name] for name in _OF_LISTINGS)
    return ENTRIES if path is None or narrowed else STORY


@click.command("merged", cls=WithExamples)
@layer_flags_and(_TYPE_NAMES)
@output_options(ENTRIES, STORY, SUMMARY, which=_listing, sorts=True)
@click.option("--tree", "as_tree", is_flag=True, help="Draw the tree (default).")
@click.option("--summary", is_flag=True, help="Sum up entries and bytes per layer.")
@click.option("--layer", type=int, metavar="N", help="Show only what layer N provides.")
@click.option(
    "--file-type", "types", multiple=True, type=click.Choice(_TYPE_NAMES),
    help="Show only this type of file.",
)  # fmt: skip
@click.option(
    "--max-depth", type=click.IntRange(min=1), metavar="N", help="Descend at most N levels."
)
@click.option(
    "--glob",
    metavar="PATTERN",
    help="Show only matching names (paths, if PATTERN contains a slash).",
)
@click.option("--all", "unfolded", is_flag=True, help="Name every layer that has nothing at PATH.")
@click.option("--thorough", is_flag=True, help="Also read the attributes of every file.")
@click.argument("arguments", nargs=-1, metavar="[TARGET] [PATH]", shell_complete=merged_arguments)
def command(
    *,
    request: Request,
    output: Output,
    as_tree: bool,
    summary: bool,
    layer: int | None,
    types: tuple[str, ...],
    max_depth: int | None,
    glob: str | None,
    thorough: bool,
    unfolded: bool,
    arguments: tuple[str, ...],
    old_types: tuple[str, ...],
) -> int:
    """Show the merged tree and which layer provides each entry.

    TARGET is a mount; with layer options, leave it out. With PATH, relative to the merged root,
    show how each layer treats that path; exit with 3 if it is not visible.

    With --tree, --summary, --layer, --file-type, --max-depth or --glob, list the directory PATH.
    """
    listing = _listing(output, locals())
    plain = output.format is not Format.HUMAN or not output.whole
    if as_tree and (plain or summary):
        raise RequestError(
            "usage",
            "--tree cannot be combined with other output options",
            hint="remove --tree",
        )
    target, path = _target_and_path(request, arguments)
    for one in old_types:
        note(f"--type {one} is deprecated; use --file-type {one}")
    with opened_stack(target, request, partial(_check_layer, layer), thorough=thorough) as view:
        if listing is STORY:
            return _story(view, path or "", output, unfolded=unfolded)
        wanted = Filter(layer=layer, types=(*types, *old_types), glob=glob)
        search = Listing(view.resolver, path or "", max_depth, wanted)
        if path:
            search.root().close()  # refused before anything is written
        if listing is SUMMARY:
            narrowed = bool(path) or max_depth is not None or not wanted.wants_all
            _summary(view, search, output, narrowed=narrowed)
        elif streams(output):
            lines = JsonEntries(view.layers, separator(as_document=output.as_json)).lines
            write_stream(view, ENTRIES, search, lines, output)
        else:
            _list(view, search, output)
        return end(view)


def _check_layer(layer: int | None, stack: Stack) -> None:
    if layer is not None and not 0 <= layer < len(stack.layers):
        raise RequestError(
            "no-such-layer",
            f"there is no layer {layer}",
            hint=f"use 0 (the topmost) to {len(stack.layers) - 1}",
        )


def _target_and_path(request: Request, arguments: tuple[str, ...]) -> tuple[str | None, str | None]:
    given = list(arguments)
    target = None if request.names_layers or not given else given.pop(0)
    if len(given) > 1:
        raise RequestError(
            "usage",
            f"too many arguments: {given[1]}",
            hint="with layer options, PATH is the only argument"
            if request.names_layers
            else "give one TARGET and at most one PATH",
        )
    return target, relative(given[0], target) if given else None


def relative(path: str, target: str | None) -> str:
    """Return PATH as it lies in the merged tree: no slash before or after it, no `.` or `..`.

    An absolute path below TARGET means the same place as seen through the mount.
    """
    if target is not None and path.startswith("/"):
        for base in (os.path.abspath(target), os.path.realpath(target)):
            if base != "/" and (path == base or path.startswith(base + "/")):
                path = path[len(base) :]
                break
    return os.path.normpath("/" + path).strip("/")


def _list(view: Opened, search: Listing, output: Output) -> None:
    shown = output.sort is None and not output.reverse
    chunks = watched(search, lambda chunk: len(chunk.entries), shown_as_found=shown)
    if output.format is Format.NUL and output.whole:
        write_paths(chunks)
        return
    wanted = output.wanted(ENTRIES) & KEYS
    reader = Reader(view.resolver, origins=bool(wanted & ORIGINS))

    def more(directory: MergedDir, name: str, kind: EntryKind) -> Document:
        if not wanted:
            return {}
        return detail_fields(reader.of(directory, name, kind.layer, kind.alias), wanted)

    write(
        ENTRIES,
        entry_documents(chunks, view.layers, more),
        output,
        human=lambda: print_tree(chunks, view.layers, output.color),
        beside=lambda: unknown_fields(view),
    )


def _story(view: Opened, path: str, output: Output, *, unfolded: bool) -> int:
    story = tell(view, path)
    document = story_document(story, view.layers) | unknown_fields(view)
    rows = document.pop("layers")

    def human() -> None:
        print_story(story, output.color, unfolded=unfolded, exact=output.sizes)

    write(STORY, rows, output, human=human, beside=lambda: document)
    return end(view) or (EXIT_OK if story.visible else EXIT_NOT_FOUND)


def _summary(view: Opened, search: Listing, output: Output, *, narrowed: bool) -> None:
    counted = watched(search, lambda chunk: len(chunk.entries), shown_as_found=False)
    rows = summary_documents(summarise(view, counted), view.layers)
    if "hidden" in output.wanted(SUMMARY) and not narrowed:
        for row, sums in zip(rows, measure(view).tally.by_layer(), strict=True):
            row["hidden"] = sums.hidden
    write(SUMMARY, rows, output)

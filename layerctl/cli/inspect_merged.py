"""`layerctl inspect merged`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from layerctl.cli.common import find_stack, layer_flags
from layerctl.cli.complete import merged_arguments
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.codecs.escape import printable
from layerctl.codecs.request import Request
from layerctl.errors import EXIT_NOT_FOUND, EXIT_OK, RequestError
from layerctl.inspecting.opening import Opened, opened
from layerctl.inspecting.resolvers.tree import TYPES
from layerctl.inspecting.walk import walk
from layerctl.render.errors import note
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import ENTRIES, STORY, SUMMARY

if TYPE_CHECKING:
    from layerctl.inspecting.filters import Filter
    from layerctl.inspecting.resolvers.tree import EntryKind, MergedDir
    from layerctl.inspecting.walk import Chunk
    from layerctl.render.columns import Listing
    from layerctl.render.json import Document

#: What, with --layer and --summary, makes PATH a directory to list instead of asking its story.
_OF_LISTINGS = ("as_tree", "types", "max_depth", "glob")

_TYPE_NAMES = tuple(dict.fromkeys(TYPES.values()))


def _listing(_: Output, given: dict[str, Any]) -> Listing:
    """Return what the arguments of the command ask for."""
    if given["summary"]:
        return SUMMARY
    path = _target_and_path(given["request"], given["arguments"])[1]
    narrowed = given["layer"] is not None or any(given[name] for name in _OF_LISTINGS)
    return ENTRIES if path is None or narrowed else STORY


@click.command("merged", cls=WithExamples)
@layer_flags
@output_options(ENTRIES, STORY, SUMMARY, which=_listing, sorts=True)
@click.option("--tree", "as_tree", is_flag=True, help="Draw the tree (default).")
@click.option("--summary", is_flag=True, help="Sum up entries and bytes per layer.")
@click.option("--layer", type=int, metavar="N", help="Show only what layer N provides.")
@click.option(
    "--type", "types", multiple=True, type=click.Choice(_TYPE_NAMES), help="Show only this type."
)
@click.option(
    "--max-depth", type=click.IntRange(min=1), metavar="N", help="Descend at most N levels."
)
@click.option(
    "--glob",
    metavar="PATTERN",
    help="Show only matching names (paths, if PATTERN contains a slash).",
)
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
    arguments: tuple[str, ...],
) -> int:
    """Show the merged tree and which layer provides each entry.

    TARGET is a mount; with layer options, leave it out. With PATH, relative to the merged root,
    show how each layer treats that path; exit with 3 if it is not visible.

    With --tree, --summary, --layer, --type, --max-depth or --glob, list the directory PATH.
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
    stack, notes, mount = find_stack(target, request)
    for text in notes:
        note(text)
    if layer is not None and not 0 <= layer < len(stack.layers):
        raise RequestError(
            "no-such-layer",
            f"there is no layer {layer}",
            hint=f"use 0 (the topmost) to {len(stack.layers) - 1}",
        )
    with opened(stack, mount, thorough=thorough) as view:
        for text in view.notes:
            note(text)
        if listing is STORY:
            return _story(view, path or "", output)
        from layerctl.inspecting.filters import Filter
        from layerctl.inspecting.subtree import open_at

        if path:
            open_at(view.resolver, path).close()  # refused before anything is written
        wanted = Filter(layer=layer, types=types, glob=glob)
        start = partial(open_at, view.resolver, path or "")
        walking = partial(walk, view.resolver, start=start, max_depth=max_depth)
        if summary:
            _summary(view, wanted.apply(walking()), output)
        elif output.whole and output.format in (Format.JSON, Format.JSONL):
            _stream(view, wanted, walking, as_lines=output.format is Format.JSONL)
        else:
            _list(view, wanted.apply(walking()), output)
        tell_unknown(view)
    return EXIT_OK


# `-t` is the filesystem's type here as everywhere; `--type` is what a user narrows a listing by.
for _parameter in command.params:
    if _parameter.name == "fstype":
        _parameter.opts.remove("--type")


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


def _stream(
    view: Opened, wanted: Filter, walking: Callable[..., Iterator[Chunk]], *, as_lines: bool
) -> None:
    """Write entries as JSON, as they are found, with a second process where it is worth it."""
    from layerctl.inspecting.parallel import Team, spread
    from layerctl.render import entries, stream
    from layerctl.render.progress import lines_of, watched

    reasons = view.resolver.reasons
    team = Team(lambda: reasons, reasons.merge)
    chunks = wanted.apply(walking(team=team))
    separator = "\n" if as_lines else ",\n"
    batches = entries.JsonEntries(view.layers, separator).batches(chunks)
    shared = spread(team, batches, separator)
    counted = watched(shared, lines_of, shown_as_found=True)
    if as_lines:
        stream.write_lines(counted)
    else:
        stream.write_document("entries", counted, lambda: entries.unknown_fields(view))


def _list(view: Opened, chunks: Iterable[Chunk], output: Output) -> None:
    from layerctl.inspecting.details import Reader
    from layerctl.render import entries
    from layerctl.render.details import KEYS, ORIGINS, detail_fields
    from layerctl.render.progress import watched

    shown = output.sort is None and not output.reverse
    chunks = watched(chunks, lambda chunk: len(chunk.entries), shown_as_found=shown)

    if output.format is Format.NUL and output.whole:
        entries.write_paths(chunks)
        return
    from layerctl.render.tree import print_tree

    wanted = output.wanted(ENTRIES) & KEYS
    reader = Reader(view.resolver, origins=bool(wanted & ORIGINS))

    def more(directory: MergedDir, name: str, kind: EntryKind) -> Document:
        if not wanted:
            return {}
        return detail_fields(reader.of(directory, name, kind.layer, kind.alias), wanted)

    write(
        ENTRIES,
        entries.entry_documents(chunks, view.layers, more),
        output,
        human=lambda: print_tree(chunks, view.layers, output.color),
        beside=lambda: entries.unknown_fields(view),
    )


def _story(view: Opened, path: str, output: Output) -> int:
    from layerctl.inspecting.story import tell
    from layerctl.render.entries import story_document
    from layerctl.render.story import print_story

    story = tell(view, path)
    document = story_document(story, view.layers)
    rows = document.pop("layers")
    write(
        STORY, rows, output, human=lambda: print_story(story, output.color), beside=lambda: document
    )
    return EXIT_OK if story.visible else EXIT_NOT_FOUND


def _summary(view: Opened, chunks: Iterable[Chunk], output: Output) -> None:
    from layerctl.inspecting.summary import summarise
    from layerctl.render.progress import watched
    from layerctl.render.summary import summary_documents

    counted = watched(chunks, lambda chunk: len(chunk.entries), shown_as_found=False)
    write(SUMMARY, summary_documents(summarise(view, counted), view.layers), output)


def tell_unknown(view: Opened) -> None:
    """Report on standard error what could not be read."""
    for one in view.resolver.reasons.kept[:20]:
        note(f"layer {one.layer}: {printable(one.path) or '.'} cannot be read: {one.reason}")
    more = len(view.resolver.reasons.kept[20:]) + view.resolver.reasons.more
    if more:
        note(f"{more} more could not be read")

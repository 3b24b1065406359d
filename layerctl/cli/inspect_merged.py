"""`layerctl inspect merged`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from layerctl.cli.common import layer_flags_and
from layerctl.cli.complete import merged_arguments
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import GLOB_HELP, opened_stack
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.inspecting.resolvers.tree import TYPES
from layerctl.render.columns import Listing as Table
from layerctl.render.errors import note
from layerctl.render.output import Format, Output
from layerctl.render.tables import ENTRIES, STORY, SUMMARY
from layerctl.usecases.inspect import check_layer, target_and_path

#: What, with --layer and --summary, makes PATH a directory to list instead of asking its story.
_OF_LISTINGS = ("as_tree", "types", "old_types", "max_depth", "glob")

_TYPE_NAMES = tuple(dict.fromkeys(TYPES.values()))


def _listing(_: Output, given: dict[str, Any]) -> Table:
    """Return what the arguments of the command ask for."""
    if given["summary"]:
        return SUMMARY
    path = target_and_path(given["request"], given["arguments"])[1]
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
@click.option("--glob", metavar="PATTERN", help=GLOB_HELP)
@click.option("--all", "unfolded", is_flag=True, help="Name every layer that has nothing at PATH.")
@click.option("--thorough", is_flag=True, help="Also read the attributes of every file.")
@click.argument("arguments", nargs=-1, metavar="[TARGET] [PATH]", shell_complete=merged_arguments)
def command(
    *,
    request: Request,
    output: Output,
    as_tree: bool,
    summary: bool,
    thorough: bool,
    unfolded: bool,
    arguments: tuple[str, ...],
    old_types: tuple[str, ...],
    **narrowing: Any,
) -> int:
    """Show the merged tree and which layer provides each entry.

    TARGET is a mount; with layer options, leave it out. With PATH, relative to the merged root,
    show how each layer treats that path; exit with 3 if it is not visible.

    With --tree, --summary, --layer, --file-type, --max-depth or --glob, list the directory PATH.
    """
    listing = _listing(output, locals() | narrowing)
    plain = output.format is not Format.HUMAN or not output.whole
    if as_tree and (plain or summary):
        raise RequestError(
            "usage",
            "--tree cannot be combined with other output options",
            hint="remove --tree",
        )
    target, path = target_and_path(request, arguments)
    for one in old_types:
        note(f"--type {one} is deprecated; use --file-type {one}")
    # A story and a listing have little in common: each is loaded where it is asked for.
    with opened_stack(target, partial(check_layer, narrowing["layer"]), thorough=thorough) as view:
        if listing is STORY:
            from layerctl.cli.inspect_story import write_story

            return write_story(view, path or "", output, unfolded=unfolded)
        from layerctl.cli.inspect_tree import write_tree

        narrowing["types"] += old_types
        return write_tree(view, path or "", output, summary=summary, **narrowing)

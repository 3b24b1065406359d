"""`layerctl diff`."""

from __future__ import annotations

from contextlib import ExitStack

import click

from layerctl.cli.change_output import change_options, listing_of_changes, write_changes
from layerctl.cli.common import ROOT
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import end
from layerctl.cli.output import output_options
from layerctl.inspecting.filters import Paths
from layerctl.inspecting.opening import opened
from layerctl.inspecting.two_trees import Differences
from layerctl.render.errors import note
from layerctl.render.output import Output
from layerctl.render.tables import CHANGE_STATS, CHANGE_SUMS, DIFFERENCES
from layerctl.usecases.inspect import path_in_tree
from layerctl.usecases.targets import open_tree


@click.command("diff", cls=WithExamples)
@output_options(DIFFERENCES, CHANGE_SUMS, CHANGE_STATS, which=listing_of_changes, sorts=True)
@change_options
@ROOT
@click.argument("first", metavar="A", shell_complete=targets)
@click.argument("second", metavar="B", shell_complete=targets)
@click.argument("path", metavar="[PATH]", required=False)
def command(
    *,
    output: Output,
    summary: bool,
    stat: bool,
    patch: bool,
    glob: str | None,
    root: str | None,
    first: str,
    second: str,
    path: str | None,
) -> int:
    """Show what must change in the tree of A to make it that of B.

    A and B are mounts or directories. Layers that both have are not read. With PATH, compare only
    PATH and what is below it.
    """
    listing = listing_of_changes(output, locals())
    with ExitStack() as stack:
        views = []
        for name in (first, second):
            found = open_tree(name, root)
            views.append(stack.enter_context(opened(found.stack, found.mount)))
            for text in (*found.notes, *views[-1].notes):
                note(text)
        inside = "" if path is None else path_in_tree(path, second)
        wanted = Paths(inside, glob) if inside or glob is not None else None
        search = Differences(views[0], views[1], wanted)
        write_changes(views[1], search, listing, output, patch=patch)
        return max(map(end, views))

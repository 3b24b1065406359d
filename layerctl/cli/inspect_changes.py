"""`layerctl inspect changes`."""

from __future__ import annotations

from functools import partial

import click

from layerctl.cli.change_output import change_options, listing_of_changes, write_changes
from layerctl.cli.common import layer_flags
from layerctl.cli.complete import merged_arguments
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import end, opened_stack
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.inspecting.changes import Changes
from layerctl.inspecting.filters import Paths
from layerctl.render.output import Output
from layerctl.render.tables import CHANGE_STATS, CHANGE_SUMS, CHANGES
from layerctl.usecases.inspect import check_changing, check_since, target_and_path


@click.command("changes", cls=WithExamples)
@layer_flags
@output_options(CHANGES, CHANGE_SUMS, CHANGE_STATS, which=listing_of_changes, sorts=True)
@click.option(
    "--format", "letters", type=click.Choice(["docker"]), help="Use the format of docker diff."
)
@click.option(
    "--since", type=int, metavar="N", default=None,
    help="Compare the layers above N with the tree below them (default: 1).",
)  # fmt: skip
@click.option("--layer", type=int, metavar="N", help="Show what layer N alone changes.")
@change_options
@click.option("--content", is_flag=True, help="Compare file contents even if the times match.")
@click.argument("arguments", nargs=-1, metavar="[TARGET] [PATH]", shell_complete=merged_arguments)
def command(
    *,
    request: Request,
    output: Output,
    letters: str | None,
    since: int | None,
    layer: int | None,
    summary: bool,
    stat: bool,
    patch: bool,
    glob: str | None,
    content: bool,
    arguments: tuple[str, ...],
) -> int:
    """Show what the upper layer added, modified, deleted or renamed.

    With PATH, show only what changed there and below.
    """
    listing = listing_of_changes(output, locals())
    target, path = target_and_path(request, arguments)
    first, last = _span(since, layer)
    check = partial(check_since, last) if layer is None else partial(check_changing, layer)
    with opened_stack(target, partial(check, arguments[0] if arguments else None)) as view:
        wanted = Paths(path or "", glob) if path or glob is not None else None
        search = Changes(view, last, content=content, top=first, wanted=wanted)
        write_changes(view, search, listing, output, letters=letters, patch=patch)
        return end(view)


def _span(since: int | None, layer: int | None) -> tuple[int, int]:
    """Return the topmost layer whose changes to show, and the first below those. Raises."""
    if since is None:
        return (0, 1) if layer is None else (layer, layer + 1)
    if layer is not None:
        raise RequestError(
            "usage",
            "--since and --layer cannot be combined",
            hint="use --since for all layers above N, --layer for one layer",
        )
    return 0, since

"""`layerctl commit`."""

from __future__ import annotations

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import directories, targets
from layerctl.cli.help import WithExamples
from layerctl.cli.working import (
    carry_out,
    noted_target,
    run_of,
    warn_of_uppers,
    work_options,
)  # fmt: skip
from layerctl.codecs.request import Request
from layerctl.render.output import Output
from layerctl.usecases.working import committing, flattening_into


@click.command("commit", cls=WithExamples)
@layer_flags
@work_options
@click.option(
    "--into", metavar="DIR", shell_complete=directories,
    help="Create a new layer as this directory instead; change nothing.",
)  # fmt: skip
@click.option(
    "--layer", "layers", metavar="N[..M]",
    help="Merge layer N, or each from N to M, into the next one; 0 is the topmost (default: 0). "
    "With --into, make one layer of these (default: 0..1).",
)  # fmt: skip
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    output: Output,
    dry_run: bool,
    form: str | None,
    into: str | None,
    layers: str | None,
    target: str | None,
) -> None:
    """Merge the upper layer of an overlay into the layer below it.

    The upper layer is empty afterwards. The merged tree stays the same at every step: an
    interrupted run is completed by running the command again. The overlay must not be mounted, and
    no other mount may use the layers. Directories with redirects and metadata-only files become
    whole first. An indexed layer is refused before anything is changed.

    The same with the topmost branch of an aufs, where --into takes a run from 0. The names of one
    file are separate files until the last of them is merged.

    With --into, make one new layer of several, which shows the same in their place. Whiteouts stay
    where layers below have the name. DIR must not exist.
    """
    found = noted_target(target, request)
    if into is None:
        run = run_of(layers or "0")
        work = committing(found.stack, run)
    else:
        run = run_of(layers or "0..1")
        work = flattening_into(found.stack, run, into)
    with work as steps:
        if into is None:
            warn_of_uppers(found.stack, range(run.start + 1, run.stop + 1))
        carry_out(steps, output, dry_run=dry_run, form=form)

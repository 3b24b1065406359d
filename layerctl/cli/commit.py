"""`layerctl commit`."""

from __future__ import annotations

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.working import carry_out, work_options
from layerctl.codecs.request import Request
from layerctl.render.errors import note
from layerctl.render.output import Output
from layerctl.usecases.targets import open_target
from layerctl.usecases.working import committing


@click.command("commit", cls=WithExamples)
@layer_flags
@work_options
@click.argument("target", required=False, shell_complete=targets)
def command(
    *, request: Request, output: Output, dry_run: bool, form: str | None, target: str | None
) -> None:
    """Merge the upper layer of an overlay into the layer below it.

    The upper layer is empty afterwards. The merged tree stays the same at every step: an
    interrupted run is completed by running the command again. The overlay must not be mounted, and
    no other mount may use the lower layer. Refuse, before anything is changed, layers with
    redirects or metadata-only files, and indexed ones.
    """
    found = open_target(target, request)
    for text in found.notes:
        note(text)
    with committing(found.stack) as steps:
        carry_out(steps, output, dry_run=dry_run, form=form)

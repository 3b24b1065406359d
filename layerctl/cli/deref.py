"""`layerctl deref`."""

from __future__ import annotations

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import directories, targets
from layerctl.cli.help import WithExamples
from layerctl.cli.working import carry_out, noted_target, work_options
from layerctl.codecs.request import Request
from layerctl.render.output import Output
from layerctl.usecases.working import flattening_into


@click.command("deref", cls=WithExamples)
@layer_flags
@work_options
@click.option(
    "--into", required=True, metavar="DIR", shell_complete=directories,
    help="Create the new layer as this directory.",
)  # fmt: skip
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    output: Output,
    dry_run: bool,
    form: str | None,
    into: str,
    target: str | None,
) -> None:
    """Copy the topmost layer of an overlay without redirects and metadata-only files.

    In the place of the old layer, the new one shows the same merged tree on kernels and to tools
    that do not know redirects. Nothing is mounted, and the old layers stay as they are. DIR must
    not exist.
    """
    found = noted_target(target, request)
    with flattening_into(found.stack, range(1), into) as steps:
        carry_out(steps, output, dry_run=dry_run, form=form)

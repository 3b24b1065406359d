"""`layerctl trim`."""

from __future__ import annotations

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.working import carry_out, noted_target, work_options
from layerctl.codecs.request import Request
from layerctl.render.output import Output
from layerctl.usecases.working import trimming


@click.command("trim", cls=WithExamples)
@layer_flags
@work_options
@click.option(
    "--ignore-mtime", is_flag=True, help="Remove copies that differ in their times alone, too."
)
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    output: Output,
    dry_run: bool,
    form: str | None,
    ignore_mtime: bool,
    target: str | None,
) -> None:
    """Remove what changes nothing from an upper layer, or from the topmost branch of an aufs.

    Remove copies that equal the lower file in everything (type, mode, owner, time, attributes,
    content), whiteouts over nothing and opaque markers without effect. The merged tree stays the
    same at every step. The overlay must not be mounted. Files with several names stay.
    """
    found = noted_target(target, request)
    with trimming(found.stack, ignore_times=ignore_mtime) as steps:
        carry_out(steps, output, dry_run=dry_run, form=form)

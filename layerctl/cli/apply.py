"""`layerctl apply`."""

from __future__ import annotations

import click

from layerctl.cli.complete import directories
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.cli.working import carry_out
from layerctl.render.errors import note
from layerctl.render.output import Output
from layerctl.render.tables import STEPS
from layerctl.usecases.applying import applying
from layerctl.usecases.keeping import drop, open_run


@click.command("apply", cls=WithExamples)
@output_options(STEPS)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, without doing it.")
@click.option("--force", is_flag=True, help="Overwrite what the host changed meanwhile, too.")
@click.argument("directory", metavar="DIR", shell_complete=directories)
@click.argument("chosen", nargs=-1, metavar="[PATH]...")
def command(
    *, output: Output, dry_run: bool, force: bool, directory: str, chosen: tuple[str, ...]
) -> None:
    """Apply what a run changed, kept in DIR by run --keep, to the system.

    Refuse, before anything is changed, if the system has changed the same paths since the run
    began; name those. With PATH, apply only what is at or below it. If it is interrupted, running
    it again completes it. DIR is removed when all is applied.
    """
    kept = open_run(directory)
    with applying(kept, chosen, force=force, dry_run=dry_run) as steps:
        carry_out(steps, output, dry_run=dry_run, form=None)
    if not dry_run and not chosen:
        drop(kept)
    elif not dry_run:
        note(f"the rest stays in {directory}: layerctl apply or drop {directory}")

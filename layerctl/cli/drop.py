"""`layerctl drop`."""

from __future__ import annotations

import click

from layerctl.cli.common import json_option
from layerctl.cli.complete import directories
from layerctl.cli.help import WithExamples
from layerctl.render import json
from layerctl.usecases.keeping import drop, open_run


@click.command("drop", cls=WithExamples)
@json_option
@click.argument("directory", metavar="DIR", shell_complete=directories)
def command(*, as_json: bool, directory: str) -> None:
    """Drop what a run changed, kept in DIR by run --keep, and remove DIR.

    Refuse if processes of the run still use it.
    """
    kept = open_run(directory)
    drop(kept)
    if as_json:
        json.write(json.path_fields("dropped", kept.path))

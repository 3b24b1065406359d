"""`layerctl list`."""

from __future__ import annotations

import click

from layerctl.cli.common import source_options
from layerctl.cli.output import output_options
from layerctl.kernel import mounts
from layerctl.render.mounts import mounted_document
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import MOUNTS


@click.command("list")
@output_options(MOUNTS)
@source_options
def command(*, output: Output, sysfs: str, mountinfo: str) -> None:
    """List every overlay and aufs mount that this process can see."""
    found = mounts.layered(mountinfo, sysfs)
    if not found and output.format is Format.HUMAN:
        from layerctl.render.errors import note

        note("no overlay or aufs is mounted here (other mount namespaces are not looked at)")
        return
    write(MOUNTS, map(mounted_document, found), output)

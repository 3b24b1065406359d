"""`layerctl list`."""

from __future__ import annotations

import click

from layerctl.cli.common import source_options
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.kernel import containers, live_layers, mounts
from layerctl.render.mounts import listed_document
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import LIST


@click.command("list", cls=WithExamples)
@output_options(LIST)
@source_options
def command(*, output: Output, sysfs: str, mountinfo: str) -> None:
    """List every overlay and aufs mount that this process can see.

    The container that a mount is the root of is named where the directories of Docker, podman or
    containerd tell it.
    """
    found = mounts.layered(mountinfo, sysfs)
    if mountinfo == mounts.SELF_MOUNTINFO:
        found = live_layers.noted(found)
    if not found and output.format is Format.HUMAN:
        from layerctl.render.errors import note

        note("no overlay or aufs is mounted here (other mount namespaces are not looked at)")
        return
    write(LIST, (listed_document(one, containers.of(one)) for one in found), output)

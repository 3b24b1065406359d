"""`layerctl list`."""

from __future__ import annotations

import click

from layerctl.cli.common import source_options
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.kernel import live_layers, mounts
from layerctl.render.errors import note
from layerctl.render.mounts import listed_document
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import LIST
from layerctl.stores import owners


@click.command("list", cls=WithExamples)
@output_options(LIST)
@source_options
def command(*, output: Output, sysfs: str, mountinfo: str) -> None:
    """List the overlay and aufs mounts in this mount namespace.

    If a mount is the root of a container of Docker, podman or containerd, show the container.
    """
    found = mounts.layered(mountinfo, sysfs)
    if mountinfo == mounts.SELF_MOUNTINFO:
        found = live_layers.noted(found)
    if not found and output.format is Format.HUMAN:
        note("no overlay or aufs is mounted in this mount namespace")
        return
    write(LIST, (listed_document(one, owners.of(one)) for one in found), output)

"""`layerctl list`."""

from __future__ import annotations

from typing import Any

import click

from layerctl.cli.common import ROOT, source_options
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.errors import EXIT_FOUND, EXIT_OK
from layerctl.kernel import live_layers, mounts
from layerctl.render.columns import Listing
from layerctl.render.errors import note
from layerctl.render.mounts import add_known, listed_document
from layerctl.render.named import known_document
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import LIST, STACKS
from layerctl.stores import owners
from layerctl.usecases.named import known_stacks


def _listing(_: Output, given: dict[str, Any]) -> Listing:
    return STACKS if given["everything"] or given["root"] else LIST


@click.command("list", cls=WithExamples)
@output_options(LIST, STACKS, which=_listing)
@click.option("--all", "everything", is_flag=True, help="List containers and images, too.")
@ROOT
@source_options
def command(
    *, output: Output, everything: bool, root: str | None, sysfs: str, mountinfo: str
) -> int:
    """List the overlay and aufs mounts in this mount namespace.

    If a mount is the root of a container of Docker, podman or containerd, show the container. With
    --all, list every container and image, running or not; with --root, those of another disk.
    """
    if everything or root is not None:
        return _everything(output, root)
    found = mounts.layered(mountinfo, sysfs)
    if mountinfo == mounts.SELF_MOUNTINFO:
        found = live_layers.noted(found)
    if not found and output.format is Format.HUMAN:
        note("no overlay or aufs is mounted in this mount namespace")
        return EXIT_OK
    known = owners.known_of(layer.path for one in found for layer in one.stack.layers)
    rows = [listed_document(one, owners.of(one)) for one in found]
    for row in rows:
        add_known(row, known)
    write(LIST, rows, output)
    return EXIT_OK


def _everything(output: Output, root: str | None) -> int:
    found, unknown = known_stacks(root)
    for text in unknown:
        note(text)
    if not found and output.format is Format.HUMAN:
        note("no mount, container or image was found")
    else:
        rows = map(known_document, found)
        write(STACKS, rows, output, beside=lambda: {"unknown": list(unknown)})
    return EXIT_FOUND if unknown else EXIT_OK

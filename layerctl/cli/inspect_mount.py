"""`layerctl inspect mount`."""

from __future__ import annotations

import click

from layerctl.cli.common import layer_flags, source_options
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.codecs.escape import printable
from layerctl.codecs.request import Request
from layerctl.kernel import live_layers, mounts
from layerctl.model import Stack
from layerctl.render.columns import Listing
from layerctl.render.errors import note
from layerctl.render.json import Document
from layerctl.render.mounts import (
    add_labels,
    layer_rows,
    mounted_document,
    stack_document,
    stack_lines,
)
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import LAYER, LAYERS, MOUNTS
from layerctl.rules.aufs import with_permissions
from layerctl.stores import owners
from layerctl.usecases.stacks import as_shown
from layerctl.usecases.targets import named, open_target


def _listing(output: Output, _: object) -> Listing:
    """Return the mount as one row, or a row for each layer where that is what is asked for."""
    if output.columns is None or output.columns.startswith("+"):
        return LAYERS if output.format in (Format.RAW, Format.NUL) else MOUNTS
    of_layers = {column.name for column in LAYER}
    return LAYERS if of_layers & set(output.columns.upper().split(",")) else MOUNTS


@click.command("mount", cls=WithExamples)
@layer_flags
@output_options(MOUNTS, LAYERS, which=_listing)
@source_options
@click.argument("target", required=False, shell_complete=targets)
def command(
    *, request: Request, output: Output, sysfs: str, mountinfo: str, target: str | None
) -> None:
    """Show the type, layers and effective options of the mount on TARGET.

    With layer options instead of TARGET, show what they mean. With --raw and -0, write one row per
    layer.
    """
    head, stack, document = _found(target, request, mountinfo, sysfs)

    def human() -> None:
        click.echo("\n".join([head, *stack_lines(stack)]))

    add_labels(document, owners.labels_of(layer.path for layer in stack.layers))
    if _listing(output, None) is LAYERS:
        write(LAYERS, layer_rows(document), output)
    else:
        write(MOUNTS, [document], output, human=human)


def _found(
    target: str | None, request: Request, mountinfo: str, sysfs: str
) -> tuple[str, Stack, Document]:
    """Return the first line, the stack and the document of what TARGET or layer flags mean."""
    elsewhere = mountinfo != mounts.SELF_MOUNTINFO or sysfs != mounts.AUFS_SYSFS
    if target is None or request.names_layers:
        found = open_target(target, request)
    elif elsewhere:
        found = as_shown(mounts.find_layered(target, mountinfo, sysfs))
    else:
        found = named(target, request.root, shown=True)
    stack = found.stack
    if found.mount is None:
        if stack.fstype == "aufs":
            stack = with_permissions(stack)
        return f"{stack.fstype}, not mounted", stack, stack_document(stack, None, None)
    mounted = mounts.Mounted(found.mount, stack, found.notes)
    if mountinfo == mounts.SELF_MOUNTINFO:
        (mounted,) = live_layers.noted([mounted])
    for text in mounted.notes:
        note(text)
    entry = mounted.entry
    head = f"{printable(entry.target)}: {stack.fstype} from {printable(entry.source)}"
    return head, stack, mounted_document(mounted, stack)

"""`layerctl inspect mount`."""

from __future__ import annotations

import sys

import click

from layerctl.cli.common import layer_flags, source_options
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.codecs.escape import printable
from layerctl.codecs.request import Request
from layerctl.errors import LayerctlError
from layerctl.kernel import live_layers, mounts
from layerctl.model import MountEntry, Stack
from layerctl.render.columns import Column, Listing
from layerctl.render.errors import note
from layerctl.render.json import Document
from layerctl.render.mounts import (
    add_known,
    layer_rows,
    mounted_document,
    option_lines,
    stack_document,
)
from layerctl.render.output import Format, Output, table, write
from layerctl.render.tables import LAYER, LAYERS, MOUNTS
from layerctl.render.tree import write_lines
from layerctl.rules.aufs import with_permissions
from layerctl.stores import owners
from layerctl.usecases.stacks import as_shown
from layerctl.usecases.targets import named, open_target

#: The columns of the table for people, each only if anything is known.
_TABLE = ("INDEX", "ROLE", "PERMISSION", "LABEL", "STEP", "SIZE", "PATH")
#: How many entries of a layer are counted for people at most, which takes a blink.
_MOST = 20_000


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
    head, stack, document, entry = _found(target, request, mountinfo, sysfs)
    add_known(document, owners.known_of(layer.path for layer in stack.layers))
    is_here = entry is None or mountinfo == mounts.SELF_MOUNTINFO

    def human() -> None:
        rows = layer_rows(document)
        if is_here:
            _add_sizes(rows, stack, entry, output, most=_MOST)
        click.echo(head)
        table(_columns(rows), rows, output)
        write_lines(option_lines(stack))

    if _listing(output, None) is LAYERS:
        rows = layer_rows(document)
        if is_here and "size" in output.wanted(LAYERS):
            _add_sizes(rows, stack, entry, output, most=sys.maxsize)
        write(LAYERS, rows, output)
    else:
        write(MOUNTS, [document], output, human=human)


def _columns(rows: list[Document]) -> tuple[Column, ...]:
    """Return the columns of the table for people, but those in which nothing is known."""
    shown = (LAYERS.column(name) for name in _TABLE)
    return tuple(
        one for one in shown if one is not None and any(any(one.lines(row)) for row in rows)
    )


def _add_sizes(
    rows: list[Document], stack: Stack, mount: MountEntry | None, output: Output, *, most: int
) -> None:
    """Add what layers take up, of large ones at least how much; nothing if that is unknown."""
    from layerctl.usecases.usage import sizes  # which scripts seldom ask for

    try:
        found = sizes(stack, mount, most)
    except LayerctlError as error:
        if output.format is not Format.HUMAN:
            raise
        note(f"sizes are unknown: {error.message}")
        return
    for row, (size, whole) in zip(rows, found, strict=True):
        row["size"] = size
        if not whole:
            row["more"] = True


def _found(
    target: str | None, request: Request, mountinfo: str, sysfs: str
) -> tuple[str, Stack, Document, MountEntry | None]:
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
        return f"{stack.fstype}, not mounted", stack, stack_document(stack, None, None), None
    mounted = mounts.Mounted(found.mount, stack, found.notes)
    if mountinfo == mounts.SELF_MOUNTINFO:
        (mounted,) = live_layers.noted([mounted])
    for text in mounted.notes:
        note(text)
    entry = mounted.entry
    head = f"{printable(entry.target)}: {stack.fstype} from {printable(entry.source)}"
    return head, stack, mounted_document(mounted, stack), entry

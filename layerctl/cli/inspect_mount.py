"""`layerctl inspect mount`."""

from __future__ import annotations

import click

from layerctl.cli.common import json_option, resolve_relative
from layerctl.codecs.escape import printable
from layerctl.errors import NotFoundError
from layerctl.kernel import mounts
from layerctl.render import json
from layerctl.render.errors import note
from layerctl.render.mounts import mounted_document, stack_lines


@click.command("mount")
@json_option
@click.argument("target")
def command(*, as_json: bool, target: str) -> None:
    """Decode the stack of the mount at TARGET: type, layers, options in effect."""
    mounted = mounts.find_layered(target)
    try:
        stack, notes = resolve_relative(mounted)
    except NotFoundError as error:
        stack, notes = mounted.stack, (error.message,)
    for text in notes:
        note(text)
    if as_json:
        json.write({"mounts": [mounted_document(mounted, stack)]})
        return
    click.echo(f"{printable(mounted.entry.target)}: {stack.fstype} from {mounted.entry.source}")
    click.echo("\n".join(stack_lines(stack)))

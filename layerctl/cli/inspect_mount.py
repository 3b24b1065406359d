"""`layerctl inspect mount`."""

from __future__ import annotations

import click

from layerctl.cli.common import resolve_relative, source_options
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.codecs.escape import printable
from layerctl.errors import NotFoundError
from layerctl.kernel import mounts
from layerctl.render.errors import note
from layerctl.render.mounts import mounted_document, stack_lines
from layerctl.render.output import Output, write
from layerctl.render.tables import MOUNTS


@click.command("mount", cls=WithExamples)
@output_options(MOUNTS)
@source_options
@click.argument("target", shell_complete=targets)
def command(*, output: Output, sysfs: str, mountinfo: str, target: str) -> None:
    """Decode the stack of the mount at TARGET: type, layers, options in effect."""
    mounted = mounts.find_layered(target, mountinfo, sysfs)
    try:
        stack, notes = resolve_relative(mounted)
    except NotFoundError as error:
        stack, notes = mounted.stack, (error.message,)
    for text in notes:
        note(text)

    def human() -> None:
        entry = mounted.entry
        click.echo(f"{printable(entry.target)}: {stack.fstype} from {printable(entry.source)}")
        click.echo("\n".join(stack_lines(stack)))

    write(MOUNTS, [mounted_document(mounted, stack)], output, human=human)

"""`layerctl cat`."""

from __future__ import annotations

import sys
from functools import partial

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import merged_arguments
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import end, opened_stack
from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.inspecting.contents import open_file, open_version
from layerctl.kernel.layers import blocks
from layerctl.usecases.inspect import check_layer, target_and_path


@click.command("cat", cls=WithExamples)
@layer_flags
@click.option("--layer", type=int, metavar="N", help="Write the version in layer N.")
@click.argument("arguments", nargs=-1, metavar="[TARGET] PATH", shell_complete=merged_arguments)
def command(*, request: Request, layer: int | None, arguments: tuple[str, ...]) -> int:
    """Write a file of the merged tree, or one layer's version of it, to standard output.

    TARGET is a mount; with layer options, leave it out. PATH is relative to the merged root.
    """
    target, path = target_and_path(request, arguments)
    if path is None:
        raise RequestError("usage", "no PATH was given", hint="name a file of the merged tree")
    with opened_stack(target, partial(check_layer, layer)) as view:
        fd = open_file(view.resolver, path) if layer is None else open_version(view, path, layer)
        for block in blocks(fd):
            sys.stdout.buffer.write(block)
        return end(view)

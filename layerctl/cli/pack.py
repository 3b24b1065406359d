"""`layerctl pack`."""

from __future__ import annotations

import os
import sys

import click

from layerctl.cli.common import json_option, layer_flags_without_o
from layerctl.cli.complete import files, targets
from layerctl.cli.help import WithExamples
from layerctl.cli.working import noted_target, run_of
from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.kernel.streams import GZIP, NONE, ZSTD
from layerctl.render import json
from layerctl.render.archives import packed_document, packed_lines
from layerctl.render.errors import note
from layerctl.usecases.archives import STDOUT, pack


@click.command("pack", cls=WithExamples)
@layer_flags_without_o
@click.option(
    "--layer", "layers", metavar="N[..M]",
    help="Pack this layer, or these as one; 0 is the topmost (default: 0).",
)  # fmt: skip
@click.option("--merged", is_flag=True, help="Pack the whole merged tree, without whiteouts.")
@click.option(
    "-o", "--output", "to", metavar="FILE", default=STDOUT, shell_complete=files,
    help="Write the archive to this file (default: standard output).",
)  # fmt: skip
@click.option(
    "--compress", "compression", type=click.Choice([GZIP, ZSTD, NONE]), default=NONE,
    show_default=True, help="Compress the archive.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    layers: str | None,
    merged: bool,
    to: str,
    compression: str,
    force: bool,
    as_json: bool,
    target: str | None,
) -> None:
    """Write a layer as an OCI layer archive.

    Markers become the whiteouts of OCI; redirects and metadata-only files are resolved against the
    layers below. Several layers become one that shows the same in their place. The same layer gives
    the same archive; times after SOURCE_DATE_EPOCH become that. Print the diff id and the digest,
    to standard error if the archive goes to standard output.
    """
    if merged and layers is not None:
        raise RequestError(
            "usage",
            "--merged and --layer cannot be combined",
            hint="--merged packs what all layers show together",
        )
    if to == STDOUT and sys.stdout.isatty():
        raise RequestError(
            "usage",
            "an archive cannot be written to a terminal",
            hint="name a file with -o, or redirect standard output",
        )
    run = None if merged else run_of(layers or "0")
    found = noted_target(target, request)
    archive = pack(found, run, to=to, force=force, compression=compression, environment=os.environ)
    for text in archive.notes:
        note(text)
    lines = [json.dumps(packed_document(archive))] if as_json else packed_lines(archive)
    click.echo("\n".join(lines), err=to == STDOUT)

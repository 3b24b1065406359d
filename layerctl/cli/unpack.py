"""`layerctl unpack`."""

from __future__ import annotations

import click

from layerctl.cli.common import json_option
from layerctl.cli.complete import directories, files
from layerctl.cli.help import WithExamples
from layerctl.codecs import idmap
from layerctl.errors import EXIT_FOUND, EXIT_OK
from layerctl.render import json
from layerctl.render.archives import unpacked_document, unpacked_lines
from layerctl.render.errors import note
from layerctl.usecases.unpacking import archive, unpack
from layerctl.working.archives.unpacking import AUFS, OVERLAY, PLAIN


@click.command("unpack", cls=WithExamples)
@click.option(
    "--as", "form", type=click.Choice([OVERLAY, AUFS, PLAIN]), default=OVERLAY, show_default=True,
    help="Write the markers of this filesystem, or apply them to a plain tree.",
)  # fmt: skip
@click.option(
    "--below", metavar="DIR", multiple=True, shell_complete=directories,
    help="A layer that will be below it, topmost first: for directories and files that the archive "
    "names and does not have.",
)  # fmt: skip
@click.option(
    "--map", "maps", metavar="[u:|g:]UID:HOST:COUNT", multiple=True,
    help="Give files of UID to HOST (COUNT of them).",
)  # fmt: skip
@json_option
@click.argument("file", shell_complete=files)
@click.argument("directory", metavar="DIR", shell_complete=directories)
def command(
    *,
    form: str,
    below: tuple[str, ...],
    maps: tuple[str, ...],
    as_json: bool,
    file: str,
    directory: str,
) -> int:
    """Unpack an OCI layer archive into the layer directory DIR.

    FILE may be compressed with gzip or zstd; `-` is standard input. Whiteouts become those of
    overlay, with attributes of trusted.* as root and of user.* otherwise. DIR must be new or empty,
    except with --as plain. Nothing is written outside of DIR. Exit with 1 if DIR lacks something
    that the caller may not create. Print the diff id and the digest.
    """
    ids = idmap.join(pair for text in maps for pair in idmap.extents(text)) if maps else None
    with archive(file) as pieces:
        found = unpack(pieces, directory, form=form, below=below, ids=ids)
    for text in found.notes:
        note(text)
    lines = [json.dumps(unpacked_document(found))] if as_json else unpacked_lines(found)
    click.echo("\n".join(lines))
    return EXIT_FOUND if found.notes else EXIT_OK

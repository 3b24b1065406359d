"""`layerctl unpack`."""

from __future__ import annotations

import click

from layerctl.cli.common import json_option
from layerctl.cli.complete import directories, files
from layerctl.cli.help import WithExamples
from layerctl.codecs import idmap
from layerctl.errors import EXIT_FOUND, EXIT_OK, RequestError
from layerctl.render import json
from layerctl.render.archives import unpacked_document, unpacked_lines
from layerctl.render.errors import note
from layerctl.usecases.unpacking import Wanted, mount_unpacked, unpack
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
@click.option("--ref", metavar="NAME", help="Unpack this one of several images in FILE.")
@click.option(
    "--mount", "target", metavar="TARGET", shell_complete=directories,
    help="Mount what was unpacked on TARGET, read-only.",
)  # fmt: skip
@json_option
@click.argument("file", shell_complete=files)
@click.argument("directory", metavar="DIR", shell_complete=directories)
def command(
    *,
    form: str,
    below: tuple[str, ...],
    maps: tuple[str, ...],
    ref: str | None,
    target: str | None,
    as_json: bool,
    file: str,
    directory: str,
) -> int:
    """Unpack an OCI layer archive or an image into the directory DIR.

    FILE may be compressed with gzip or zstd; `-` is standard input. Whiteouts become those of
    overlay, with attributes of trusted.* as root and of user.* otherwise. An image may be an OCI
    layout, an archive of one or of docker save, or the name of one in a local store: its layers
    get the directories DIR/0, the topmost, DIR/1 and so on, and their digests are verified. DIR
    must be new or empty, except with --as plain. Nothing is written outside of DIR. Exit with 1 if
    DIR lacks something that the caller may not create.
    """
    if target is not None and form != OVERLAY:
        raise RequestError(
            "usage", "--mount requires the layers of an overlay", hint="remove --as or --mount"
        )
    ids = idmap.join(pair for text in maps for pair in idmap.extents(text)) if maps else None
    found = unpack(file, directory, Wanted(form, below, ids, ref))
    notes = [text for layer in found.layers for text in layer.notes]
    for text in notes:
        note(text)
    document = unpacked_document(directory, found.layers, is_image=found.is_image)
    lines = [json.dumps(document)] if as_json else unpacked_lines(found.layers)
    click.echo("\n".join(lines))
    if target is not None:
        mount_unpacked(found, below, target)
    return EXIT_FOUND if notes else EXIT_OK

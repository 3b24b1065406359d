"""`layerctl convert`."""

from __future__ import annotations

import click

from layerctl.cli.complete import directories
from layerctl.cli.help import WithExamples
from layerctl.cli.working import carry_out, work_options
from layerctl.render.output import Output
from layerctl.usecases.converting import converting
from layerctl.working.converting.forms import Form

_FORMS = click.Choice([form.value for form in Form])


@click.command("convert", cls=WithExamples)
@click.option("--to", required=True, type=_FORMS, help="The filesystem that is to read the layer.")
@click.option(
    "--from", "given", type=_FORMS,
    help="The filesystem that wrote it (default: what its markers show).",
)  # fmt: skip
@click.option(
    "--into", metavar="DIR", shell_complete=directories,
    help="Create a new layer as this directory instead; change nothing.",
)  # fmt: skip
@click.option(
    "-o", "--options", "option", type=click.Choice(["userxattr"]),
    help="With userxattr, overlay's markers are user.overlay.* attributes.",
)  # fmt: skip
@work_options
@click.argument("layer", metavar="LAYER", shell_complete=directories)
def command(
    *,
    to: str,
    given: str | None,
    into: str | None,
    option: str | None,
    output: Output,
    dry_run: bool,
    form: str | None,
    layer: str,
) -> None:
    """Write the markers of a layer in the form of another filesystem.

    LAYER is one directory: an upper or lower layer of an overlay or of fuse-overlayfs, or a branch
    of an aufs. Its whiteouts and opaque directories are converted, aufs's own files are created or
    removed, and all else stays as it is. No mount may use the layer.

    Each marker is removed after the new one is there, so an interrupted run loses nothing and is
    completed by running the command again. Refuse, before anything is changed, what the other form
    cannot express: redirects and metadata-only files, names with '.wh.' in an aufs, names that are
    too long.
    """
    source = None if given is None else Form(given)
    converted = converting(layer, Form(to), source, into, user=option is not None)
    with converted as steps:
        carry_out(steps, output, dry_run=dry_run, form=form)

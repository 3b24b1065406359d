"""`layerctl restore`."""

from __future__ import annotations

import click

from layerctl.cli.common import writable_layer_flags
from layerctl.cli.complete import merged_arguments
from layerctl.cli.help import WithExamples
from layerctl.cli.working import carry_out, noted_target, work_options
from layerctl.codecs.request import Request
from layerctl.errors import EXIT_NOT_FOUND, EXIT_OK, RequestError
from layerctl.render.errors import note
from layerctl.render.output import Output
from layerctl.usecases.inspect import path_in_tree
from layerctl.usecases.working import restoring
from layerctl.working.sites import Wish


@click.command("restore", cls=WithExamples)
@writable_layer_flags
@work_options
@click.option("-r", "--recursive", is_flag=True, help="Restore directories with all they hold.")
@click.option(
    "--layer", type=int, metavar="N", help="Bring back the version of layer N, as a copy."
)
@click.argument("arguments", nargs=-1, metavar="[TARGET] PATH...", shell_complete=merged_arguments)
def command(
    *,
    request: Request,
    output: Output,
    dry_run: bool,
    form: str | None,
    recursive: bool,
    layer: int | None,
    arguments: tuple[str, ...],
) -> int:
    """Undo what the upper layer did at PATH: bring a deleted or changed file back.

    Drop the upper layer's version of PATH, its whiteout or its opaque directory, so that what the
    layers below have shows again. What only the upper layer has is gone then. A renamed directory
    goes back to its old name. Each PATH changes in one step, and nothing else does. On an aufs,
    which must not be mounted, the upper layer is the topmost branch, and --layer does not work.

    TARGET is a mount; with layer options, leave it out. A live mount is changed through itself:
    what the layers below have is copied into it, and a merged directory is restored path by path.
    Once it is unmounted, `layerctl trim` removes copies of files.

    PATH is relative to the merged root. Exit with 3 if no layer has a PATH.
    """
    given = list(arguments)
    name = None if request.names_layers or not given else given.pop(0)
    target = noted_target(name, request)
    paths = [path_in_tree(path, name) for path in given]
    if target.path:
        paths = [f"{target.path}/{path}".rstrip("/") for path in paths or [""]]
    if not paths:
        raise RequestError("usage", "no PATH was given", hint="name what to restore")
    wish = Wish(tuple(paths), recursive, layer)
    with restoring(target.stack, wish, target.mount) as (missing, steps):
        for path in missing:
            note(f"no layer has '{path}'")
        carry_out(steps, output, dry_run=dry_run, form=form, each=True)
    return EXIT_NOT_FOUND if missing else EXIT_OK

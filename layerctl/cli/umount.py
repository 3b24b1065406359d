"""`layerctl umount`."""

from __future__ import annotations

import click

from layerctl.cli.common import json_option
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.render import json
from layerctl.render.mounts import mounted_document
from layerctl.usecases.umount import unmount_target


@click.command("umount", cls=WithExamples)
@json_option
@click.option(
    "--lazy", is_flag=True, help="Detach the mount now; clean up when it is no longer busy."
)
@click.option("--force", is_flag=True, help="Unmount an aufs even if that breaks hard links.")
@click.argument("target", shell_complete=targets)
def command(*, as_json: bool, lazy: bool, force: bool, target: str) -> None:
    """Unmount the layered mount on TARGET.

    If it is busy, list what is using it. Directories are never removed. Before unmounting
    an aufs, repair hard links to changed files; if that is not possible, --force is required.
    """
    mounted = unmount_target(target, lazy=lazy, force=force)
    if as_json:
        json.write({"unmounted": [mounted_document(mounted)]})

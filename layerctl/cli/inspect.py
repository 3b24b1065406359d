"""`layerctl inspect`: the group of commands that look inside."""

from __future__ import annotations

import click

from layerctl.cli.main import LazyGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "mount": ("layerctl.cli.inspect_mount", "Show the layers and options of a mount."),
    "merged": ("layerctl.cli.inspect_merged", "Show the merged tree and where it comes from."),
    "whiteouts": ("layerctl.cli.inspect_whiteouts", "List whiteouts and opaque directories."),
    "changes": ("layerctl.cli.inspect_changes", "Show the changes in the upper layer."),
    "aufs": ("layerctl.cli.inspect_aufs", "Show the branches of aufs from sysfs."),
}


@click.command(
    "inspect",
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Examine a layered mount, or layers that are not mounted."""

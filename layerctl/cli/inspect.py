"""`layerctl inspect`: the group of commands that look inside."""

from __future__ import annotations

import click

from layerctl.cli.main import LazyGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "mount": ("layerctl.cli.inspect_mount", "Decode one mount's stack."),
    "merged": ("layerctl.cli.inspect_merged", "Show what is visible and from which layer."),
    "whiteouts": ("layerctl.cli.inspect_whiteouts", "List whiteouts and opaque directories."),
    "changes": ("layerctl.cli.inspect_changes", "Show what the upper layer changed."),
    "aufs": ("layerctl.cli.inspect_aufs", "Show aufs's branches as sysfs tells them."),
}


@click.command(
    "inspect",
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Look inside a layered mount, or at layers that nobody has mounted."""

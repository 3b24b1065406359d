"""`layerctl branch`: the branches of a live aufs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from layerctl.cli.common import json_option
from layerctl.cli.complete import aufs_targets, directories
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.codecs.escape import printable
from layerctl.kernel.mounts import Mounted
from layerctl.render import json
from layerctl.render.errors import note
from layerctl.render.mounts import layer_document
from layerctl.render.output import Output, write
from layerctl.render.tables import BRANCHES
from layerctl.usecases.branch import carry_out, find_aufs, plan_changes

dry_run_option = click.option(
    "-n", "--dry-run", is_flag=True, help="Show the remount options, without changing anything."
)
_target = click.argument("target", shell_complete=aufs_targets)


class Branches(WithExamples, click.Group):
    """The group, with examples in its help."""


@click.group("branch", cls=Branches, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List or change the branches of a mounted aufs."""


def _change(
    target: str,
    word: str,
    names: Sequence[str],
    position: int | None = None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    changes = plan_changes(target, word, names, position)
    if dry_run:
        planned = changes.result()
        if as_json:
            json.write(_document(planned) | {"remounts": list(changes.options)})
        else:
            click.echo("\n".join(f"remount,{printable(option)}" for option in changes.options))
        return
    now, notes = carry_out(changes, target)
    for text in notes:
        note(text)
    if as_json:
        json.write(_document(now))


def _document(mounted: Mounted) -> json.Document:
    layers = [layer_document(index, layer) for index, layer in enumerate(mounted.stack.layers)]
    return {**json.path_fields("target", mounted.entry.target), "branches": layers}


@command.command("list", cls=WithExamples)
@output_options(BRANCHES)
@_target
def list_branches(*, output: Output, target: str) -> None:
    """List the branches of TARGET, topmost first."""
    document = _document(find_aufs(target))
    rows = document.pop("branches")
    write(BRANCHES, rows, output, beside=lambda: document)


@command.command("add", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument("index", type=click.IntRange(min=0))
@click.argument("branch", metavar="DIR[=PERM]", shell_complete=directories)
def add(*, dry_run: bool, as_json: bool, target: str, index: int, branch: str) -> None:
    """Insert a branch at position INDEX of TARGET; 0 is the top."""
    _change(target, "add", [branch], index, dry_run=dry_run, as_json=as_json)


@command.command("append", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument(
    "names", nargs=-1, required=True, metavar="DIR[=PERM]...", shell_complete=directories
)
def append(*, dry_run: bool, as_json: bool, target: str, names: tuple[str, ...]) -> None:
    """Add branches at the bottom of TARGET, in order."""
    _change(target, "append", names, dry_run=dry_run, as_json=as_json)


@command.command("prepend", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument(
    "names", nargs=-1, required=True, metavar="DIR[=PERM]...", shell_complete=directories
)
def prepend(*, dry_run: bool, as_json: bool, target: str, names: tuple[str, ...]) -> None:
    """Add branches at the top of TARGET; the first becomes the topmost."""
    _change(target, "prepend", names, dry_run=dry_run, as_json=as_json)


@command.command("del", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument("names", nargs=-1, required=True, metavar="DIR...", shell_complete=directories)
def delete(*, dry_run: bool, as_json: bool, target: str, names: tuple[str, ...]) -> None:
    """Remove branches from TARGET, but keep their directories."""
    _change(target, "del", names, dry_run=dry_run, as_json=as_json)


@command.command("mod", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument("names", nargs=-1, required=True, metavar="DIR=PERM...", shell_complete=directories)
def modify(*, dry_run: bool, as_json: bool, target: str, names: tuple[str, ...]) -> None:
    """Change the permissions of branches of TARGET."""
    _change(target, "mod", names, dry_run=dry_run, as_json=as_json)

"""`layerctl branch`: the branches of a live aufs."""

from __future__ import annotations

import click

from layerctl.cli.common import json_option
from layerctl.cli.complete import aufs_targets, directories
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.codecs.escape import printable
from layerctl.codecs.request import parse_branch_flag
from layerctl.errors import NotFoundError
from layerctl.kernel import mounts, paths, standing
from layerctl.kernel.mounts import Mounted
from layerctl.model import Layer, Role
from layerctl.mounting import branches
from layerctl.render.json import Document, path_fields
from layerctl.render.output import Output, write
from layerctl.render.tables import BRANCHES
from layerctl.rules.aufs import BranchChange

dry_run_option = click.option(
    "-n", "--dry-run", is_flag=True, help="Show the remount options, without changing anything."
)
_target = click.argument("target", shell_complete=aufs_targets)


class Branches(WithExamples, click.Group):
    """The group, with examples in its help."""


@click.group("branch", cls=Branches, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List or change the branches of a mounted aufs."""


def _mounted(target: str) -> Mounted:
    mounted = mounts.find_layered(target)
    if mounted.entry.fstype != "aufs":
        raise NotFoundError(
            "not-aufs",
            f"{target} is an {mounted.entry.fstype} mount, not an aufs",
            why="overlay cannot change its layers while it is mounted",
            hint="unmount it and mount it again with other layers",
        )
    return mounted


def _branch(text: str) -> Layer:
    layer = parse_branch_flag(text)
    return layer._replace(path=paths.absolute(layer.path))


def _known(mounted: Mounted, layer: Layer) -> Layer:
    """Return a branch of the mount by any name it goes by."""
    path = branches.known_path(mounted.stack, layer.path)
    return layer if path is None else layer._replace(path=path)


def _change(
    name: str, target: Mounted, changes: list[BranchChange], *, dry_run: bool, as_json: bool
) -> None:
    if dry_run:
        stack = branches.planned(target, changes)
        options = [change.option(change.branch.path) for change in changes]
        if as_json:
            _json(target._replace(stack=stack), remounts=options)
        else:
            click.echo("\n".join(f"remount,{printable(option)}" for option in options))
        return
    standing.demand_name(name, target.entry)
    now, said = branches.apply(target, changes)
    from layerctl.render.errors import note

    for text in said:
        note(text)
    if as_json:
        _json(now)


def _json(mounted: Mounted, remounts: list[str] | None = None) -> None:
    from layerctl.render import json

    extra = {} if remounts is None else {"remounts": remounts}
    json.write(_document(mounted) | extra)


def _document(mounted: Mounted) -> Document:
    from layerctl.render.mounts import layer_document

    layers = [layer_document(index, layer) for index, layer in enumerate(mounted.stack.layers)]
    return {**path_fields("target", mounted.entry.target), "branches": layers}


@command.command("list", cls=WithExamples)
@output_options(BRANCHES)
@_target
def list_branches(*, output: Output, target: str) -> None:
    """List the branches of TARGET, topmost first."""
    document = _document(_mounted(target))
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
    mounted = _mounted(target)
    changes = [BranchChange("add", _branch(branch), index)]
    _change(target, mounted, changes, dry_run=dry_run, as_json=as_json)


@command.command("append", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument(
    "names", nargs=-1, required=True, metavar="DIR[=PERM]...", shell_complete=directories
)
def append(*, dry_run: bool, as_json: bool, target: str, names: tuple[str, ...]) -> None:
    """Add branches at the bottom of TARGET, in order."""
    mounted = _mounted(target)
    changes = [BranchChange("append", _branch(name)) for name in names]
    _change(target, mounted, changes, dry_run=dry_run, as_json=as_json)


@command.command("prepend", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument(
    "names", nargs=-1, required=True, metavar="DIR[=PERM]...", shell_complete=directories
)
def prepend(*, dry_run: bool, as_json: bool, target: str, names: tuple[str, ...]) -> None:
    """Add branches at the top of TARGET; the first becomes the topmost."""
    mounted = _mounted(target)
    changes = [BranchChange("prepend", _branch(name)) for name in reversed(names)]
    _change(target, mounted, changes, dry_run=dry_run, as_json=as_json)


@command.command("del", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument("names", nargs=-1, required=True, metavar="DIR...", shell_complete=directories)
def delete(*, dry_run: bool, as_json: bool, target: str, names: tuple[str, ...]) -> None:
    """Remove branches from TARGET, but keep their directories."""
    mounted = _mounted(target)
    named = [Layer(paths.absolute(name), Role.BRANCH) for name in names]
    changes = [BranchChange("del", _known(mounted, layer)) for layer in named]
    _change(target, mounted, changes, dry_run=dry_run, as_json=as_json)


@command.command("mod", cls=WithExamples)
@dry_run_option
@json_option
@_target
@click.argument("names", nargs=-1, required=True, metavar="DIR=PERM...", shell_complete=directories)
def modify(*, dry_run: bool, as_json: bool, target: str, names: tuple[str, ...]) -> None:
    """Change the permissions of branches of TARGET."""
    from layerctl.errors import RequestError

    mounted = _mounted(target)
    changes = []
    for name in names:
        layer = _known(mounted, _branch(name))
        if layer.permission is None:
            raise RequestError(
                "aufs-br-syntax",
                f"'{name}' has no permission",
                hint=f"layerctl branch mod {target} {name}=ro",
            )
        changes.append(BranchChange("mod", layer))
    _change(target, mounted, changes, dry_run=dry_run, as_json=as_json)

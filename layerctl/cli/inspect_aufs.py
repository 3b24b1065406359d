"""`layerctl inspect aufs`."""

from __future__ import annotations

import os

import click

from layerctl.cli.common import source_options
from layerctl.cli.complete import aufs_targets
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.codecs import aufs
from layerctl.codecs.aufs import SysfsInstance
from layerctl.codecs.escape import printable
from layerctl.errors import NotFoundError
from layerctl.kernel import mounts
from layerctl.render.errors import note
from layerctl.render.json import Document, path_fields
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import AUFS
from layerctl.rules.words import with_article


@click.command("aufs", cls=WithExamples)
@output_options(AUFS)
@source_options
@click.argument("which", required=False, metavar="[TARGET|si_ID]", shell_complete=aufs_targets)
def command(*, output: Output, sysfs: str, mountinfo: str, which: str | None) -> None:
    """Show aufs mounts from /sys/fs/aufs: branches, permissions, ids, xino path."""
    targets = _targets(mountinfo)
    if which is None:
        names = sorted(set(mounts.aufs_instances(sysfs)) | set(targets))
    elif which.startswith("si_") and "/" not in which:
        names = [which]
    else:
        names = [_instance_of(which, mountinfo)]
    instances = [_read(name, sysfs) for name in names]
    if not instances and output.format is Format.HUMAN:
        note("no aufs is mounted in this mount namespace")
        return

    def human() -> None:
        for one in instances:
            _print(one, targets.get(f"si_{one.id}"))

    rows = [_document(one, targets.get(f"si_{one.id}")) for one in instances]
    write(AUFS, rows, output, human=human)


def _print(one: SysfsInstance, target: str | None) -> None:
    click.echo(f"si_{one.id} on {'?' if target is None else printable(target)}")
    click.echo(f"       xino   {'none' if one.xino is None else printable(one.xino)}")
    for branch in one.branches:
        number = "" if branch.id is None else f"  id {branch.id}"
        click.echo(
            f"  {branch.position:>3}  {branch.permission:<10} {printable(branch.path)}{number}"
        )


def _targets(mountinfo: str) -> dict[str, str]:
    found = {}
    for entry in mounts.shown(mountinfo):
        if entry.fstype == "aufs":
            _, identity = aufs.from_super_options(entry.super_options)
            if identity is not None:
                found[f"si_{identity}"] = entry.target
    return found


def _instance_of(target: str, mountinfo: str) -> str:
    entry = mounts.find(target, mountinfo)
    _, identity = aufs.from_super_options(entry.super_options)
    if entry.fstype != "aufs" or identity is None:
        raise NotFoundError(
            "not-layered",
            f"{target} is {with_article(entry.fstype)} mount, not an aufs",
            commands=("layerctl inspect aufs",),
        )
    return f"si_{identity}"


def _read(name: str, sysfs: str) -> SysfsInstance:
    try:
        return mounts.aufs_instance(name, sysfs)
    except OSError as error:
        raise NotFoundError(
            "no-aufs-sysfs",
            f"{os.path.join(sysfs, name)} cannot be read: {error.strerror}",
            why="aufs shows its branches there while mounted, unless its module was loaded with "
            "brs=0",
            commands=("layerctl inspect aufs",),
        ) from None


def _document(one: SysfsInstance, target: str | None) -> Document:
    return {
        "id": one.id,
        **path_fields("target", target),
        **path_fields("xino", one.xino),
        "branches": [
            {
                "index": branch.position,
                "id": branch.id,
                **path_fields("path", branch.path),
                "permission": branch.permission,
            }
            for branch in one.branches
        ],
    }

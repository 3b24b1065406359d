"""Show and apply what a run wrote, in `run`, `apply` and `drop`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from layerctl.inspecting.texts import FileDiff, diffs
from layerctl.kernel import paths
from layerctl.kernel.process import signals_wait
from layerctl.render.changes import change_line
from layerctl.render.errors import note
from layerctl.render.human import wants_colour
from layerctl.render.patch import print_patch, print_stats
from layerctl.usecases.applying import applying
from layerctl.usecases.keeping import Kept, changed_places
from layerctl.usecases.looking import changes, placed, view_of
from layerctl.usecases.working import do


def show_changes(kept: Kept, *, stat: bool, patch: bool) -> None:
    """Show what a run changed: one line per path, or what changed in each file."""
    if stat or patch:
        _show_files(kept, patch=patch)
        return
    found, unread = changes(kept)
    colour = wants_colour("auto")
    for one in found:
        click.echo(change_line(one, colour=colour), err=not sys.stdout.isatty())
    for text in unread:
        note(f"cannot be read: {text}")
    if not found:
        note("no changes")


def _show_files(kept: Kept, *, patch: bool) -> None:
    found: list[FileDiff] = []
    for place in changed_places(kept):
        with view_of(kept, place) as (_, search):
            some = [one for batch in search for one in batch if one.change != "unchanged"]
            some.sort(key=lambda one: one.path)
            for diff in diffs(some, search.was, search.now, top=search.top):
                moved = placed(diff.change, place)
                found.append(diff._replace(change=moved._replace(path=moved.path.lstrip("/"))))
    if patch:
        print_patch(found, "auto")
    else:
        print_stats(found, "auto")


def apply_kept(kept: Kept, chosen: Sequence[str], *, force: bool) -> int:
    """Apply the changes, with signals waiting if they would be lost; return how many steps."""
    with applying(kept, chosen, force=force, dry_run=False) as steps:
        if not kept.memory:
            return sum(1 for _ in do(steps))
        with signals_wait():
            return sum(1 for _ in do(steps))


def rescue() -> str:
    """Return a new name for a directory that keeps what could not be applied."""
    return paths.unique("/var/tmp/layerctl-run-")  # noqa: S108 - a new directory, for the caller

"""`layerctl du`."""

from __future__ import annotations

from typing import Any

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import end
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.errors import EXIT_FOUND, EXIT_OK, LayerctlError
from layerctl.inspecting.opening import opened
from layerctl.inspecting.tally import StackUsage
from layerctl.kernel import mounts
from layerctl.render import usage as rendering
from layerctl.render.columns import Listing
from layerctl.render.entries import unknown_fields
from layerctl.render.errors import note
from layerctl.render.json import Document
from layerctl.render.output import Format, Output, write
from layerctl.render.tables import LARGEST, USAGE, USAGES
from layerctl.stores import owners
from layerctl.usecases import usage
from layerctl.usecases.stacks import Target, of_mount
from layerctl.usecases.targets import open_target


def _listing(_: Output, given: dict[str, Any]) -> Listing:
    if given["top"]:
        return LARGEST
    single = given["request"].names_layers or len(given["names"]) == 1
    return USAGE if single or given["by_layer"] else USAGES


@click.command("du", cls=WithExamples)
@layer_flags
@output_options(USAGE, USAGES, LARGEST, which=_listing, sorts=True)
@click.option("--layers", "by_layer", is_flag=True, help="Show the layers of every stack.")
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="Show the N largest paths instead."
)
@click.argument("names", nargs=-1, metavar="[TARGET]...", shell_complete=targets)
def command(
    *, request: Request, output: Output, by_layer: bool, top: int | None, names: tuple[str, ...]
) -> int:
    """Show the bytes that layers take up, and what of it the merged tree does not show.

    Without TARGET, measure every layered mount, container and image. Sizes are those of du(1):
    blocks, and hard links once. Efficiency is the part of the bytes that is visible.
    """
    listing = _listing(output, locals())
    subjects, unknown = usage.everything(request.root)
    measured = _Measured(usage.users_of_layers(subjects), top or 0)
    if request.names_layers:
        measured.add(open_target(names[0] if names else None, request), "")
    elif names:
        for name in names:
            measured.add(open_target(name, request), name)
    else:
        measured.all(subjects, unknown)
    _write(listing, measured, output)
    return measured.code


class _Measured:
    """The stacks that were measured so far, and the limits of what is known."""

    def __init__(self, users: usage.Users, top: int) -> None:
        self.top = top
        self.stacks: list[StackUsage] = []
        self.subjects: list[usage.Subject] = []
        self.limits: Document = {}
        self.code = EXIT_OK
        self._users = users

    def all(self, subjects: list[usage.Subject], unknown: list[str]) -> None:
        """Measure everything that can be measured, and name the rest."""
        for text in unknown:
            note(text)
            self.code = EXIT_FOUND
        for one in subjects:
            try:
                target = Target(one.stack) if one.mounted is None else of_mount(one.mounted)
                self.add(target._replace(container=one.container), one.name, one.kind)
            except LayerctlError as error:
                note(f"{one.name} is not measured: {error.message}")
                self.code = error.exit_code

    def add(self, asked: Target, name: str, kind: str = "") -> None:
        """Measure a stack. Raises LayerctlError."""
        container = asked.container
        if container is None and asked.mount is not None:
            container = owners.of(mounts.Mounted(asked.mount, asked.stack))
        for text in asked.notes:
            note(text)
        target = None if asked.mount is None else asked.mount.target
        with opened(asked.stack, asked.mount) as view:
            for text in view.notes:
                note(text)
            self.stacks.append(usage.of_stack(view, target, self._users, self.top))
            self.code = max(self.code, end(view))
            for key, value in unknown_fields(view).items():
                self.limits[key] = self.limits[key] + value if key in self.limits else value
        if not kind:
            kind = "container" if container else "mount" if target else "layers"
            name = container.label if container else target or name
        self.subjects.append(usage.Subject(kind, name, asked.stack, None, container))

    def rows(self, listing: Listing) -> list[Document]:
        """Return the rows of one of the listings."""
        if listing is USAGE:
            paths = [layer.path for stack in self.stacks for layer in stack.layers]
            return list(rendering.layer_documents(self.stacks, owners.known_of(paths)))
        if listing is LARGEST:
            return rendering.path_documents(self.stacks, self.top)
        return [
            rendering.stack_document(stack, one.kind, one.name, one.container)
            for stack, one in zip(self.stacks, self.subjects, strict=True)
        ]


def _write(listing: Listing, measured: _Measured, output: Output) -> None:
    rows = measured.rows(listing)
    total = usage.total(measured.stacks)
    if len(measured.stacks) > 1 and listing is not USAGES:
        listing = listing._replace(shown=("TARGET", *listing.shown))
    if output.format is Format.HUMAN and not any("label" in row for row in rows):
        listing = listing._replace(shown=tuple(one for one in listing.shown if one != "LABEL"))
    if not rows and output.format is Format.HUMAN:
        note(
            "nothing takes up any room"
            if measured.stacks
            else "no mount, container or image was found"
        )
        return
    write(
        listing,
        rows,
        output,
        beside=lambda: {"total": rendering.sums_fields(total), **measured.limits},
    )
    if output.format is Format.HUMAN and output.columns is None:
        click.echo("\n".join(["", *rendering.summary_lines(total, exact=output.sizes)]))

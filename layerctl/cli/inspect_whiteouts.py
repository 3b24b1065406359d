"""`layerctl inspect whiteouts`."""

from __future__ import annotations

import click

from layerctl.cli.common import find_stack, json_option, layer_flags
from layerctl.cli.inspect_merged import tell_unknown
from layerctl.codecs.request import Request
from layerctl.errors import RequestError
from layerctl.inspecting.opening import opened
from layerctl.render.errors import note


@click.command("whiteouts")
@layer_flags
@json_option
@click.option("--jsonl", "as_lines", is_flag=True, help="Write a line of JSON for each whiteout.")
@click.option("-0", "--null", "as_paths", is_flag=True, help="Write markers, each ended by a NUL.")
@click.option(
    "--thorough", is_flag=True, help="Look at every empty file for whiteouts by attribute."
)
@click.argument("target", required=False)
def command(
    *,
    request: Request,
    as_json: bool,
    as_lines: bool,
    as_paths: bool,
    thorough: bool,
    target: str | None,
) -> None:
    """List whiteouts and opaque directories: what each hides, and whether it has any effect."""
    if as_json + as_lines + as_paths > 1:
        raise RequestError(
            "usage", "two forms of output were asked for", hint="choose one of --json, --jsonl, -0"
        )
    stack, notes = find_stack(target, request)
    for text in notes:
        note(text)
    with opened(stack, live=target is not None, thorough=thorough) as view:
        from layerctl.inspecting.whiteouts import find
        from layerctl.render import whiteouts

        for text in view.notes:
            note(text)
        found = find(view, thorough=thorough)
        if as_json or as_lines or as_paths:
            from layerctl.render import entries, stream

            documents = map(whiteouts.whiteout_document, found)
            if as_paths:
                entries.write_names(one.marker for one in found)
            elif as_lines:
                stream.write_lines(documents)
            else:
                stream.write_document(
                    "whiteouts", stream.batches(documents), lambda: entries.unknown_fields(view)
                )
        elif not whiteouts.print_whiteouts(found):
            note("no whiteouts and no opaque directories")
        tell_unknown(view)

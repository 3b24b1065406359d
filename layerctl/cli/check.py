"""`layerctl check`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from layerctl.cli.common import layer_flags
from layerctl.cli.complete import targets
from layerctl.cli.help import WithExamples
from layerctl.cli.inspect_common import end
from layerctl.cli.output import output_options
from layerctl.cli.working import noted_target
from layerctl.codecs.request import Request
from layerctl.diagnosing.catalogue import marks
from layerctl.errors import EXIT_FOUND, EXIT_OK, RequestError
from layerctl.model import MountEntry, Stack
from layerctl.render.entries import unknown_fields
from layerctl.render.errors import note
from layerctl.render.output import Format, Output, write
from layerctl.render.progress import watched
from layerctl.render.tables import FAULTS
from layerctl.render.working import fault_document, fault_lines, summary_lines
from layerctl.usecases.working import checking, do, repairing
from layerctl.working.check.fault import WORK, Fault

_KINDS = ("safe", "ask")


@click.command("check", cls=WithExamples)
@layer_flags
@output_options(FAULTS)
@click.option(
    "--repair", is_flag=False, flag_value="safe", metavar="[safe|ask|CAUSE]",
    help="Mend faults: those that are safe, those that should be confirmed too, or of one cause.",
)  # fmt: skip
@click.option(
    "--no-quarantine", is_flag=True, help="Remove for good what a repair moves out of a layer."
)
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    output: Output,
    repair: str | None,
    no_quarantine: bool,
    target: str | None,
) -> int:
    """Check the layers of an overlay or aufs for wrong markers.

    Find whiteouts, opaque directories, redirects, metadata-only files, origins and work
    directories that the kernel refuses, ignores or misreads. With --repair, mend what was found
    and check again; what is removed goes to DIR.layerctl-quarantine beside the layer. A mounted
    stack is only checked. Exit with 1 if anything is wrong.
    """
    if repair is not None and repair not in (*_KINDS, *marks.CAUSES) and target is None:
        repair, target = "safe", repair  # --repair TARGET
    if repair is not None and repair not in (*_KINDS, *marks.CAUSES):
        raise RequestError(
            "usage",
            f"'{repair}' is not a cause that check finds",
            hint="name the cause as check prints it, or use --repair=ask",
        )
    asked = noted_target(target, request)
    if repair is not None:
        with repairing(asked.stack, repair, quarantine=not no_quarantine, warn=note) as steps:
            for line in summary_lines(do(steps), done=True):
                note(line)
    return _report(asked.stack, asked.mount, output)


def _report(stack: Stack, mount: MountEntry | None, output: Output) -> int:
    """Write what is wrong; return the exit code."""
    with checking(stack, mount) as (view, faults):
        found: Sequence[Fault] = list(watched(faults, lambda _: 1, shown_as_found=False))
        for text in view.notes:
            note(text)
        places = dict(enumerate(view.layers)) | {WORK: stack.work or ""}
        if output.format is Format.HUMAN and output.whole:
            click.echo("\n".join(fault_lines(found, places)))
        else:
            rows = (fault_document(fault, places) for fault in found)
            write(FAULTS, rows, output, beside=lambda: unknown_fields(view))
        return max(EXIT_FOUND if found else EXIT_OK, end(view))

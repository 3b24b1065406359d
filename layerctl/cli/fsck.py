"""`fsck.overlay`: the check under the name, with the arguments and exit bits of fsck(8).

Installed as a link of that name, it serves what calls `fsck.overlay`: an initramfs, xfstests.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from layerctl.codecs.request import Request
from layerctl.diagnosing.catalogue.marks import CAUSES
from layerctl.errors import LayerctlError, RequestError
from layerctl.model import Severity, Stack
from layerctl.render.errors import note, report
from layerctl.render.working import fault_lines
from layerctl.usecases.stacks import from_flags
from layerctl.usecases.working import checking, do, repairing
from layerctl.working.check.fault import WORK, Fault

#: The bits of fsck(8).
OK, CORRECTED, UNCORRECTED, FAILED, USAGE, CANCELLED = 0, 1, 4, 8, 16, 32


@click.command("fsck.overlay", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-o", "options", required=True, multiple=True, metavar="OPTIONS", help="The overlay's options."
)
@click.option("-p", "-a", "safe", is_flag=True, help="Mend what is safe, without asking.")
@click.option("-n", "nothing", is_flag=True, help="Change nothing.")
@click.option("-y", "everything", is_flag=True, help="Mend all that can be mended.")
@click.option("-v", "verbose", is_flag=True, help="Show what is wrong.")
@click.argument("ignored", nargs=-1, metavar="[NAME]...")
def command(
    *,
    options: tuple[str, ...],
    safe: bool,
    nothing: bool,
    everything: bool,
    verbose: bool,
    ignored: tuple[str, ...],
) -> int:
    """Check the layers of an overlay that OPTIONS name; return the bits of fsck(8)."""
    del ignored  # mount(8) names a source, which an overlay does not have
    if nothing + safe + everything > 1:
        raise RequestError("usage", "-n, -p and -y cannot be combined", hint="use one of them")
    stack = from_flags(Request(fstype="overlay", options=options))
    code, repair = OK, "ask" if everything else "safe" if safe else None
    if repair is not None:
        code = _mend(stack, repair, healed=False)
    found, places, unread = _find(stack)
    if repair is not None and not any(map(_counts, found)):
        code |= _mend(stack, repair, healed=True)
    if verbose or found:
        click.echo("\n".join(fault_lines(found, places)))
    return code | (UNCORRECTED if any(map(_counts, found)) else OK) | (FAILED if unread else OK)


def _mend(stack: Stack, repair: str, *, healed: bool) -> int:
    with repairing(stack, repair, quarantine=True, healed=healed, warn=note) as steps:
        return CORRECTED if list(do(steps)) else OK


def _find(stack: Stack) -> tuple[list[Fault], dict[int, str], bool]:
    """Return the faults, the places of layers, and whether something could not be read."""
    with checking(stack, None) as (view, faults):
        found = list(faults)
        places = dict(enumerate(view.layers)) | {WORK: stack.work or ""}
        return found, places, bool(view.resolver.reasons.kept)


def _counts(fault: Fault) -> bool:
    """Tell whether a fault is one of the layers, not of the options, which here say little."""
    is_harmless = CAUSES[fault.cause].severity is Severity.INFO
    return not is_harmless and not fault.cause.endswith("-not-followed")


def main(arguments: Sequence[str]) -> int:
    """Run the check; return the exit code, with bits as fsck(8) has them."""
    try:
        with command.make_context("fsck.overlay", list(arguments)) as context:
            result = command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        click.echo(f"fsck.overlay: {error.format_message()}", err=True)
        return USAGE
    except LayerctlError as error:
        report(error, as_json=False)
        return USAGE if isinstance(error, RequestError) else FAILED
    except KeyboardInterrupt:
        return CANCELLED
    return result if isinstance(result, int) else FAILED

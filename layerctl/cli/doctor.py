"""`layerctl doctor`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from layerctl.cli.common import layer_flags, stack_from_flags
from layerctl.cli.complete import files, targets
from layerctl.cli.help import WithExamples
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.errors import (
    EXIT_FOUND,
    EXIT_OK,
    LayerctlError,
    NotFoundError,
    NotPermittedError,
    RefusedError,
    RequestError,
)
from layerctl.model import Finding, MountEntry, Severity, Stack
from layerctl.render.errors import note
from layerctl.render.human import wants_colour
from layerctl.render.json import Document
from layerctl.render.output import Output, write
from layerctl.render.tables import CHECKS, FINDINGS

if TYPE_CHECKING:
    from layerctl.diagnosing.checks.check import Check, Report
    from layerctl.diagnosing.reading.result import Reading
    from layerctl.diagnosing.state import State


@click.command("doctor", cls=WithExamples)
@layer_flags
@output_options(
    FINDINGS, CHECKS, which=lambda _, given: CHECKS if given["list_checks"] else FINDINGS
)
@click.option(
    "--from", "source", metavar="FILE", shell_complete=files,
    help="Explain the text in FILE: commands, errors, logs (- for standard input).",
)  # fmt: skip
@click.option(
    "--kernel", metavar="VERSION", help="With --from: kernel version that the text is about."
)
@click.option("--fs", metavar="TYPE", help="With --from: filesystem of the upper directory.")
@click.option("--host", is_flag=True, help="Examine the whole machine: mounts, stores, space.")
@click.option("--no-probe", is_flag=True, help="Only read; do not probe filesystems or the kernel.")
@click.option("--strict", is_flag=True, help="Treat warnings as failures.")
@click.option("-v", "--verbose", is_flag=True, help="Also show the checks that passed.")
@click.option("--list-checks", is_flag=True, help="List the checks, and exit.")
@click.argument("target", required=False, shell_complete=targets)
def command(
    *,
    request: Request,
    output: Output,
    source: str | None,
    kernel: str | None,
    fs: str | None,
    host: bool,
    no_probe: bool,
    strict: bool,
    verbose: bool,
    list_checks: bool,
    target: str | None,
) -> int:
    """Find out why a layered mount fails or would fail, and how to fix it.

    With layer options, check the planned mount on TARGET; without them, check the existing mount on
    TARGET. With neither, check this machine.
    """
    shown = Shown(output, strict=strict, verbose=verbose)
    planned = request.names_layers or request.fstype is not None
    if list_checks:
        return _list_checks(output)
    if host:
        if planned or target is not None or source is not None:
            raise RequestError(
                "usage",
                "--host examines the whole machine, and takes no layers, target or text",
                hint="layerctl doctor --host",
            )
        return _host(shown)
    if source is not None:
        if planned or target is not None:
            raise RequestError(
                "usage",
                "--from cannot be combined with layers or a target",
                hint="layerctl doctor --from FILE",
            )
        return _text(source, kernel, fs, shown)
    if kernel is not None or fs is not None:
        raise RequestError("usage", "--kernel and --fs need --from", hint="layerctl doctor --help")
    if planned:
        return _plan(request, target, shown, probe=not no_probe)
    if target is not None:
        return _live(target, shown, probe=not no_probe)
    return _machine(shown, probe=not no_probe)


class Shown:
    """How a report is shown."""

    def __init__(self, output: Output, *, strict: bool, verbose: bool) -> None:
        self.output = output
        self.strict = strict
        self.verbose = verbose


def _exit_code(found: Sequence[Finding], shown: Shown) -> int:
    from layerctl.render.findings import verdict

    return EXIT_FOUND if verdict(found, strict=shown.strict) == "failure" else EXIT_OK


def _plan(request: Request, target: str | None, shown: Shown, *, probe: bool) -> int:
    from layerctl.diagnosing import preflight
    from layerctl.kernel import paths
    from layerctl.kernel.facts import probes
    from layerctl.kernel.facts.gather import gather
    from layerctl.rules.overlay import default_work

    stack = stack_from_flags(request)
    stack = stack._replace(work=stack.work or default_work(stack))

    where = None if target is None else paths.absolute(target)
    made = {stack.work} if stack.work is not None and request.work is None else set()
    gathered = gather(stack, where, made)
    for more in (probes.look_wider, probes.try_out) if probe else (probes.look_wider,):
        try:
            gathered = more(stack, gathered)
        except Exception as error:  # its result is unknown, and reported as such
            told = f"{more.__name__.replace('_', ' ')}: {error}"
            gathered = gathered._replace(unknown=(*gathered.unknown, told))
    report = preflight.run(stack, gathered)
    asked = preflight.request_findings(stack, where)
    string = preflight.string_findings(stack, where)
    return _report(report._replace(findings=[*asked, *report.findings, *string]), shown)


def _live(target: str, shown: Shown, *, probe: bool) -> int:
    from layerctl.cli.common import resolve_relative
    from layerctl.diagnosing import live
    from layerctl.kernel import mounts

    mounted = mounts.find_layered(target)
    try:
        stack, notes = resolve_relative(mounted)
    except NotFoundError as error:
        stack, notes = mounted.stack, (error.message,)
    for text in notes:
        note(text)
    _prove(stack, mounted.entry)
    try:
        report = live.examine(mounted, stack, probe=probe)
    except OSError as error:
        kind = NotPermittedError if isinstance(error, PermissionError) else RefusedError
        raise kind(
            "layer-covered",
            f"cannot look beneath the mount that covers a layer of {target}: {error.strerror}",
            why="it takes CAP_SYS_ADMIN, a process and a mount namespace",
            hint=f"sudo layerctl doctor {target}",
        ) from None
    return _report(report, shown)


def _prove(stack: Stack, mount: MountEntry) -> None:
    """See that the layers found are those of the mount. Raises LayerctlError where they are not.

    One that is gone, or closed to the caller, is for the checks to tell of.
    """
    from layerctl.inspecting.opening import opened

    try:
        with opened(stack, mount):
            pass
    except LayerctlError as error:
        if error.id in ("layer-unknown", "layer-covered"):
            raise


def _host(shown: Shown) -> int:
    from layerctl.diagnosing import host

    return _state(host.examine(_prove), shown, whole=True)


def _machine(shown: Shown, *, probe: bool) -> int:
    from layerctl.diagnosing import system

    return _state(system.examine(probe=probe), shown)


def _state(state: State, shown: Shown, *, whole: bool = False) -> int:
    """Write the state of the machine; `whole` shows every row, and none of them is a lack."""
    from layerctl.render.findings import state_document, state_lines, summary

    def human() -> None:
        for line in state_lines(state, verbose=shown.verbose or whole):
            click.echo(line)
        click.echo("")
        _print(state.report.findings, shown)
        lacking = 0 if whole else state.lacking
        click.echo(summary(state.report.findings, lacking=lacking, all_shown=shown.verbose))

    _write(state_document(state, strict=shown.strict), shown, human)
    return _exit_code(state.report.findings, shown)


def _write(body: Document, shown: Shown, human: Callable[[], None]) -> None:
    """Write a report: its findings are the rows, the rest are other keys."""
    rows = body.pop("findings")
    write(FINDINGS, rows, shown.output, human=human, beside=lambda: body)


def _report(report: Report, shown: Shown) -> int:
    from layerctl.render.findings import check_lines, document, summary

    def human() -> None:
        if shown.verbose:
            for line in check_lines(report):
                click.echo(line)
            click.echo("")
        _print(report.findings, shown)
        click.echo(summary(report.findings, all_shown=shown.verbose))

    _write(document(report, strict=shown.strict), shown, human)
    return _exit_code(report.findings, shown)


def _print(found: Sequence[Finding], shown: Shown) -> None:
    """Print findings for people; what only informs is left out unless asked for."""
    from layerctl.render.findings import lines

    colour = wants_colour(shown.output.color)
    for one in found:
        if one.severity is not Severity.INFO or shown.verbose:
            click.echo("\n".join(lines(one, colour=colour)) + "\n")


def _text(source: str, kernel: str | None, fs: str | None, shown: Shown) -> int:
    from layerctl.render.findings import reading_document
    from layerctl.rules.releases import release

    number = None if kernel is None else release(kernel)
    if kernel is not None and number is None:
        raise RequestError(
            "bad-option-value",
            f"'{kernel}' is not a kernel version",
            hint="use a version such as --kernel 5.15",
        )
    reading = _explain(_read(source), number, fs)
    _write(
        reading_document(reading, strict=shown.strict),
        shown,
        lambda: _print_reading(reading, shown),
    )
    return _exit_code(reading.findings, shown)


def _explain(text: str, kernel: tuple[int, int] | None, fs: str | None) -> Reading:
    """Return what a text says; where nothing of it matters, without all that reads closely."""
    from layerctl.diagnosing.reading.result import Reading

    if not text.strip():
        return Reading(())
    from layerctl.diagnosing.reading.diagnose import read

    return read(text, kernel_version=kernel, fs=fs)


def _print_reading(reading: Reading, shown: Shown) -> None:
    from layerctl.render.findings import reading_lines

    if not reading.findings and not reading.noise and not reading.others:
        note(
            "the text contains nothing known; add the command, its error message and the kernel log"
        )
        return
    colour = wants_colour(shown.output.color)
    click.echo("\n".join(reading_lines(reading, colour=colour, verbose=shown.verbose)))


def _read(source: str) -> str:
    """Return what of a text is to be read, whatever bytes it has."""
    from layerctl.diagnosing.reading import intake

    try:
        if source == "-":
            return intake.take(sys.stdin.buffer)
        with open(source, "rb") as file:
            return intake.take(file)
    except OSError as error:
        raise NotFoundError(
            "target-missing",
            f"{source}: {error.strerror}",
            hint="name a file, or - for standard input",
        ) from None


def _list_checks(output: Output) -> int:
    from layerctl.diagnosing.checks import mounted, plan, system

    groups: dict[str, tuple[Check[...], ...]] = {
        "plan": plan.CHECKS,
        "mount": mounted.CHECKS,
        "machine": system.CHECKS,
    }
    rows = (
        {"of": of, "check": check.name, "what": check.well, "applies": check.where}
        for of, checks in groups.items()
        for check in checks
    )
    write(CHECKS, rows, output)
    return EXIT_OK

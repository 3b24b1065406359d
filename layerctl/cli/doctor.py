"""`layerctl doctor`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from layerctl.cli.common import MappedLayers, mapped_layer_flags
from layerctl.cli.complete import files, targets
from layerctl.cli.output import output_options
from layerctl.codecs.request import Request
from layerctl.diagnosing.checks.check import Report
from layerctl.diagnosing.state import State
from layerctl.errors import EXIT_FOUND, EXIT_OK, RequestError
from layerctl.model import Finding, Severity
from layerctl.render.errors import note
from layerctl.render.findings import (
    check_lines,
    document,
    lines,
    reading_document,
    reading_lines,
    state_document,
    state_lines,
    summary,
)
from layerctl.render.human import wants_colour
from layerctl.render.json import Document
from layerctl.render.output import Output, write
from layerctl.render.tables import CHECKS, FINDINGS
from layerctl.rules.findings import Verdict, verdict
from layerctl.usecases import examine

if TYPE_CHECKING:
    from layerctl.diagnosing.reading.result import Reading


@click.command("doctor", cls=MappedLayers)
@mapped_layer_flags
@output_options(
    FINDINGS, CHECKS, which=lambda _, given: CHECKS if given["list_checks"] else FINDINGS
)
@click.option(
    "--from", "source", metavar="FILE", shell_complete=files,
    help="Explain the text in FILE: commands, errors, logs (- for standard input).",
)  # fmt: skip
@click.option("--kernel", metavar="VERSION", help="With --from: kernel version of the machine.")
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
    if list_checks:
        return _list_checks(output)
    options = Options(output, strict, verbose)
    planned = request.names_layers or request.fstype is not None
    _check_usage(host, source, named=planned or target is not None, about=kernel or fs)
    if host:
        return _state(examine.whole_host(), options, whole=True)
    if source is not None:
        return _reading(examine.text(source, kernel, fs), options)
    if planned:
        return _report(examine.planned_mount(request, target, probe=not no_probe), options)
    if target is not None:
        return _existing(target, request.root, options, probe=not no_probe)
    return _state(examine.this_machine(probe=not no_probe), options)


def _check_usage(host: bool, source: str | None, *, named: bool, about: str | None) -> None:
    """See that one thing alone is to be examined. Raises RequestError."""
    if host and (named or source is not None):
        raise RequestError(
            "usage",
            "--host cannot be combined with layers, a target or --from",
            commands=("layerctl doctor --host",),
        )
    if source is not None and named:
        raise RequestError(
            "usage",
            "--from cannot be combined with layers or a target",
            commands=("layerctl doctor --from FILE",),
        )
    if source is None and about is not None:
        raise RequestError(
            "usage", "--kernel and --fs need --from", commands=("layerctl doctor --help",)
        )


class Options(NamedTuple):
    """How to write a report."""

    output: Output
    strict: bool
    verbose: bool


def _exit_code(found: Sequence[Finding], options: Options) -> int:
    failed = verdict(found, strict=options.strict) is Verdict.FAILURE
    return EXIT_FOUND if failed else EXIT_OK


def _state(state: State, options: Options, *, whole: bool = False) -> int:
    """Write the state of the machine; `whole` shows every row, and none of them is a lack."""

    def human() -> None:
        for line in state_lines(state, verbose=options.verbose or whole):
            click.echo(line)
        click.echo("")
        _print(state.report.findings, options)
        lacking = 0 if whole else state.lacking
        click.echo(summary(state.report.findings, lacking=lacking, all_shown=options.verbose))

    _write(state_document(state, strict=options.strict), options, human)
    return _exit_code(state.report.findings, options)


def _write(body: Document, options: Options, human: Callable[[], None]) -> None:
    """Write a report: its findings are the rows, the rest are other keys."""
    rows = body.pop("findings")
    write(FINDINGS, rows, options.output, human=human, beside=lambda: body)


def _existing(target: str, root: str | None, options: Options, *, probe: bool) -> int:
    report, notes = examine.existing(target, root, probe=probe)
    for text in notes:
        note(text)
    return _report(report, options)


def _report(report: Report, options: Options) -> int:
    def human() -> None:
        if options.verbose:
            for line in check_lines(report):
                click.echo(line)
            click.echo("")
        _print(report.findings, options)
        click.echo(summary(report.findings, all_shown=options.verbose))

    _write(document(report, strict=options.strict), options, human)
    return _exit_code(report.findings, options)


def _print(found: Sequence[Finding], options: Options) -> None:
    """Print findings for people; what only informs is left out unless asked for."""
    colour = wants_colour(options.output.color)
    for one in found:
        if one.severity is not Severity.INFO or options.verbose:
            click.echo("\n".join(lines(one, colour=colour)) + "\n")


def _reading(reading: Reading, options: Options) -> int:
    body = reading_document(reading, strict=options.strict)
    _write(body, options, lambda: _print_reading(reading, options))
    return _exit_code(reading.findings, options)


def _print_reading(reading: Reading, options: Options) -> None:
    if not reading.findings and not reading.noise and not reading.others:
        note(
            "the text contains nothing known; add the command, its error message and the kernel log"
        )
        return
    colour = wants_colour(options.output.color)
    click.echo("\n".join(reading_lines(reading, colour=colour, verbose=options.verbose)))


def _list_checks(output: Output) -> int:
    rows = (
        {"of": of, "check": check.name, "what": check.well, "applies": check.where}
        for of, checks in examine.checks().items()
        for check in checks
    )
    write(CHECKS, rows, output)
    return EXIT_OK

"""The error tree and the table of exit codes.

An error says what happened (`message`), why (`why`, may be empty) and one command or step that
helps (`hint`). `id` is stable for scripts: where the reason is a cause of the catalogue, it is the
cause's id. Only `layerctl.cli.main` turns errors into exit codes.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from layerctl.model import Finding


class ExitCode(NamedTuple):
    """One row of the table of exit codes."""

    code: int
    meaning: str


EXIT_OK = 0
EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_NOT_PERMITTED = 4
EXIT_REFUSED = 32
EXIT_BUG = 70
EXIT_OUTPUT = 74
EXIT_INTERRUPTED = 130

EXIT_CODES: tuple[ExitCode, ...] = (
    ExitCode(EXIT_OK, "done"),
    ExitCode(EXIT_FOUND, "doctor or a dry run found what will fail"),
    ExitCode(EXIT_USAGE, "the request itself is wrong (no look at the system was needed)"),
    ExitCode(EXIT_NOT_FOUND, "TARGET is not there, or is no such mount"),
    ExitCode(EXIT_NOT_PERMITTED, "not permitted"),
    ExitCode(
        EXIT_REFUSED,
        "a mount was refused, by the checks or by the kernel, or an unmount failed",
    ),
    ExitCode(EXIT_BUG, "a bug in layerctl"),
    ExitCode(EXIT_OUTPUT, "the output could not be written"),
    ExitCode(EXIT_INTERRUPTED, "interrupted"),
)


class LayerctlError(Exception):
    """Base of every error that is told to the user without a traceback."""

    exit_code: ClassVar[int] = EXIT_BUG

    def __init__(
        self,
        id: str,  # noqa: A002 - the name users see in --json
        message: str,
        *,
        why: str = "",
        hint: str = "",
        findings: tuple[Finding, ...] = (),
        details: tuple[str, ...] = (),
    ) -> None:
        """`findings` are further diagnoses, `details` verbatim lines (the kernel's own words)."""
        super().__init__(message)
        self.id = id
        self.message = message
        self.why = why
        self.hint = hint
        self.findings = findings
        self.details = details


class RequestError(LayerctlError):
    """The request itself is wrong, whatever the system looks like."""

    exit_code = EXIT_USAGE


class NotFoundError(LayerctlError):
    """TARGET does not exist, or is no mount of the kind asked for."""

    exit_code = EXIT_NOT_FOUND


class NotPermittedError(LayerctlError):
    """The caller lacks the privilege."""

    exit_code = EXIT_NOT_PERMITTED


class RefusedError(LayerctlError):
    """A mount or an unmount was refused, by our checks or by the kernel."""

    exit_code = EXIT_REFUSED


class OutputError(LayerctlError):
    """The output could not be written."""

    exit_code = EXIT_OUTPUT


class StoppedError(LayerctlError):
    """The user interrupted it."""

    exit_code = EXIT_INTERRUPTED


class BugError(LayerctlError):
    """Something that cannot happen did."""

    exit_code = EXIT_BUG

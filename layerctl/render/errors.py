"""Errors and notes for people, on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable

from layerctl.codecs.escape import printable
from layerctl.errors import LayerctlError
from layerctl.model import Certainty, Finding, Severity


def error_text(error: LayerctlError) -> str:
    """Return what happened, why and what helps, one per line.

    Then the kernel's messages and the other findings. `layerctl explain ID` prints more.
    """
    from layerctl.render.human import wrapped  # a mount that succeeds only needs notes

    lines = [f"layerctl: {printable(error.message)}  [{error.id}]"]
    if error.why:
        lines += [f"  why:  {text}" for text in wrapped(printable(error.why))]
    if error.hint:
        lines += [f"  help: {line}" for line in wrapped(printable(error.hint))]
    prompt = "    $ " if error.hint or len(error.commands) > 1 else "  help: "
    lines += [f"{prompt}{printable(command)}" for command in error.commands]
    lines += [f"  {printable(detail)}" for detail in error.details]
    lines += also(one for one in error.findings if one.severity is not Severity.INFO)
    return "\n".join(lines)


def also(findings: Iterable[Finding]) -> list[str]:
    """Return further findings, one per line, none twice."""
    return list(dict.fromkeys(f"  also: {finding_line(one)}" for one in findings))


def finding_line(finding: Finding) -> str:
    """Return a finding on one line: severity, evidence, id."""
    grave = "possible cause" if finding.certainty is Certainty.POSSIBLE else finding.severity.value
    seen = "; ".join(finding.evidence) or finding.title
    return f"{grave}: {printable(seen)}  [{finding.cause}]"


def _write(text: str) -> None:
    try:
        sys.stderr.buffer.write(text.encode("utf-8", "replace") + b"\n")
        sys.stderr.flush()
    except OSError:  # the reader is gone; flushing the buffer at exit would fail again
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it stays open until the end


def report(error: LayerctlError, *, as_json: bool) -> None:
    """Write an error to standard error, after flushing standard output; see `tell`."""
    with contextlib.suppress(OSError):  # what cannot be written is reported instead of the error
        sys.stdout.flush()
    tell(error, as_json=as_json)


def tell(error: LayerctlError, *, as_json: bool) -> None:
    """Write an error to standard error, as a JSON document if JSON was requested."""
    if as_json:
        from layerctl.render import json  # few errors are written as JSON

        _write(json.dumps(json.error_document(error)))
    else:
        _write(error_text(error))


def note(text: str) -> None:
    """Write one line for people to standard error."""
    _write(f"layerctl: {printable(text)}")

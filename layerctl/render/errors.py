"""Errors and notes for people, on standard error."""

from __future__ import annotations

import contextlib
import os
import sys

from layerctl.codecs.escape import printable
from layerctl.errors import LayerctlError


def error_text(error: LayerctlError) -> str:
    """Return what happened, why and what helps, one per line, then the kernel's messages."""
    lines = [f"layerctl: {printable(error.message)}"]
    if error.why:
        from layerctl.render.human import wrapped

        lines += [f"  why:  {text}" for text in wrapped(printable(error.why))]
    if error.hint:
        from layerctl.render.human import wrapped

        lines += [f"  help: {line}" for line in wrapped(printable(error.hint))]
    lines += [f"    $ {printable(command)}" for command in error.commands]
    lines.extend(f"  {printable(detail)}" for detail in error.details)
    return "\n".join(lines)


def _write(text: str) -> None:
    try:
        sys.stderr.buffer.write(text.encode("utf-8", "replace") + b"\n")
        sys.stderr.flush()
    except OSError:  # nobody is listening; flushing the buffer at exit would fail again
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it stays open until the end


def report(error: LayerctlError, *, as_json: bool) -> None:
    """Write an error to standard error, after flushing standard output; see `tell`."""
    with contextlib.suppress(OSError):  # what cannot be written is reported instead of the error
        sys.stdout.flush()
    tell(error, as_json=as_json)


def tell(error: LayerctlError, *, as_json: bool) -> None:
    """Write an error to standard error, as a JSON document if JSON was requested."""
    if as_json:
        from layerctl.render import json

        _write(json.dumps(json.error_document(error)))
    else:
        _write(error_text(error))


def note(text: str) -> None:
    """Write one line for people to standard error."""
    _write(f"layerctl: {printable(text)}")

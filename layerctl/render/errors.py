"""Errors and notes for people, on standard error."""

from __future__ import annotations

import contextlib
import os
import sys

from layerctl.codecs.escape import printable
from layerctl.errors import LayerctlError

#: What stands in a hint between the words and the command that they are about.
RUN = " Run: "


def error_text(error: LayerctlError) -> str:
    """Return what happened, why and what helps, a line each; then the words of the kernel."""
    lines = [f"layerctl: {printable(error.message)}"]
    if error.why:
        from layerctl.render.human import wrapped

        lines += [f"  why:  {text}" for text in wrapped(printable(error.why))]
    if error.hint:
        from layerctl.render.human import wrapped

        text, _, command = error.hint.partition(RUN)
        lines += [f"  help: {line}" for line in wrapped(printable(text))]
        if command:
            lines.append(f"    $ {printable(command)}")
    lines.extend(f"  {printable(detail)}" for detail in error.details)
    return "\n".join(lines)


def _write(text: str) -> None:
    try:
        sys.stderr.buffer.write(text.encode("utf-8", "replace") + b"\n")
        sys.stderr.flush()
    except OSError:  # there is nobody left to tell; what is in the buffer would fail again at exit
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it stays open until the end


def report(error: LayerctlError, *, as_json: bool) -> None:
    """Write an error to standard error, behind what standard output has; see `tell`."""
    with contextlib.suppress(OSError):  # what cannot be written now is told of in the error's place
        sys.stdout.flush()
    tell(error, as_json=as_json)


def tell(error: LayerctlError, *, as_json: bool) -> None:
    """Write an error to standard error, as a JSON document where scripts asked for JSON."""
    if as_json:
        from layerctl.render import json

        _write(json.dumps(json.error_document(error)))
    else:
        _write(error_text(error))


def note(text: str) -> None:
    """Write one line for people to standard error."""
    _write(f"layerctl: {printable(text)}")

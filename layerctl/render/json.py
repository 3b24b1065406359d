"""JSON for scripts: one document, UTF-8, paths as valid text plus their bytes."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from layerctl.codecs.escape import is_text, text_of
from layerctl.errors import LayerctlError
from layerctl.model import Finding

Document = dict[str, Any]


def path_fields(name: str, path: str | None) -> Document:
    """Return `{name: text}`, and `{name}_bytes` in base64 if the bytes are not UTF-8."""
    if path is None or is_text(path):
        return {name: path}
    raw = base64.b64encode(os.fsencode(path)).decode("ascii")
    return {name: text_of(path), f"{name}_bytes": raw}


def path_list_fields(name: str, paths: Iterable[str]) -> Document:
    """Return a list of paths; `{name}_bytes` is the list in base64, if any path needs it."""
    paths = list(paths)
    fields: Document = {name: [text_of(path) for path in paths]}
    if not all(map(is_text, paths)):
        fields[f"{name}_bytes"] = [
            base64.b64encode(os.fsencode(path)).decode("ascii") for path in paths
        ]
    return fields


def dumps(document: Any, *, indent: int | None = 2) -> str:
    """Return a document as JSON text; stray surrogate escapes in free text become U+FFFD."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    return text if text.isascii() else text_of(text)


def write(document: Any, *, indent: int | None = 2) -> None:
    """Write one document and a newline to standard output, as UTF-8 in any locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(dumps(document, indent=indent).encode("utf-8") + b"\n")


def finding_document(finding: Finding) -> Document:
    """Return a finding in its published shape."""
    return {
        "cause": finding.cause,
        "severity": finding.severity.value,
        "title": finding.title,
        "why": finding.why,
        "evidence": list(finding.evidence),
        "fix": {"text": finding.fix.text, "commands": list(finding.fix.commands)},
        "certainty": finding.certainty.value,
    }


def error_document(error: LayerctlError) -> Document:
    """Return an error in its published shape."""
    body: Document = {
        "id": error.id,
        "message": error.message,
        "why": error.why,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if error.commands:
        body["commands"] = list(error.commands)
    if error.details:
        body["details"] = list(error.details)
    if error.findings:
        body["findings"] = [finding_document(finding) for finding in error.findings]
    return {"error": body}

"""`layerctl mount -o remount`: change an existing mount. A part of `layerctl mount`."""

from __future__ import annotations

import click

from layerctl.codecs.escape import printable
from layerctl.codecs.request import RemountWords
from layerctl.errors import EXIT_OK
from layerctl.mounting.remount import NOTHING, Remount
from layerctl.render import json
from layerctl.render.errors import note
from layerctl.render.mounts import changed_document, mounted_document
from layerctl.usecases.remount import carry_out, plan_remount

_API = {"name": "mount", "why": "a remount"}


def run(words: RemountWords, target: str, *, dry_run: bool, as_json: bool) -> int:
    """Change the mount on `target` as requested, verify it, and report it."""
    planned = plan_remount(words, target)
    if dry_run:
        _show(planned, as_json=as_json)
        return EXIT_OK
    now, notes = carry_out(planned, target)
    for text in notes:
        note(text)
    if as_json:
        json.write(changed_document(now, _API, notes))
    return EXIT_OK


def _show(planned: Remount, *, as_json: bool) -> None:
    """Write what would be done."""
    steps = planned.steps()
    if not as_json:
        for line in steps or [NOTHING]:
            click.echo(printable(line))
        return
    document = mounted_document(planned.mounted) | {"api": _API}
    document |= json.path_fields("option_string", None)
    document |= json.path_fields("command", None)
    document |= {"make": [], "steps": steps, "notes": [], "verdict": "ok", "findings": []}
    json.write(document)

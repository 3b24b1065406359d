"""`layerctl mount -o remount`: change an existing mount. A part of `layerctl mount`."""

from __future__ import annotations

import click

from layerctl.codecs import aufs
from layerctl.codecs.escape import printable
from layerctl.codecs.request import RemountWords, Request, build, fstype_of
from layerctl.errors import EXIT_OK, RequestError
from layerctl.kernel import mounts, paths, standing
from layerctl.kernel.mounts import Mounted
from layerctl.model import Stack
from layerctl.mounting import branches, remount
from layerctl.render.errors import note
from layerctl.rules.aufs import BranchChange
from layerctl.rules.validity import value_problems


def run(words: RemountWords, target: str, *, dry_run: bool, as_json: bool) -> int:
    """Change the mount on `target` as requested, verify it, and report it."""
    mounted = _find(target)
    fstype = mounted.stack.fstype
    request = words.request
    if request.fstype not in (None, "auto") and fstype_of(request) != fstype:
        raise RequestError(
            "usage",
            f"{mounted.entry.target} has type {fstype}, not {request.fstype}",
            hint="remove -t",
        )
    asked, changes = _asked(request._replace(fstype=fstype), mounted.stack)
    for problem in value_problems(asked):
        raise problem
    planned = remount.plan(mounted, asked, bind=words.bind, changes=changes)
    if dry_run:
        _show(planned, as_json=as_json)
        return EXIT_OK
    standing.demand_name(target, mounted.entry)
    now, notes = remount.carry_out(planned)
    for text in notes:
        note(text)
    if as_json:
        _write(now, notes)
    return EXIT_OK


def _find(target: str) -> Mounted:
    entry = mounts.find(target)
    if entry.fstype == mounts.FUSE_OVERLAYFS:
        return Mounted(entry, Stack("fuse-overlayfs", ()))
    return mounts.find_layered(target)


def _asked(request: Request, live: Stack) -> tuple[Stack, tuple[BranchChange, ...]]:
    """Return the words as a stack, and what aufs's branch options change."""
    changes: list[BranchChange] = []
    if live.fstype == "aufs":
        texts = []
        for text in request.options:
            others, words = aufs.remount_words(text)
            texts.append(others)
            changes += [_change(live, word) for word in words]
        request = request._replace(options=tuple(filter(None, texts)))
    asked = build(request)
    known = {layer.path for layer in live.layers} | {live.work}

    def spelled(path: str) -> str:
        return path if path in known or not path else paths.absolute(path)

    layers = tuple(layer._replace(path=spelled(layer.path)) for layer in asked.layers)
    work = None if asked.work is None else spelled(asked.work)
    return asked._replace(layers=layers, work=work), tuple(changes)


def _change(live: Stack, asked: BranchChange) -> BranchChange:
    path = paths.absolute(asked.branch.path)
    if asked.word in ("del", "mod"):
        path = branches.known_path(live, path) or path
    return asked._replace(branch=asked.branch._replace(path=path))


def _write(mounted: Mounted, notes: tuple[str, ...]) -> None:
    from layerctl.render import json
    from layerctl.render.mounts import mounted_document

    document = mounted_document(mounted)
    document["api"] = {"name": "mount", "why": "a remount"}
    json.write({"mounts": [document], "made": [], "notes": list(notes), "findings": []})


def _show(planned: remount.Remount, *, as_json: bool) -> None:
    """Write what would be done."""
    if as_json:
        from layerctl.render import json
        from layerctl.render.mounts import mounted_document

        document = mounted_document(planned.mounted)
        document["api"] = {"name": "mount", "why": "a remount"}
        document |= json.path_fields("option_string", None)
        document |= json.path_fields("command", None)
        document |= {"make": [], "steps": planned.steps(), "notes": [], "verdict": "ok"}
        json.write(document | {"findings": []})
        return
    for line in planned.steps() or [remount.NOTHING]:
        click.echo(printable(line))

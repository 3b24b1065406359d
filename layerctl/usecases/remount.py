"""Change an existing mount: `mount -o remount`."""

from __future__ import annotations

from layerctl.codecs import aufs
from layerctl.codecs.request import RemountWords, Request, build, fstype_of
from layerctl.errors import RequestError
from layerctl.kernel import paths, standing
from layerctl.kernel.mounts import Mounted
from layerctl.model import Stack
from layerctl.mounting import remount
from layerctl.mounting.remount import Remount
from layerctl.rules.branches import BranchChange
from layerctl.rules.validity import value_problems
from layerctl.usecases.branch import resolved
from layerctl.usecases.targets import find_mount


def plan_remount(words: RemountWords, target: str) -> Remount:
    """Return what a request changes in the mount on TARGET, without changing it.

    Raises NotFoundError if there is no such mount, RequestError for invalid options, RefusedError
    for what a remount cannot change.
    """
    mounted = find_mount(target)
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
    return remount.plan(mounted, asked, bind=words.bind, changes=changes)


def carry_out(planned: Remount, target: str) -> tuple[Mounted, tuple[str, ...]]:
    """Change the mount; return it as it is now, and notes.

    Raises NotFoundError if TARGET leads to another mount now, else what `remount.carry_out` raises.
    """
    standing.demand_name(target, planned.mounted.entry)
    return remount.carry_out(planned)


def _asked(request: Request, live: Stack) -> tuple[Stack, tuple[BranchChange, ...]]:
    """Return the options as a stack, and the changes of aufs branches."""
    changes: list[BranchChange] = []
    if live.fstype == "aufs":
        texts = []
        for text in request.options:
            others, words = aufs.remount_words(text)
            texts.append(others)
            changes += [resolved(word, live) for word in words]
        request = request._replace(options=tuple(filter(None, texts)))
    asked = build(request)
    known = {layer.path for layer in live.layers} | {live.work}

    def spelled(path: str) -> str:
        return path if path in known or not path else paths.absolute(path)

    layers = tuple(layer._replace(path=spelled(layer.path)) for layer in asked.layers)
    work = None if asked.work is None else spelled(asked.work)
    return asked._replace(layers=layers, work=work), tuple(changes)

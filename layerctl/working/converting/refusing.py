"""Find what cannot be expressed in another form, before anything is changed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from layerctl.errors import RefusedError
from layerctl.inspecting.resolvers.aufs import PREFIX
from layerctl.kernel import changing
from layerctl.kernel.plinks import DIRECTORY
from layerctl.working.aufs.branch import pseudo_links
from layerctl.working.converting.forms import HOUSEKEEPING, LONGEST, Form
from layerctl.working.converting.reading import Marked, Task, marked

#: A path in the layer, the problem, and commands that help.
Problem = tuple[str, str, tuple[str, ...]]


def demand(root: int, path: str, task: Task) -> None:
    """Raise RefusedError for names and markers that the other form cannot express."""
    for one in marked(root, path, task):
        for place, what, commands in _problems(one, path, task):
            raise RefusedError(
                "layer-not-convertible",
                f"{path}/{place}: {what}".replace("/:", ":"),
                why=f"{task.target.form} would show something else there; nothing was changed",
                hint="mend that first, then run the command again",
                commands=commands,
            )


def _problems(one: Marked, path: str, task: Task) -> Iterator[Problem]:
    yield from _attributes(one, path, task)
    yield from _entries(one, task)
    yield from _whiteouts(one, task)
    yield from _locked(one)
    if not one.path and one.opaque and task.source.form is Form.FUSE:
        yield "", "fuse-overlayfs takes the layer itself for opaque", ()
    for name in one.housekeeping:
        if one.path or name not in HOUSEKEEPING:
            yield one.place(name), "aufs does not create such a name", ()
        elif name == DIRECTORY and task.target.form is not Form.AUFS:
            yield from _pseudo_links(one, path)


def _attributes(one: Marked, path: str, task: Task) -> Iterator[Problem]:
    source, target = task.source, task.target
    for name, attributes in one.own.items():
        for attribute in attributes:
            mark = source.mark(attribute)
            if mark == "redirect" and name == "." and one.is_opaque:
                continue  # which the kernel does not read there
            if source.is_bound(attribute) or (
                source.form is Form.FUSE and target.is_bound(attribute)
            ):
                moved = source.form is Form.OVERLAY and mark in ("redirect", "metacopy")
                commands = (_deref(path),) if moved else ()
                yield one.place(name), f"it has the attribute {attribute}", commands
    for name, attributes in one.foreign.items():
        yield one.place(name), f"{target.form} would read the attribute {attributes[0]}", ()


def _deref(path: str) -> str:
    return f"layerctl deref --into NEW -u {shlex.quote(path)} -l LOWER"


def _entries(one: Marked, task: Task) -> Iterator[Problem]:
    form = task.target.form
    for name, letter in one.entries.items():
        if letter == "w" and task.target.devices:
            yield one.place(name), f"{form} takes a 0:0 device for a whiteout", ()
        if name.startswith(PREFIX) and task.target.files:
            yield one.place(name), f"{form} takes a name with '{PREFIX}' for a marker", ()
        if form is Form.AUFS and _is_too_long(name, task):
            yield one.place(name), f"aufs has names of at most {LONGEST[form]} bytes", ()


def _is_too_long(name: str, task: Task) -> bool:
    most = LONGEST.get(task.target.form)
    return most is not None and len(os.fsencode(name)) > most


def _whiteouts(one: Marked, task: Task) -> Iterator[Problem]:
    for hidden, names in one.whiteouts.items():
        place = one.place(names[0])
        if hidden in one.entries:
            yield one.place(hidden), "the layer has both it and its whiteout", ()
        elif not hidden:
            yield place, "a whiteout of no name", ()
        elif _is_too_long(hidden, task):
            most = LONGEST[task.target.form]
            yield place, f"{task.target.form} hides names of at most {most} bytes", ()
        for name in names:
            letter = one.names[name]
            if name != hidden and letter != "f":
                yield one.place(name), "it is named as a whiteout and is not a regular file", ()
            elif name == hidden and letter == "f" and task.target.form is Form.OVERLAY:
                yield place, "a whiteout by attribute", ()


def _locked(one: Marked) -> Iterator[Problem]:
    """Yield what chattr(1) has made immutable or append-only, and must be changed."""
    if (one.own or one.whiteouts or one.opaque) and changing.flags_of(one.fd) & changing.LOCKED:
        yield one.path, "it is immutable or append-only", ()
    for name in one.own:
        if name != "." and changing.flags(one.fd, name) & changing.LOCKED:
            yield one.place(name), "it is immutable or append-only", ()


def _pseudo_links(one: Marked, path: str) -> Iterator[Problem]:
    """Yield the pseudo-links that are the only names of their files."""
    for link in pseudo_links(one.fd):
        if link.alone:
            what = "no other name has this file, which aufs has left behind"
            command = f"layerctl check --repair=aufs-pseudo-link-left -b {shlex.quote(path)}=rw"
            yield f"{DIRECTORY}/{link.name}", what, (command,)

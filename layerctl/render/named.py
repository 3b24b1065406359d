"""What names stand for, and every stack there is: as rows, and in words."""

from __future__ import annotations

from collections.abc import Sequence

from layerctl.codecs.escape import printable
from layerctl.render.elide import cut, plain_step
from layerctl.render.json import Document, path_fields
from layerctl.rules.words import size_of
from layerctl.stores.known import Answer, Known

#: A longer step is cut to fit a line.
_LONGEST_STEP = 60


def known_document(known: Known) -> Document:
    """Return a stack as a row of `list --all`."""
    return {
        "kind": known.kind,
        "name": known.name,
        "engine": known.engine or None,
        "id": known.id or None,
        "state": known.state or None,
        "image": known.image or None,
        "depth": known.layers,
        **path_fields("target", known.target),
        **path_fields("root", known.root or None),
    }


def answer_document(answer: Answer) -> Document:
    """Return an answer of `which` as a row."""
    return {
        **path_fields("name", answer.name),
        "kind": answer.kind,
        "engine": answer.engine or None,
        "id": answer.id or None,
        "of": answer.of or None,
        "index": answer.position,
        "step": answer.step or None,
        **path_fields("directory", answer.directory or None),
        **path_fields("path", answer.path or None),
        "size": answer.size,
        "whole": answer.whole,
        "used_by": list(answer.users),
        "fates": [{"container": one.container, "state": one.state} for one in answer.fates],
    }


def answer_line(answer: Answer) -> str:
    """Return an answer in one line for people, after the name that was asked for."""
    parts = [_what(answer)]
    if answer.step:
        parts.append(cut(plain_step(answer.step), _LONGEST_STEP, "right", "..."))
    if answer.size is not None:
        parts.append(("" if answer.whole else "at least ") + size_of(answer.size))
    if answer.users and answer.kind != "container":
        parts.append(f"used by {listed(answer.users)}")
    line = ", ".join(parts)
    for state, verb in (("deleted", "delete"), ("replaced", "replace")):
        who = [one.container for one in answer.fates if one.state == state]
        if who:
            line += f"; {listed(who)} {verb if len(who) > 1 else verb + 's'} the file"
    return printable(f"{answer.name}: {line}")


def _what(answer: Answer) -> str:
    if answer.kind == "container":
        return f"container of {answer.engine}, of the image {answer.of}"
    if answer.kind == "image":
        return f"image {answer.of} of {answer.engine}"
    if answer.kind == "mount":
        return f"mount on {answer.of}"
    where = "a layer that nothing uses" if answer.position is None else f"layer {answer.position}"
    label = f" ({answer.id})" if answer.kind == "layer" and not answer.engine and answer.id else ""
    return f"{where} of {answer.of}{label}" if answer.of else where


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

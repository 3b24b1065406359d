"""The steps of a plan that works on layers: rows, a script, and a summary for people."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from layerctl.codecs.escape import printable
from layerctl.diagnosing.catalogue import CAUSES
from layerctl.render.json import Document, path_fields
from layerctl.working.check.fault import WORK, Fault, Mending
from layerctl.working.steps import Step, Verb

#: How many steps of a dry run people are shown.
_FIRST = 20

_DONE = {
    Verb.REMOVE: "removed",
    Verb.MOVE: "moved",
    Verb.COPY: "copied",
    Verb.CREATE: "created",
    Verb.MARK: "marked",
    Verb.UNMARK: "freed of markers",
    Verb.ATTRIBUTES: "given the attributes of another",
    Verb.SYNC: "written to the disk",
    Verb.TIMES: "given their times back",
}

#: What a script of steps begins with: it stops at the first command that fails.
_HEAD = "#!/bin/sh\n# Run this while no mount uses the layers.\nset -eu\n"


def step_document(step: Step) -> Document:
    """Return one step as a row."""
    return {"step": step.verb.value, **path_fields("path", step.path), "why": step.why}


def write_script(steps: Iterable[Step]) -> None:
    """Write a script that does the same with ordinary programs, every byte as it is."""
    sys.stdout.flush()
    out = sys.stdout.buffer
    out.write(_HEAD.encode())
    for step in steps:
        for line in step.script:
            out.write(os.fsencode(line) + b"\n")


def summary_lines(steps: Iterable[Step], *, done: bool, each: bool = False) -> Iterator[str]:
    """Yield the lines for people: the first steps, if none is done yet, and how many there are.

    With `each`, the first steps that are done as well.
    """
    counts: Counter[Verb] = Counter()
    for number, step in enumerate(steps):
        counts[step.verb] += 1
        if (each or not done) and number < _FIRST:
            yield f"{step.verb.value:<10} {printable(step.path)}  ({step.why})"
    total = sum(counts.values())
    if (each or not done) and total > _FIRST:
        yield f"... and {total - _FIRST:,} more steps"
    words = ", ".join(f"{counts[verb]:,} {_DONE[verb]}" for verb in Verb if counts[verb])
    if done:
        yield words or "nothing to do"
    else:
        yield f"to be done: {words}" if words else "nothing to do"


def fault_document(fault: Fault, places: Mapping[int, str]) -> Document:
    """Return one fault as a row; `places` are the directories of layers and of WORK."""
    cause = CAUSES[fault.cause]
    path = f"{places[fault.layer]}/{fault.path}".rstrip("/")
    return {
        "cause": fault.cause,
        "class": fault.mending.value,
        "layer": None if fault.layer == WORK else fault.layer,
        **path_fields("path", path),
        "evidence": fault.evidence,
        "title": cause.title,
        "severity": cause.severity.value,
    }


def fault_lines(faults: Sequence[Fault], places: Mapping[int, str]) -> Iterator[str]:
    """Yield the lines for people: the faults by their cause, then how many can be mended."""
    by_cause: dict[str, list[Fault]] = {}
    for fault in faults:
        by_cause.setdefault(fault.cause, []).append(fault)
    for name, some in by_cause.items():
        yield f"{CAUSES[name].title}  [{name}]"
        for fault in some[:_FIRST]:
            path = f"{places[fault.layer]}/{fault.path}".rstrip("/")
            yield f"  {printable(path)}: {printable(fault.evidence)}"
        if len(some) > _FIRST:
            yield f"  ... and {len(some) - _FIRST:,} more"
    counts = Counter(fault.mending for fault in faults)
    words = [f"{counts[one]:,} {_MENDED[one]}" for one in Mending if counts[one]]
    yield f"{len(faults):,} found: {', '.join(words)}" if words else "no faults found"


_MENDED = {
    Mending.SAFE: "can be mended with --repair",
    Mending.ASK: "with --repair=ask, or --repair CAUSE",
    Mending.REPORT: "not by --repair (see 'layerctl explain CAUSE')",
}

"""A whole check: every fault of a stack's layers, and the repair of those that may be mended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.kernel import beneath, layers
from layerctl.working.check import branches, content, index, names, paths, redirects, twins, workdir
from layerctl.working.check.fault import WORK, Fault, Mending
from layerctl.working.check.mending import Mender
from layerctl.working.check.walk import Walk
from layerctl.working.steps import Step


def faults(view: Opened, *, healed: bool = False) -> Iterator[Fault]:
    """Yield every fault, layer by layer, then those of the work directory.

    With `healed`, also what the kernel mends itself at the next lookup.
    """
    overlay = view.resolver
    if not isinstance(overlay, Overlay):
        yield from branches.check(view)
        return
    read_only = {number for number, root in enumerate(overlay.roots) if layers.is_read_only(root)}
    for fault in _of_overlay(view, overlay, healed=healed):
        if fault.layer in read_only and fault.mend is not None:
            seen = f"{fault.evidence} (its layer is read-only)"
            yield fault._replace(mending=Mending.REPORT, mend=None, evidence=seen)
        else:
            yield fault


def _of_overlay(view: Opened, overlay: Overlay, *, healed: bool) -> Iterator[Fault]:
    walk, moved, indexed = Walk(view), redirects.Redirects(), index.inodes(overlay)
    for folder in walk.folders():
        yield from names.check(folder, indexed)
        yield from moved.check(folder)
        yield from content.check(folder, view.stack, healed=healed)
    if walk.unsure:
        view.notes.append(
            f"no layer below is named, so that the effect of {len(walk.unsure):,} markers is "
            f"unknown, the first one at {walk.unsure[0]}"
        )
    yield from moved.check_all(walk.whole)
    yield from paths.check(walk.whole, moved)
    yield from twins.check(view, overlay)
    with _opened_work(view) as work:
        if work >= 0:
            yield from workdir.check(work)
            if overlay.settings.indexed:
                yield from index.check(overlay, work)


@contextmanager
def _opened_work(view: Opened) -> Iterator[int]:
    """Open the work directory; -1 where there is none yet."""
    fd = -1
    if view.stack.work is not None:
        try:
            above = beneath.open_directory(view.stack.work)
        except FileNotFoundError:
            pass
        else:
            try:
                fd = layers.open_dir(".", above)
            finally:
                os.close(above)
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def repair(view: Opened, found: Sequence[Fault], *, quarantine: bool) -> Iterator[Step]:
    """Yield the steps that mend faults; each is to be done before the next one is asked."""
    with _opened_work(view) as work:
        numbered = dict(enumerate(view.layers))
        roots = dict(enumerate(view.resolver.roots))
        if work >= 0:
            numbered[WORK], roots[WORK] = view.stack.work or "", work
        mender = Mender(numbered, roots, view.prefix or "", quarantine=quarantine)
        try:
            for layer in sorted({fault.layer for fault in found}):
                mender.demand_room(layer)
            for fault in found:
                if fault.mend is not None:
                    yield from fault.mend(mender)
        finally:
            mender.close()

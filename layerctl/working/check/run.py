"""A whole check: every fault of a stack's layers, and the repair of those that may be mended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from layerctl.inspecting.opening import Opened
from layerctl.inspecting.resolvers.overlay import Overlay
from layerctl.kernel import beneath, layers
from layerctl.working.check import branches, content, names, paths, workdir
from layerctl.working.check.fault import WORK, Fault
from layerctl.working.check.mending import Mender
from layerctl.working.check.walk import Walk
from layerctl.working.steps import Step


def faults(view: Opened) -> Iterator[Fault]:
    """Yield every fault, layer by layer, then those of the work directory."""
    overlay = view.resolver
    if not isinstance(overlay, Overlay):
        yield from branches.check(view)
        return
    found: list[Fault] = []
    for folder in Walk(view).folders():
        found += names.check(folder)
        found += content.check(folder, view.stack)
    if any(fault.cause == "redirect-not-followed" for fault in found):
        # What lies below depends on redirects: with them followed, a whiteout may hide something.
        found = [fault for fault in found if not fault.cause.startswith("whiteout-")]
    yield from found
    yield from paths.check(overlay)
    with _opened_work(view) as work:
        if work >= 0:
            yield from workdir.check(overlay, work)


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


def repair(view: Opened, wanted: Callable[[Fault], bool], *, quarantine: bool) -> Iterator[Step]:
    """Yield the steps that mend what is wanted; each is to be done before the next one is asked."""
    with _opened_work(view) as work:
        numbered = dict(enumerate(view.layers))
        roots = dict(enumerate(view.resolver.roots))
        if work >= 0:
            numbered[WORK], roots[WORK] = view.stack.work or "", work
        mender = Mender(numbered, roots, view.prefix or "", quarantine=quarantine)
        try:
            for fault in [one for one in faults(view) if wanted(one)]:
                if fault.mend is not None:
                    yield from fault.mend(mender)
        finally:
            mender.close()

"""Examine a plan, a live mount or the system, or read a text: what `doctor` does.

Reading texts and opening layers are imported where they are needed: most runs need neither, and
these imports take as long as all others.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from layerctl.codecs.request import Request
from layerctl.diagnosing import host, live, preflight, system
from layerctl.diagnosing.checks import mounted as mount_checks
from layerctl.diagnosing.checks import plan as plan_checks
from layerctl.diagnosing.checks import system as system_checks
from layerctl.diagnosing.checks.check import Check, Report
from layerctl.diagnosing.host import StoreState
from layerctl.diagnosing.request import request_findings, string_findings
from layerctl.diagnosing.state import State
from layerctl.errors import (
    LayerctlError,
    NotFoundError,
    NotPermittedError,
    RefusedError,
    RequestError,
)
from layerctl.kernel import paths
from layerctl.kernel.facts.gather import gather
from layerctl.kernel.mounts import Mounted
from layerctl.model import MountEntry, Severity, Stack
from layerctl.mounting import prepare
from layerctl.mounting.plan import renamed
from layerctl.rules.releases import release
from layerctl.rules.words import shell
from layerctl.stores import owners
from layerctl.stores.store import Store
from layerctl.usecases.mount import (
    MountRequest,
    names_images,
    to_make,
    with_default_work,
    with_more,
)
from layerctl.usecases.named import stores_of
from layerctl.usecases.stacks import from_flags
from layerctl.usecases.targets import named

if TYPE_CHECKING:
    from layerctl.diagnosing.reading.result import Reading


#: The cause of a layer that is an image, for programs that do not attach it.
_NOT_ATTACHED = "layer-not-a-directory"


def planned_mount(request: Request, target: str | None, *, probe: bool) -> Report:
    """Check a requested mount, whichever program mounts it. Raises RequestError.

    Therefore only the work directory gets a default. With `probe`, filesystems are probed. Images
    are attached for it, as `layerctl mount` does, in a mount namespace of this process; that other
    programs do not do so is a warning.
    """
    where = None if target is None else paths.absolute(target)
    stack = from_flags(request)
    if not names_images(request):
        return _plan(stack, where, probe=probe)
    from layerctl.usecases.holding import held  # few mounts hold more than directories

    try:
        with held(MountRequest(request, None, "/"), None, apart=True) as asked:
            attached = renamed(stack, lambda path: asked.places.get(path, path))
            report = _plan(attached, where, probe=probe)
    except (NotFoundError, RefusedError):  # no image: the checks tell what it is
        return _plan(stack, where, probe=probe)
    known = {one.cause for one in report.findings}
    others = [  # what another program would fail with
        one._replace(severity=Severity.WARNING)
        for one in _plan(stack, where, probe=False).findings
        if one.cause == _NOT_ATTACHED and one.cause not in known
    ]
    return report._replace(findings=[*report.findings, *others])


def _plan(asked: Stack, where: str | None, *, probe: bool) -> Report:
    stack, default_work = with_default_work(asked)
    make = to_make(default_work)
    facts = with_more(stack, gather(stack, where, make), probe=probe)
    if stack.is_mapped and probe:
        from layerctl.kernel.facts.idmaps import ask_maps

        facts = ask_maps(stack, facts)
    report = preflight.run(stack, facts)
    found = [*request_findings(stack, where), *report.findings, *prepare.unmakable(make)]
    found += string_findings(stack, where)
    return report._replace(findings=found)


def existing(target: str, root: str | None, *, probe: bool) -> tuple[Report, tuple[str, ...]]:
    """Check what TARGET names; return the report, and notes on how its layers were found.

    A container that is not mounted, or an image, is checked as its engine would mount it. Raises
    LayerctlError if its layers cannot be determined or opened.
    """
    found = named(target, root, shown=True)
    stack, notes = found.stack, found.notes
    if found.mount is None:
        return _plan(stack, None, probe=probe), notes
    mounted = Mounted(found.mount, stack)
    _prove(stack, found.mount)
    try:
        return live.examine(mounted, stack, _owner(mounted).container, probe=probe), notes
    except OSError as error:
        kind = NotPermittedError if isinstance(error, PermissionError) else RefusedError
        raise kind(
            "layer-covered",
            f"cannot look beneath the mount that covers a layer of {target}: {error.strerror}",
            why="this requires CAP_SYS_ADMIN, a child process and a mount namespace",
            commands=(shell("sudo", "layerctl", "doctor", target),),
        ) from None


def _prove(stack: Stack, mount: MountEntry) -> None:
    """Verify that the layers found are those of the mount. Raises LayerctlError if not.

    The checks report layers that are gone or not accessible.
    """
    from layerctl.inspecting.opening import opened

    try:
        with opened(stack, mount):
            pass
    except LayerctlError as error:
        if error.id in ("layer-unknown", "layer-covered"):
            raise


def this_machine(*, probe: bool) -> State:
    """Return what this system and the caller can mount."""
    return system.examine(probe=probe)


def whole_host() -> State:
    """Return the state of every layered mount and every engine's store."""
    stores = stores_of(None)
    states = [_state_of(store) for store in stores]
    return host.examine(_prove, states, _owner)


def _state_of(store: Store) -> StoreState:
    layers = [layer for layer in store.layers.values() if layer.directory]
    orphans = tuple(sorted(one.directory.rpartition("/")[0] for one in layers if not one.recorded))
    return StoreState(store.engine, store.root, len(layers), orphans if store.whole else None)


def _owner(mounted: Mounted) -> host.Owner:
    container = owners.of(mounted)
    if container is None:
        return host.Owner()
    named = container.name if container.engine in ("docker", "podman") else None
    label = f"{container.engine}: {container.label}"
    return host.Owner(label, named or container.id)


def text(source: str, kernel: str | None, fs: str | None) -> Reading:
    """Return the result of reading the text in a file; `-` is standard input.

    `kernel` and `fs` are the kernel version and the upper filesystem of the text. Raises
    RequestError for an invalid version, NotFoundError for a file that cannot be read.
    """
    from layerctl.diagnosing.reading.result import Reading

    number = None if kernel is None else release(kernel)
    if kernel is not None and number is None:
        raise RequestError(
            "bad-option-value",
            f"'{kernel}' is not a kernel version",
            hint="use a version such as --kernel 5.15",
        )
    taken = _read(source)
    if not taken.strip():
        return Reading(())
    from layerctl.diagnosing.reading.diagnose import read

    return read(taken, kernel_version=number, fs=fs)


def _read(source: str) -> str:
    """Return the relevant parts of a text, whatever its bytes."""
    from layerctl.diagnosing.reading import intake

    try:
        if source == "-":
            return intake.take(sys.stdin.buffer)
        with open(source, "rb") as file:
            return intake.take(file)
    except OSError as error:
        raise NotFoundError(
            "target-missing",
            f"{source}: {error.strerror}",
            hint="name a file, or - for standard input",
        ) from None


def checks() -> dict[str, tuple[Check[...], ...]]:
    """Return every check, by what it examines."""
    return {
        "plan": plan_checks.CHECKS,
        "mount": mount_checks.CHECKS,
        "machine": system_checks.CHECKS,
    }

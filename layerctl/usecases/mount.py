"""Mount a stack: complete the request, check, plan, mount, explain a refusal.

What few mounts need is imported where they need it: a script pays for every import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from layerctl.codecs.request import Request, build
from layerctl.diagnosing import preflight
from layerctl.errors import LayerctlError, RefusedError, RequestError, as_finding, of_finding
from layerctl.kernel import beneath, context, paths
from layerctl.kernel.facts import Facts
from layerctl.kernel.facts.common import cached_directory, caller
from layerctl.kernel.facts.gather import gather
from layerctl.kernel.mounts import Mounted
from layerctl.model import Finding, Severity, Stack
from layerctl.mounting import apply, prepare
from layerctl.mounting.apply import MountFailedError
from layerctl.mounting.choose import choose
from layerctl.mounting.plan import Plan, paths_of, renamed
from layerctl.mounting.prepare import Prepared, Swap
from layerctl.rules import overlay, validity
from layerctl.rules.options import find
from layerctl.usecases.stacks import absolute_stack

#: Reports a completed mount: the plan (None for a program), the mount, notes. If it raises, the
#: mount is undone.
Report = Callable[[Plan | None, Mounted, tuple[str, ...]], None]


_NO_PLACES: Mapping[str, str] = {}


class MountRequest(NamedTuple):
    """A request: layers and options, names, and which defaults may be chosen.

    `mkdir` permits to create directories. `aufs_xino` is `auto`, `default`, `none` or a path; None
    if not given. `notes` say where the layers come from. `own_upper` means that the upper
    and work directories are created, on a tmpfs that only this mount will hold; `places` are the
    directories on which images among the layers are mounted for it. `swap` is the mount that this
    one replaces.
    """

    layers: Request
    source: str | None
    target: str
    mkdir: bool = False
    aufs_xino: str | None = None
    notes: tuple[str, ...] = ()
    own_upper: bool = False
    places: Mapping[str, str] = _NO_PLACES
    swap: Swap | None = None


def prepare_mount(asked: MountRequest) -> Prepared:
    """Return a complete and checked request, without mounting.

    With `-t auto` it is for fuse-overlayfs if that can do what the kernel's overlay cannot. Raises
    RequestError for an invalid request.
    """
    prepared = _prepare(asked)
    if asked.layers.fstype == "auto":
        prepared = _fall_back(prepared, asked)
    if not any(failing(prepared)):
        return prepared
    further = _further(prepared.stack, prepared.facts, prepared.findings)
    return prepared._replace(findings=(*prepared.findings, *further))


def names_images(request: Request) -> bool:
    """Tell whether an image may be among the layers; a word of -o may name one."""
    layers = (*request.lowers, *request.data)
    words = any("lowerdir" in text or "datadir" in text for text in request.options)
    return words or any(map(paths.is_image, layers))


def with_more(stack: Stack, facts: Facts, *, probe: bool) -> Facts:
    """Return the facts with those that take longer to gather, and with `probe` those of probes.

    Facts that cannot be gathered are unknown.
    """
    from layerctl.kernel.facts import probes

    for more in (probes.look_wider, probes.try_out) if probe else (probes.look_wider,):
        try:
            facts = more(stack, facts)
        except Exception as error:  # its result is reported as unknown
            unknown = f"{more.__name__.replace('_', ' ')}: {error}"
            facts = facts._replace(unknown=(*facts.unknown, unknown))
    return facts


def _further(stack: Stack, facts: Facts, known: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return what else `doctor --no-probe` finds for a mount that fails anyway."""
    causes = {one.cause for one in known}
    found = preflight.findings(stack, with_more(stack, facts, probe=False))
    return tuple(one for one in found if one.cause not in causes)


def with_default_work(stack: Stack) -> tuple[Stack, str | None]:
    """Return the stack with a work directory, and that directory if it is the default."""
    work = overlay.default_work(stack)
    return (stack if work is None else stack._replace(work=work)), work


def to_make(*wanted: str | None) -> tuple[str, ...]:
    """Return which of the directories do not exist yet; None is ignored."""
    return tuple(path for path in wanted if path is not None and not paths.taken(path))


def _prepare(asked: MountRequest) -> Prepared:
    stack, default_work, notes = _settled(asked)
    place = paths.absolute(asked.target)
    wanted = (stack.upper, stack.work) if asked.mkdir or asked.own_upper else (default_work,)
    make = to_make(place if asked.mkdir else None, *wanted)
    facts = gather(stack, place, make)
    if asked.swap is not None:
        facts = _without(facts, asked.swap.old.entry.target)
    if stack.upper is not None:
        from layerctl.kernel.facts.overlay import ask_for_room

        facts = ask_for_room(stack, facts)
    if stack.is_mapped:
        from layerctl.kernel.facts.idmaps import ask_maps

        facts = ask_maps(stack, facts)
    if stack.fstype == "overlay" and any(find("overlay", name) is None for name in stack.options):
        from layerctl.kernel.facts import probes

        facts = probes.ask_options(stack, facts)
    findings = (*preflight.findings(stack, facts), *prepare.unmakable(make))
    source = asked.source or stack.fstype
    notes = (*asked.notes, *notes)
    return Prepared(stack, source, place, make, facts, findings, notes, default_work, asked.swap)


def _without(facts: Facts, target: str) -> Facts:
    """Return the facts without the overlay that is replaced: it no longer writes by then."""
    others = tuple(one for one in facts.overlay.others if one.target != target)
    return facts._replace(overlay=facts.overlay._replace(others=others))


def _settled(asked: MountRequest) -> tuple[Stack, str | None, tuple[str, ...]]:
    """Return the stack to mount, its default work directory if it has one, and notes."""
    built = build(asked.layers)
    if asked.aufs_xino is not None and built.fstype != "aufs":
        raise RequestError(
            "usage",
            "--aufs-xino works only with aufs",
            why=f"the type is {built.fstype}, which has -o xino=on|off|auto instead",
            hint="remove it, or use -t aufs",
        )
    stack, default_work = with_default_work(absolute_stack(built))
    if asked.places:
        stack = renamed(stack, lambda path: asked.places.get(path, path))
    stack, *notes = prepare.user_xattr(stack, caller())
    _refuse(stack, asked.target)
    if stack.fstype == "aufs":
        stack, note = prepare.xino(stack, asked.aufs_xino or "auto", cached_directory())
        notes.append(note)
    return stack, default_work, tuple(filter(None, notes))


def _refuse(stack: Stack, target: str) -> None:
    """Raise what is wrong with a stack, with further findings."""
    problems = validity.problems(stack)
    if problems:
        error = problems[0]
        others = [as_finding(one) for one in problems[1:]]
        facts = gather(stack, paths.absolute(target), ())
        error.findings = (*others, *_further(stack, facts, [as_finding(one) for one in problems]))
        raise error


def _fall_back(prepared: Prepared, asked: MountRequest) -> Prepared:
    """Return the request, for fuse-overlayfs if the kernel's overlay cannot mount it."""
    from layerctl.mounting.fuse import KERNEL_CANNOT

    failures = list(failing(prepared))
    if not failures or any(one.cause not in KERNEL_CANNOT for one in failures):
        return prepared
    reason = "; ".join(failures[0].evidence) or failures[0].title
    layers = asked.layers._replace(fstype="fuse-overlayfs")
    other = _prepare(asked._replace(layers=layers, aufs_xino=None))
    note = f"using fuse-overlayfs, because the kernel's overlay is not possible: {reason}"
    return other._replace(notes=(note, *other.notes))


def failing(prepared: Prepared) -> Iterator[Finding]:
    """Yield what will make the mount fail, worst first."""
    return (one for one in prepared.findings if one.severity is Severity.FAILURE)


def plan_mount(prepared: Prepared, api: str | None) -> Plan | None:
    """Return the plan for mounting the stack, None for a program. `api` forces a mount API.

    Raises RefusedError if this kernel cannot mount it.
    """
    stack = prepared.stack
    if stack.fstype == "fuse-overlayfs":
        return None
    features = context.overlay_features() if stack.fstype == "overlay" else context.Features()
    if features.by_descriptor and api not in ("fsconfig", "mount"):
        return choose(stack, features, api, prepared.facts.exposed)
    swappable, apart = _swappable(prepared), False
    if swappable and stack.fstype == "overlay":
        from layerctl.kernel import private_names

        apart = private_names.possible(paths_of(stack))
    return choose(stack, features, api, swappable, apart=apart)


def _swappable(prepared: Prepared) -> set[str]:
    """Return the directories that another user could replace, lower layers too."""
    layers = (layer.path for layer in prepared.stack.layers)
    return {
        *prepared.facts.exposed,
        *(path for path in layers if beneath.exposure(path).swap is not None),
    }


def _by_mount2(prepared: Prepared) -> Plan:
    """Return the plan without the newer calls. Raises RefusedError if there is none."""
    return choose(prepared.stack, context.Features(unknown="-"), None, _swappable(prepared))


def demand_possible(prepared: Prepared) -> None:
    """Raise the worst reason why a mount would fail, with the other findings."""
    failures = list(failing(prepared))
    if failures:
        rest = tuple(one for one in prepared.findings if one is not failures[0])
        raise of_finding(failures[0], rest)


def carry_out(prepared: Prepared, api: str | None, report: Report) -> None:
    """Mount, verify, and `report` while it can still be undone.

    Raises the reason why the checks or the kernel refuse it, with further findings; nothing is left
    behind then.
    """
    demand_possible(prepared)

    def done(plan: Plan | None, mounted: Mounted, changes: tuple[str, ...] = ()) -> None:
        # Why mountinfo shows descriptors in the place of names.
        why = (plan.why,) if plan and plan.opened and mounted.entry.fstype == "overlay" else ()
        notes = prepared.all_notes(mounted=True)
        report(plan, mounted, (*notes, *changes, *why, *mounted.notes))

    plan = plan_mount(prepared, api)
    fixed = api is not None or prepared.stack.is_mapped or prepared.swap is not None
    if plan is None:
        from layerctl.mounting import fuse

        done(None, fuse.carry_out(prepared))
        return
    try:
        apply.carry_out(
            plan,
            prepared.target,
            prepared.source,
            prepared.make,
            report=done,
            checked=prepared.facts.identities(),
            otherwise=None if fixed else lambda: _by_mount2(prepared),
            swap=prepared.swap,
        )
    except MountFailedError as error:
        raise _explained(error, prepared) from None


def _explained(error: MountFailedError, prepared: Prepared) -> LayerctlError:
    """Return the error for a mount that the kernel refused: cause, kernel messages, errno."""
    from layerctl.diagnosing import refusal
    from layerctl.kernel.facts import probes

    facts = with_more(prepared.stack, prepared.facts, probe=False)
    details = [f"kernel: {line}" for line in (*error.context_log, *error.kernel_log)]
    details.append(f"errno:  {error.errno} ({error.strerror}) from {error.stage}")
    answer = refusal.Answer(error.errno, error.context_log, error.kernel_log, error.judged)
    found = refusal.causes(prepared.stack, answer, probes.ask_clones(prepared.stack, facts))
    if found.known:
        others = (*found.known[1:], *found.possible)
        return of_finding(found.known[0], others, tuple(details))
    return RefusedError(
        "mount-refused",
        f"the kernel refused the mount on {prepared.target}: {error.strerror}",
        why="the checks found no reason, and the kernel gave only the error number",
        hint="read the kernel log as root",
        commands=("dmesg | tail",),
        findings=tuple(found.possible),
        details=tuple(details),
    )

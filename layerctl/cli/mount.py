"""`layerctl mount`."""

from __future__ import annotations

import os
import signal
import sys

import click

from layerctl.cli.common import absolute_stack, json_option, layer_flags
from layerctl.cli.complete import directories
from layerctl.cli.help import WithExamples
from layerctl.codecs.request import RemountWords, Request, as_remount, build
from layerctl.errors import (
    EXIT_FOUND,
    EXIT_OK,
    LayerctlError,
    RefusedError,
    RequestError,
    of_finding,
)
from layerctl.kernel import beneath, context, paths
from layerctl.kernel.facts.common import cached_directory, caller
from layerctl.kernel.facts.gather import gather
from layerctl.kernel.mounts import Mounted
from layerctl.model import Severity, Stack
from layerctl.mounting import prepare
from layerctl.mounting.apply import MountFailedError, carry_out
from layerctl.mounting.choose import choose
from layerctl.mounting.plan import APIS, FORMS, Plan, paths_of
from layerctl.mounting.prepare import Prepared
from layerctl.render.errors import note
from layerctl.rules import overlay, validity
from layerctl.rules.options import find


@click.command("mount", cls=WithExamples)
@layer_flags
@click.option("--mkdir", is_flag=True, help="Create missing target, upper and work directories.")
@click.option(
    "--aufs-xino",
    metavar="auto|default|none|PATH",
    help="Where aufs keeps its inode numbers (default: auto).",
)
@click.option(
    "--print",
    "form",
    type=click.Choice(FORMS),
    help="Print the mount in this form; do not mount.",
)
@click.option("--api", type=click.Choice(APIS), help="Force this mount API.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, without doing it.")
@json_option
@click.argument("where", nargs=-1, metavar="[SOURCE] TARGET", shell_complete=directories)
def command(
    *,
    request: Request,
    mkdir: bool,
    aufs_xino: str | None,
    form: str | None,
    api: str | None,
    dry_run: bool,
    as_json: bool,
    where: tuple[str, ...],
) -> int:
    """Mount layers on TARGET and verify the result.

    Give the layers topmost first, as options or in -o as for mount(8). With -o remount, change the
    options of an existing mount.
    """
    source, target = _where(where)
    changes = as_remount(request)
    if changes is not None:
        return _remount(changes, target, (mkdir, aufs_xino, form, api), dry_run, as_json)
    prepared = _prepare(request, source, target, mkdir=mkdir, aufs_xino=aufs_xino)
    if request.fstype == "auto":
        prepared = _fall_back(prepared, request, source, target, mkdir=mkdir)
    failures = [one for one in prepared.findings if one.severity is Severity.FAILURE]
    if form is not None:
        return _print(prepared, form)
    if dry_run:
        return _dry_run(prepared, api, failed=bool(failures), as_json=as_json)
    if failures:
        rest = tuple(one for one in prepared.findings if one is not failures[0])
        raise of_finding(failures[0], rest)
    if prepared.stack.fstype == "fuse-overlayfs":
        from layerctl.mounting import fuse

        _report(prepared, None, fuse.carry_out(prepared), (), as_json=as_json)
        return EXIT_OK
    plan = _plan(prepared, api)
    assert plan is not None  # noqa: S101 - fuse-overlayfs went another way above

    def report(taken: Plan, mounted: Mounted, changes: tuple[str, ...]) -> None:
        _report(prepared, taken, mounted, changes, as_json=as_json)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # all is done: it ends with 0

    try:
        carry_out(
            plan,
            prepared.target,
            prepared.source,
            prepared.make,
            report=report,
            checked=prepared.facts.identities(),
            otherwise=None if api is not None else lambda: _by_mount2(prepared),
        )
    except MountFailedError as error:
        raise _failure(error, prepared) from None
    return EXIT_OK


def _remount(
    words: RemountWords, target: str, others: tuple[object, ...], dry_run: bool, as_json: bool
) -> int:
    from layerctl.cli import remount

    if any(others):
        raise RequestError(
            "usage",
            "--mkdir, --aufs-xino, --print and --api cannot be combined with -o remount",
            why="a remount changes an existing mount with mount(2)",
            hint="remove them, or remove remount",
        )
    return remount.run(words, target, dry_run=dry_run, as_json=as_json)


def _where(where: tuple[str, ...]) -> tuple[str | None, str]:
    if not where or len(where) > 2:
        raise RequestError(
            "usage",
            "no target was given" if not where else f"{len(where)} arguments are too many",
            why="the arguments are [SOURCE] TARGET",
            hint="layerctl mount --help",
        )
    return (None, where[0]) if len(where) == 1 else (where[0], where[1])


def _prepare(
    request: Request, source: str | None, target: str, *, mkdir: bool, aufs_xino: str | None
) -> Prepared:
    asked = build(request)
    if aufs_xino is not None and asked.fstype != "aufs":
        raise RequestError(
            "usage",
            "--aufs-xino works only with aufs",
            why=f"the type is {asked.fstype}, which has -o xino=on|off|auto instead",
            hint="remove it, or use -t aufs",
        )
    stack = absolute_stack(asked)
    default_work = overlay.default_work(stack)
    if default_work is not None:
        stack = stack._replace(work=default_work)
    stack, *notes = prepare.user_xattr(stack, caller())
    for problem in validity.problems(stack):
        raise problem
    if stack.fstype == "aufs":
        stack, said = prepare.xino(stack, aufs_xino or "auto", cached_directory())
        notes.append(said)
    place = paths.absolute(target)
    make = _to_make(stack, place, default_work, mkdir=mkdir)
    from layerctl.diagnosing import preflight

    gathered = gather(stack, place, make)
    if stack.upper is not None and not stack.read_only:
        from layerctl.kernel.facts.overlay import ask_for_room

        gathered = ask_for_room(stack, gathered)
    if stack.fstype == "overlay" and any(find("overlay", name) is None for name in stack.options):
        from layerctl.kernel.facts import probes

        gathered = probes.ask_options(stack, gathered)
    findings = [*preflight.findings(stack, gathered), *prepare.unmakable(make)]
    return Prepared(
        stack,
        source or stack.fstype,
        place,
        make,
        gathered,
        tuple(findings),
        tuple(filter(None, notes)),
        default_work,
    )


def _fall_back(
    prepared: Prepared, request: Request, source: str | None, target: str, *, mkdir: bool
) -> Prepared:
    """Return the request for fuse-overlayfs where the kernel's overlay cannot, else as it is."""
    from layerctl.mounting.fuse import KERNEL_CANNOT

    failures = [one for one in prepared.findings if one.severity is Severity.FAILURE]
    if not failures or any(one.cause not in KERNEL_CANNOT for one in failures):
        return prepared
    reason = "; ".join(failures[0].evidence) or failures[0].title
    other = _prepare(
        request._replace(fstype="fuse-overlayfs"), source, target, mkdir=mkdir, aufs_xino=None
    )
    said = f"using fuse-overlayfs, because the kernel's overlay is not possible: {reason}"
    return other._replace(notes=(said, *other.notes))


def _to_make(
    stack: Stack, target: str, default_work: str | None, *, mkdir: bool
) -> tuple[str, ...]:
    wanted = [target, stack.upper, stack.work] if mkdir else [default_work]
    return tuple(path for path in wanted if path is not None and not os.path.lexists(path))


def _plan(prepared: Prepared, api: str | None) -> Plan | None:
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
    """Return the plan without the new calls. Raises RefusedError where there is none."""
    return choose(prepared.stack, context.Features(unknown="-"), None, _swappable(prepared))


def _failure(error: MountFailedError, prepared: Prepared) -> LayerctlError:
    """Return the error for a mount that the kernel refused: cause, kernel messages, errno."""
    from layerctl.diagnosing import explain
    from layerctl.kernel.facts import probes

    details = [f"kernel: {line}" for line in (*error.context_log, *error.kernel_log)]
    details.append(f"errno:  {error.errno} ({error.strerror}) from {error.stage}")
    gathered = probes.ask_clones(prepared.stack, prepared.facts)
    found = explain.of_failure(
        prepared.stack,
        error.errno,
        error.context_log,
        error.kernel_log,
        gathered,
        judged=error.judged,
    )
    if found.known:
        others = (*found.known[1:], *found.possible)
        return of_finding(found.known[0], others, tuple(details))
    could_be = ", ".join(one.cause for one in found.possible)
    return RefusedError(
        "mount-refused",
        f"the kernel refused the mount on {prepared.target}: {error.strerror}",
        why="the checks found no reason, and the kernel gave only the error number"
        + (f"; possible causes: {could_be}" if could_be else ""),
        hint="read the kernel log as root",
        commands=("dmesg | tail",),
        findings=tuple(found.possible),
        details=tuple(details),
    )


def _report(
    prepared: Prepared,
    plan: Plan | None,
    mounted: Mounted,
    changes: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    warnings = [one for one in prepared.findings if one.severity is Severity.WARNING]
    unnamed = (
        (plan.why,)
        if plan is not None and plan.opened and mounted.entry.fstype == "overlay"
        else ()
    )
    said = (*prepared.said, *changes, *unnamed, *mounted.notes)
    for text in said:
        note(text)
    for finding in warnings:
        note(f"warning: {'; '.join(finding.evidence) or finding.title} ({finding.cause})")
    if as_json:
        from layerctl.render import json
        from layerctl.render.mounts import mounted_document

        document = mounted_document(mounted)
        document["api"] = plan and {"name": plan.api, "why": plan.why}
        json.write(
            {
                "mounts": [document],
                **json.path_list_fields("made", prepared.make),
                "notes": list(said),
                "findings": [json.finding_document(one) for one in prepared.findings],
            }
        )
        sys.stdout.flush()  # if it cannot be written, the mount is undone


def _print(prepared: Prepared, form: str) -> int:
    """Write another form of the mount; another user may mount it, so privilege does not matter.

    Returns EXIT_FOUND where the mount would fail all the same.
    """
    from layerctl.render.plan import form_notes, print_form

    print_form(prepared, form)
    for text in form_notes(prepared, form):
        note(text)
    failed = False
    for finding in prepared.findings:
        if finding.cause == "missing-cap-sys-admin":
            continue
        evidence = "; ".join(finding.evidence) or finding.title
        note(f"{finding.severity.value}: {evidence} ({finding.cause})")
        failed = failed or finding.severity is Severity.FAILURE
    return EXIT_FOUND if failed else EXIT_OK


def _dry_run(prepared: Prepared, api: str | None, *, failed: bool, as_json: bool) -> int:
    from layerctl.render import plan as render

    try:
        plan = _plan(prepared, api)
    except RefusedError:
        if not failed:
            raise
        plan = None
    render.show(prepared, plan, as_json=as_json)
    return EXIT_FOUND if failed else EXIT_OK

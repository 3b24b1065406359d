"""`layerctl mount`. What a mount without --json, -n and --print does not need is imported late."""

from __future__ import annotations

import signal
import sys

import click

from layerctl.cli.common import MappedLayers, json_option, mapped_layer_flags
from layerctl.cli.complete import directories, targets
from layerctl.codecs.request import RemountWords, Request, as_remount
from layerctl.errors import EXIT_FOUND, EXIT_OK, RefusedError, RequestError
from layerctl.kernel.mounts import Mounted
from layerctl.model import Severity
from layerctl.mounting.plan import APIS, FORMS, Plan
from layerctl.mounting.prepare import Prepared
from layerctl.render.errors import finding_line, note
from layerctl.usecases.mount import (
    MountRequest,
    carry_out,
    failing,
    names_images,
    plan_mount,
    prepare_mount,
)

_VOLATILE = (
    "volatile: nothing is synced, so the upper layer must be discarded after a crash (layerctl "
    "explain volatile-upper)"
)


class _Mount(MappedLayers):
    """The size of --tmpfs follows a `=`, so that a TARGET after it is none."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, with an empty size for --tmpfs alone."""
        end = args.index("--") if "--" in args else len(args)
        plain = ["--tmpfs=" if word == "--tmpfs" else word for word in args[:end]]
        return super().parse_args(ctx, plain + args[end:])


@click.command("mount", cls=_Mount)
@mapped_layer_flags
@click.option("--mkdir", is_flag=True, help="Create missing target, upper and work directories.")
@click.option(
    "--aufs-xino",
    metavar="auto|default|none|PATH",
    help="Set where aufs keeps its inode numbers (default: auto).",
)
@click.option(
    "--print",
    "form",
    type=click.Choice(FORMS),
    help="Print the mount in this form; do not mount.",
)
@click.option(
    "--tmpfs",
    metavar="[=SIZE]",
    help="Write to a tmpfs of the mount's own, which is gone with the mount (default: half of the "
    "memory).",
)
@click.option(
    "--volatile", is_flag=True, help="Never sync: fast, but a crash loses the upper layer."
)
@click.option(
    "--like",
    metavar="TARGET",
    shell_complete=targets,
    help="Mount the layers of another mount or name read-only.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Replace the overlay on TARGET by a stack with more layers: new lower layers come above "
    "its lower ones; with a new upper layer, or -r, the old one is the topmost lower layer.",
)
@click.option("--lazy", is_flag=True, help="With --replace: detach the old mount if it is in use.")
@click.option("--container", metavar="NAME", help="Mount the layers of this container read-only.")
@click.option("--image", metavar="NAME", help="Mount the layers of this image read-only.")
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
    tmpfs: str | None,
    volatile: bool,
    replace: bool,
    lazy: bool,
    api: str | None,
    dry_run: bool,
    as_json: bool,
    where: tuple[str, ...],
    **names: str | None,
) -> int:
    """Mount layers on TARGET and verify the result.

    Give the layers topmost first, as options or in -o as for mount(8), also as findmnt(8),
    /proc/mounts or docker inspect show them. With -o remount, change the options of an existing
    mount. With --like, --container or --image, -u DIR or --tmpfs adds a new writable layer.
    """
    source, target = _where(where)
    changes = as_remount(request)
    if changes is not None:
        others = (mkdir, aufs_xino, form, api, tmpfs, volatile, replace, *names.values())
        return _remount(changes, target, others, dry_run, as_json)
    request, notes = _named_layers(request, names, written=tmpfs is not None)
    if volatile:
        request, notes = _never_synced(request, notes)
    asked = MountRequest(request, source, target, mkdir, aufs_xino, notes)
    if replace or lazy:
        _demand_alone(form, names, replace=replace)
        asked = _longer(asked, written=tmpfs is not None, lazy=lazy)
    if tmpfs is None and not names_images(asked.layers):
        return _mount(asked, form, api, dry_run=dry_run, as_json=as_json)
    from layerctl.usecases.holding import held  # few mounts hold more than directories

    with held(asked, tmpfs, apart=dry_run or form is not None) as asked:
        return _mount(asked, form, api, dry_run=dry_run, as_json=as_json)


def _never_synced(request: Request, notes: tuple[str, ...]) -> tuple[Request, tuple[str, ...]]:
    return request._replace(options=(*request.options, "volatile")), (*notes, _VOLATILE)


def _longer(asked: MountRequest, *, written: bool, lazy: bool) -> MountRequest:
    from layerctl.usecases.replacing import longer  # few mounts replace others

    return longer(asked, written=written, lazy=lazy)


def _demand_alone(form: str | None, names: dict[str, str | None], *, replace: bool) -> None:
    """Raise RequestError for what cannot be combined with --replace, or for --lazy without it."""
    if not replace:
        raise RequestError(
            "usage", "--lazy works only with --replace", commands=("layerctl umount --help",)
        )
    others = [f"--{name}" for name, value in names.items() if value is not None]
    if form is not None:
        others.append("--print")
    if others:
        raise RequestError(
            "usage",
            f"--replace and {others[0]} cannot be combined",
            why="the stack is that of TARGET, which only a mount can replace",
            hint=f"remove {others[0]}",
        )


def _named_layers(
    request: Request, names: dict[str, str | None], *, written: bool
) -> tuple[Request, tuple[str, ...]]:
    """Return the request with the layers that a name stands for, and notes.

    Without a writable layer it is read-only; `written` tells that there will be one.
    """
    if not any(name is not None for name in names.values()):
        return request, ()
    from layerctl.usecases.borrowing import layers_of  # reads stores, which few mounts need

    found, notes = layers_of(request=request, **names)
    return found._replace(read_only=request.read_only) if written else found, notes


def _mount(
    asked: MountRequest, form: str | None, api: str | None, *, dry_run: bool, as_json: bool
) -> int:
    prepared = prepare_mount(asked)
    if form is not None and (asked.own_upper or asked.places):
        raise RequestError(
            "usage",
            "--tmpfs and images cannot be combined with --print",
            why="what only this mount holds has no name that another program could use",
            hint="mount a tmpfs or the image with a line of its own, and name directories of it",
        )
    if form is not None:
        return _print(prepared, form)
    if dry_run:
        return _dry_run(prepared, api, as_json=as_json)

    def report(plan: Plan | None, mounted: Mounted, notes: tuple[str, ...]) -> None:
        _report(prepared, plan, mounted, notes, as_json=as_json)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # everything is done, so the exit code is 0

    if prepared.swap is not None and prepared.swap.keeps:
        from layerctl.usecases import keeping_upper  # few mounts replace others

        keeping_upper.carry_out(prepared, api, prepared.swap, report)
    else:
        carry_out(prepared, api, report)
    return EXIT_OK


def _remount(
    words: RemountWords, target: str, others: tuple[object, ...], dry_run: bool, as_json: bool
) -> int:
    from layerctl.cli import remount

    if any(one not in (None, False) for one in others):
        raise RequestError(
            "usage",
            "-o remount cannot be combined with the options of a new mount, such as --mkdir",
            why="a remount changes an existing mount with mount(2)",
            hint="remove them, or remove remount",
        )
    return remount.run(words, target, dry_run=dry_run, as_json=as_json)


def _where(where: tuple[str, ...]) -> tuple[str | None, str]:
    if not where or len(where) > 2:
        raise RequestError(
            "usage",
            "too many arguments were given" if where else "no target was given",
            why="the arguments are [SOURCE] TARGET",
            commands=("layerctl mount --help",),
        )
    return (None, where[0]) if len(where) == 1 else (where[0], where[1])


def _report(
    prepared: Prepared,
    plan: Plan | None,
    mounted: Mounted,
    notes: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    for text in notes:
        note(text)
    for finding in prepared.findings:
        if finding.severity is Severity.WARNING:
            note(finding_line(finding))
    if as_json:
        from layerctl.render import json
        from layerctl.render.mounts import changed_document

        api = plan and {"name": plan.api, "why": plan.why}
        json.write(changed_document(mounted, api, notes, prepared.make, prepared.findings))
        sys.stdout.flush()  # if it cannot be written, the mount is undone


def _print(prepared: Prepared, form: str) -> int:
    """Write another form of the mount. Another user may mount it, so privilege does not matter.

    Returns EXIT_FOUND if the mount would fail.
    """
    from layerctl.render.plan import form_notes, print_form

    print_form(prepared, form)
    for text in form_notes(prepared, form):
        note(text)
    failed = False
    for finding in prepared.findings:
        if finding.cause == "missing-cap-sys-admin":
            continue
        note(finding_line(finding))
        failed = failed or finding.severity is Severity.FAILURE
    return EXIT_FOUND if failed else EXIT_OK


def _dry_run(prepared: Prepared, api: str | None, *, as_json: bool) -> int:
    from layerctl.render import plan as render

    failed = any(failing(prepared))
    try:
        plan = plan_mount(prepared, api)
    except RefusedError:
        if not failed:
            raise
        plan = None
    render.show(prepared, plan, as_json=as_json)
    return EXIT_FOUND if failed else EXIT_OK

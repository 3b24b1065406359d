"""`layerctl run`. What only a question or a listing needs is imported late: scripts pay for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from layerctl.cli.common import add_options, json_option
from layerctl.cli.complete import directories
from layerctl.cli.help import WithExamples
from layerctl.errors import EXIT_OK, EXIT_RUN, LayerctlError, RequestError, RunError
from layerctl.kernel.sandbox import How
from layerctl.render.errors import note
from layerctl.usecases.keeping import Kept, changed_places
from layerctl.usecases.run import Prepared, Running, RunRequest, prepare, started

if TYPE_CHECKING:
    from layerctl.inspecting.changes import LayerChange


class RunCommand(WithExamples):
    """A command whose own errors have the exit codes of env(1), as all others are its command's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            text = error.format_message().rstrip(".")
            found = RequestError("usage", text, commands=("layerctl run --help",))
            found.exit_code = EXIT_RUN  # type: ignore[misc]  # of this one error
            raise found from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except LayerctlError as error:
            error.exit_code = max(error.exit_code, EXIT_RUN)  # type: ignore[misc]  # this one's
            raise
        except OSError as error:
            words = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise RunError("run-failed", words, hint="read the kernel log",
                           commands=("dmesg | tail",)) from error  # fmt: skip


class _Choice(NamedTuple):
    """What is to become of the changes, and how they are shown."""

    apply_it: bool
    drop_it: bool
    force: bool
    stat: bool
    patch: bool


_CHOICE = (
    click.option("--apply", "apply_it", is_flag=True, help="Apply the changes without a question."),
    click.option("--drop", "drop_it", is_flag=True, help="Drop the changes without a question."),
    click.option(
        "--force", is_flag=True, help="With --apply, overwrite what the host changed, too."
    ),
    click.option("--stat", is_flag=True, help="At the end, count the changed lines of each file."),
    click.option("--diff", "patch", is_flag=True, help="At the end, show what changed in files."),
)


def _choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of what becomes of the changes; the command gets them as `choice`."""

    def wrapper(**arguments: Any) -> Any:
        choice = _Choice(*(arguments.pop(name) for name in _Choice._fields))
        return function(choice=choice, **arguments)

    return add_options(function, wrapper, _CHOICE)


@click.command(
    "run", cls=RunCommand, context_settings={"allow_interspersed_args": False}
)  # fmt: skip
@click.option(
    "--over",
    multiple=True,
    metavar="DIR",
    shell_complete=directories,
    help="Layer only this directory; writes elsewhere are real.",
)
@click.option(
    "--keep",
    metavar="DIR",
    shell_complete=directories,
    help="Keep the layers in this directory, new or of an earlier run to continue.",
)
@_choosing
@click.option(
    "--hide",
    multiple=True,
    metavar="PATH",
    shell_complete=directories,
    help="Show an empty directory or file in its place.",
)
@click.option(
    "--ro",
    "read_only",
    is_flag=True,
    help="Make everything read-only; with --over, everything else.",
)
@click.option("--no-net", is_flag=True, help="Give the command no network.")
@click.option(
    "-C",
    "--directory",
    metavar="DIR",
    shell_complete=directories,
    help="Start the command in this directory.",
)
@click.option("--size", metavar="SIZE", help="Limit the layers in memory, as for tmpfs: 2G, 50%.")
@click.option(
    "--keep-processes", is_flag=True, help="Let processes that the command leaves behind go on."
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what is layered; run nothing.")
@json_option
@click.argument("words", nargs=-1, metavar="[--] COMMAND [ARG]...")
def command(
    *,
    words: tuple[str, ...],
    keep: str | None,
    dry_run: bool,
    as_json: bool,
    choice: _Choice,
    **given: Any,
) -> int:
    """Run a command over the system as it is; its writes go to layers.

    Afterwards, show what it changed, and ask whether to apply that, to keep it or to drop it.
    Without a terminal, drop it, unless --apply or --keep is given. The exit code is the command's;
    that of layerctl itself is 125, 126 or 127. With --json, the command's output goes to standard
    error.

    This is a way to look before you keep, not a security boundary: /dev, /sys, /run, sockets and
    the network are real, and root can leave the layers.
    """
    _check(words, keep, choice, stay=given["keep_processes"])
    prepared = prepare(RunRequest(words, keep=keep, apart=as_json, **given), dry_run=dry_run)
    if dry_run:
        from layerctl.render.run import show_plan  # not needed to run anything

        show_plan(prepared.tree, as_json=as_json)
        return EXIT_OK
    _tell_plan(prepared, quiet=as_json)
    with started(prepared) as running:
        for text in running.session.notes:
            note(text)
        end = _End(running, running.run(words), force=choice.force, as_json=as_json)
        end.show(stat=choice.stat, patch=choice.patch)
        if choice.apply_it:
            end.apply(())
        elif (
            keep is None and not (choice.drop_it or as_json or given["keep_processes"]) and _asks()
        ):
            end.ask()
        end.finish(told=choice.drop_it)
    return end.code


def _check(words: Sequence[str], keep: str | None, choice: _Choice, *, stay: bool) -> None:
    problem = ""
    if not words:
        problem = "no command was given"
    elif sum((choice.apply_it, choice.drop_it, keep is not None)) > 1:
        problem = "--apply, --drop and --keep cannot be combined"
    elif stay and choice.apply_it:
        problem = "--apply and --keep-processes cannot be combined"
    if problem:
        raise RequestError("usage", problem, commands=("layerctl run --help",))


def _asks() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _tell_plan(prepared: Prepared, *, quiet: bool) -> None:
    """Tell on one line what is not isolated."""
    if quiet:
        return
    if prepared.tree.whole:
        only = ", ".join(one.target for one in prepared.tree.points if one.must)
        rest = "everything else is read-only" if prepared.tree.read_only else (
            "writes elsewhere are real")  # fmt: skip
        note(f"only {only} is layered; {rest}")
        return
    bare = [one.target for one in prepared.tree.points if one.how in (How.BIND, How.COPY)]
    others = "; files of other users cannot be written" if prepared.tree.user else ""
    if bare or others:
        note(f"not layered: {', '.join(bare) or 'nothing'}{others} (layerctl run -n tells why)")


class _End:
    """What is done when the command has ended."""

    def __init__(self, running: Running, code: int, *, force: bool, as_json: bool) -> None:
        self._running = running
        self._kept = running.kept
        self._force = force
        self._json = as_json
        self.code = code
        self._result = "dropped" if self._kept.memory else "kept"
        self._changed = bool(changed_places(self._kept))
        self._found: list[LayerChange] = []
        self._notes = list(running.session.notes)

    def show(self, *, stat: bool, patch: bool) -> None:
        """Show the changes, as JSON in the end."""
        if self._json:
            from layerctl.usecases.looking import changes  # only where it is used

            self._found, unread = changes(self._kept)
            self._notes += unread
        if self._json or not (stat or patch or (_asks() and self._changed)):
            return
        from layerctl.cli.kept_changes import show_changes  # as above

        show_changes(self._kept, stat=stat, patch=patch)

    def apply(self, chosen: Sequence[str]) -> None:
        """Apply the changes, or the chosen ones; keep them if that is refused."""
        if not self._changed:
            self._result = "applied"
            return
        from layerctl.cli.kept_changes import apply_kept  # as above

        try:
            count = apply_kept(self._kept, chosen, force=self._force)
        except (LayerctlError, OSError) as error:
            self._rescue()
            raise error from None
        self._result = "applied"
        if not self._json:
            note(f"applied: {count} steps")

    def _rescue(self) -> None:
        if self._kept.memory:
            from layerctl.cli.kept_changes import rescue  # only where it is used

            self.keep(rescue())

    def keep(self, path: str) -> None:
        """Copy the layers from memory to a directory."""
        from layerctl.usecases.keeping import save

        self._kept = save(self._kept, path)
        self._result = "kept"
        note(f"the changes are kept in {self._kept.path}: layerctl apply or drop {path}")

    def ask(self) -> None:
        """Ask what to do with the changes until that is done."""
        if self._changed:
            from layerctl.cli.asking import ask  # only where it is used

            ask(self, self._running)
        else:
            note("no changes")

    @property
    def kept(self) -> Kept:
        """The layers."""
        return self._kept

    def finish(self, *, told: bool) -> None:
        """Say what became of the changes."""
        if self._json:
            from layerctl.render.run import result_document, write_result  # only where it is used

            prepared = self._running.prepared
            path = self._kept.path if self._result == "kept" else None
            document = result_document(prepared.request.words, self.code, self._result, path,
                                       prepared.tree)  # fmt: skip
            write_result(document, self._found, self._notes)
        elif self._changed and self._result == "kept" and not self._running.kept.memory:
            note(f"the changes are kept: layerctl apply or drop {self._kept.path}")
        elif self._changed and self._result == "dropped" and not told and not _asks():
            note("the changes are dropped; use --apply or --keep DIR otherwise")

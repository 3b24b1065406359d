"""The program: lazily loaded commands, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from layerctl import __version__
from layerctl.cli.help import WithExamples
from layerctl.errors import (
    EXIT_OK,
    EXIT_OUTPUT,
    BugError,
    LayerctlError,
    OutputError,
    RefusedError,
    RequestError,
    StoppedError,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: What writing to standard output fails with; other files have a name in their errors.
_UNWRITABLE = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EBADF, errno.EFBIG)

#: Every command: its name, the module that holds it, its one line of help.
COMMANDS: dict[str, tuple[str, str]] = {
    "mount": ("layerctl.cli.mount", "Mount a stack of layers."),
    "umount": ("layerctl.cli.umount", "Unmount a layered mount."),
    "list": ("layerctl.cli.list", "List every overlay and aufs mount."),
    "branch": ("layerctl.cli.branch", "List and change the branches of a live aufs."),
    "inspect": ("layerctl.cli.inspect", "Look inside a mount or bare layers."),
    "doctor": ("layerctl.cli.doctor", "Say why a mount fails or would fail."),
    "explain": ("layerctl.cli.explain", "Explain a cause that doctor named."),
    "schema": ("layerctl.cli.schema", "Print the JSON Schema of a command's output."),
}


_VERSION = (
    f"layerctl {__version__} (Python {'.'.join(map(str, sys.version_info[:3]))}, "
    f"{os.uname().sysname} {os.uname().release})"
)


class LazyGroup(WithExamples, click.Group):
    """A group that imports a command only when it runs: a shell script pays for every import."""

    def __init__(self, *args: object, lazy: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed through unchanged
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.lazy:
            return None
        import importlib

        module = importlib.import_module(self.lazy[cmd_name][0])
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 - the table names our own modules
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands with their help from the table, importing none."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=help_)
            for name, (_, help_) in self.lazy.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in self.lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            from layerctl.rules.options import nearest

            close = nearest(args[0], list(self.lazy))
            raise RequestError(
                "usage",
                f"'{args[0]}' is no command of {ctx.command_path}",
                hint=f"{ctx.command_path} {close[0] if close else '--help'}",
            )
        return super().resolve_command(ctx, args)


def _no_pager(_: click.Context, __: click.Parameter, value: bool) -> None:
    if value:
        from layerctl.render.pager import switch_off

        switch_off()


@click.command(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.option(
    "--no-pager",
    is_flag=True,
    expose_value=False,
    callback=_no_pager,
    help="Write to the terminal without a pager.",
)
@click.version_option(__version__, message=_VERSION.replace("%", "%%"))
def cli() -> None:
    """Mount, inspect and diagnose layered filesystems: overlayfs and aufs."""


def _usage(error: click.ClickException) -> RequestError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "layerctl"
    return RequestError("usage", error.format_message().rstrip("."), hint=f"{path} --help")


def _wants_json(arguments: Sequence[str]) -> bool:
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in before or "--jsonl" in before


def _fail(error: LayerctlError, *, as_json: bool) -> int:
    from layerctl.render.errors import report

    report(error, as_json=as_json)
    return error.exit_code


def _tell(error: LayerctlError, *, as_json: bool) -> int:
    from layerctl.render.errors import tell

    tell(error, as_json=as_json)
    return error.exit_code


def _lacking(error: Exception) -> RefusedError | None:
    if not isinstance(error, ImportError):
        return None
    from layerctl.cli.libraries import missing

    return missing(error)


def _bug(error: Exception) -> BugError:
    import traceback

    if os.environ.get("LAYERCTL_DEBUG"):
        traceback.print_exc()
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return BugError(
        "bug",
        f"a bug in layerctl: {type(error).__name__}: {error}",
        why=f"raised at {os.path.basename(frame.filename)}:{frame.lineno}",
        hint="run it again with LAYERCTL_DEBUG=1 in the environment and report what it prints",
    )


def _without_proc() -> RefusedError:
    return RefusedError(
        "no-proc",
        "/proc is not mounted, or is not the process's own",
        why="what is mounted and who asks is read there; nothing is mounted unseen",
        hint="mount -t proc proc /proc",
    )


def _die_of(number: signal.Signals) -> NoReturn:
    """End as a program does that did not catch the signal, so that a shell sees the same."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _terminated(number: int, frame: object) -> None:
    """Turn SIGTERM and SIGHUP into an exception, so that what was begun is undone."""
    raise SystemExit(128 + number)


def _open_streams() -> None:
    """Put something in the place of standard streams that the caller closed.

    Else the next file opened would become one of them. What is written there fails with EBADF.
    And let no character stop the output that the locale cannot write.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest number that is free, this one
            stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    """Run a command and let its errors through, which click's own main() does not."""
    if "_LAYERCTL_COMPLETE" in os.environ:
        from layerctl.cli import shells  # noqa: F401 - it says how the shells ask

        cli.main(arguments, prog_name="layerctl")  # answers the shell and exits
    try:
        with cli.make_context("layerctl", arguments) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    return result if isinstance(result, int) else EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code (`layerctl.errors.EXIT_CODES`)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    as_json = _wants_json(arguments)
    _open_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) leaves it
            signal.signal(number, _terminated)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except LayerctlError as error:
        return _fail(error, as_json=as_json)
    except click.ClickException as error:
        return _fail(_usage(error), as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        return _tell(StoppedError("interrupted", "interrupted"), as_json=as_json)
    except BrokenPipeError:
        _die_of(signal.SIGPIPE)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
            why = f"the output could not be written: {error.strerror}"
            _tell(OutputError("output-not-written", why), as_json=as_json)
            os._exit(EXIT_OUTPUT)  # a last flush at exit would only fail again
        if isinstance(error, FileNotFoundError) and str(error.filename).startswith("/proc/self/"):
            return _fail(_without_proc(), as_json=as_json)
        return _fail(_lacking(error) or _bug(error), as_json=as_json)


def program() -> NoReturn:
    """Run the program as a process of its own.

    Taking the interpreter apart at the end costs a tenth of a short run and does nothing for
    anybody: what was written is flushed, and the kernel frees the rest.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or EXIT_OUTPUT
    os._exit(code)

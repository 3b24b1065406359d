"""The program: lazily loaded commands, and the one place where errors become exit codes.

Every run imports this module. Therefore, imports that only errors, completion or --no-pager need
are made where they are needed.
"""

from __future__ import annotations

import errno
import importlib
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
    SystemFailedError,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from click.shell_completion import CompletionItem

#: Every command: its name, its module, its one-line help.
COMMANDS: dict[str, tuple[str, str]] = {
    "mount": ("layerctl.cli.mount", "Mount layers."),
    "umount": ("layerctl.cli.umount", "Unmount a layered mount."),
    "list": ("layerctl.cli.list", "List overlay and aufs mounts."),
    "branch": ("layerctl.cli.branch", "List or change the branches of a mounted aufs."),
    "inspect": ("layerctl.cli.inspect", "Examine a mount or unmounted layers."),
    "which": ("layerctl.cli.which", "Tell which layer and container something belongs to."),
    "cat": ("layerctl.cli.cat", "Write one version of a file to standard output."),
    "diff": ("layerctl.cli.diff", "Compare the merged trees of two stacks."),
    "du": ("layerctl.cli.du", "Show what layers take up, and what of it is hidden."),
    "check": ("layerctl.cli.check", "Find and mend wrong markers in layers."),
    "restore": ("layerctl.cli.restore", "Bring back what an upper layer deleted or changed."),
    "trim": ("layerctl.cli.trim", "Remove from an upper layer what changes nothing."),
    "commit": ("layerctl.cli.commit", "Merge an upper layer into the layer below it."),
    "deref": ("layerctl.cli.deref", "Copy a layer without redirects."),
    "run": ("layerctl.cli.run", "Run a command and look at what it changes first."),
    "apply": ("layerctl.cli.apply", "Apply what a run changed."),
    "drop": ("layerctl.cli.drop", "Drop what a run changed."),
    "convert": ("layerctl.cli.convert", "Convert a layer for another filesystem."),
    "pack": ("layerctl.cli.pack", "Write layers as an OCI layer archive."),
    "unpack": ("layerctl.cli.unpack", "Unpack an OCI layer archive into a layer."),
    "doctor": ("layerctl.cli.doctor", "Find out why a mount fails."),
    "explain": ("layerctl.cli.explain", "Explain a cause or an error."),
    "schema": ("layerctl.cli.schema", "Print the JSON Schema of a command's output."),
}


_VERSION = (
    f"layerctl {__version__} (Python {'.'.join(map(str, sys.version_info[:3]))}, "
    f"{os.uname().sysname} {os.uname().release})"
)


class LazyGroup(WithExamples, click.Group):
    """A group that imports a command only when it runs, since every import takes time."""

    def __init__(self, *args: object, lazy: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed through unchanged
        self.lazy = lazy

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        return list(self.lazy)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.lazy:
            return None
        module = importlib.import_module(self.lazy[cmd_name][0])
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101 - the table names our own modules
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the commands with their help from the table, without importing them."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=help_)
            for name, (_, help_) in self.lazy.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in self.lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the one that was probably meant."""
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            from layerctl.rules.options import nearest

            close = nearest(args[0], list(self.lazy))
            raise RequestError(
                "usage",
                f"unknown command '{args[0]}'" + (f"; did you mean '{close[0]}'?" if close else ""),
                commands=(" ".join((ctx.command_path, *close[:1], "--help")),),
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
    help="Do not use a pager.",
)
@click.version_option(__version__, message=_VERSION.replace("%", "%%"))
def cli() -> None:
    """Mount, inspect and diagnose layered filesystems: overlayfs and aufs."""


def _usage(error: click.ClickException) -> RequestError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "layerctl"
    return RequestError("usage", error.format_message().rstrip("."), commands=(f"{path} --help",))


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


def _missing_library(error: ImportError) -> RefusedError | None:
    from layerctl.cli.libraries import missing

    return missing(error)


def _bug(error: Exception) -> BugError:
    import traceback

    if os.environ.get("LAYERCTL_DEBUG"):
        traceback.print_exc()
    return BugError(
        "bug",
        f"a bug in layerctl: {type(error).__name__}: {error}",
        why=f"raised at {_place(error)}",
        hint="run it again with LAYERCTL_DEBUG=1 in the environment, and report the output",
    )


def _system(error: OSError) -> LayerctlError:
    """Return the error for a system call that failed unexpectedly."""
    if error.errno == errno.ENOENT and str(error.filename).startswith("/proc/self/"):
        return _without_proc()
    name = errno.errorcode.get(error.errno or 0, "an error")
    words = error.strerror or str(error)
    return SystemFailedError(
        "system-error",
        f"{error.filename}: {words}" if error.filename else f"a system call failed: {words}",
        why=f"the call failed with {name}, and without it the result could be wrong "
        f"({_place(error)})",
        hint="run the command again; if it still fails, read the kernel log",
        commands=("dmesg | tail",),
    )


def _memory() -> SystemFailedError:
    return SystemFailedError(
        "out-of-memory",
        "out of memory",
        hint="free some memory, or raise the limit",
        commands=("ulimit -v",),
    )


def _unreadable_module(error: ImportError) -> SystemFailedError:
    return SystemFailedError(
        "program-unreadable",
        f"a part of the program cannot be loaded: {error}",
        why="the module is missing or unreadable",
        hint="run the command again; if it still fails, reinstall the program",
    )


def _place(error: BaseException) -> str:
    """Return where in the program an error was raised."""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno}"


def _without_proc() -> RefusedError:
    return RefusedError(
        "no-proc",
        "/proc is not mounted, or belongs to another PID namespace",
        why="layerctl needs it to find out what is mounted",
        commands=("mount -t proc proc /proc",),
    )


def _die_of(number: signal.Signals) -> NoReturn:
    """End as if the signal had not been caught, so that a shell sees that."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _terminated(number: int, _: object) -> None:
    """Turn SIGTERM and SIGHUP into an exception, so that unfinished work is undone."""
    raise SystemExit(128 + number)


class _UnwrittenError(OSError):
    """Only writing to standard output failed."""


class _Output(io.FileIO):
    """Standard output, whose errors can be distinguished from those of other files."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as write(2) does. Raises _UnwrittenError."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _UnwrittenError(error.errno, error.strerror) from None


def _open_streams() -> None:
    """Replace standard streams that the caller closed.

    Otherwise the next opened file would become one of them. Writing to the replacement fails with
    EBADF. Also let characters that the locale cannot encode be escaped.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free number, which is this one
            stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        if isinstance(getattr(out.buffer, "raw", out.buffer), io.FileIO):
            buffer = io.BufferedWriter(_Output(out.fileno(), "wb", closefd=False))
            lines = out.line_buffering or out.write_through
            out = sys.stdout = io.TextIOWrapper(buffer, out.encoding, line_buffering=lines)
        out.reconfigure(errors="backslashreplace")


def _run(arguments: list[str]) -> int:
    """Run a command and let its errors propagate, unlike click's own main()."""
    if "_LAYERCTL_COMPLETE" in os.environ:
        from layerctl.cli import shells  # noqa: F401 - it says how the shells ask

        cli.main(arguments, prog_name="layerctl")  # prints completions and exits
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
    try:
        _open_streams()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # set by nohup(1)
                signal.signal(number, _terminated)
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
    except MemoryError:
        return _fail(_memory(), as_json=as_json)
    except ImportError as error:
        return _fail(_missing_library(error) or _unreadable_module(error), as_json=as_json)
    except _UnwrittenError as error:
        why = f"the output could not be written: {error.strerror}"
        _tell(OutputError("output-not-written", why), as_json=as_json)
        os._exit(EXIT_OUTPUT)  # a last flush at exit would only fail again
    except OSError as error:
        return _fail(_system(error), as_json=as_json)
    except Exception as error:
        return _fail(_bug(error), as_json=as_json)


def program() -> NoReturn:
    """Run the program as a process of its own.

    Shutting down the interpreter would take a tenth of a short run for nothing: output is flushed
    already, and the kernel frees the rest.
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

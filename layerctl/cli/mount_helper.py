"""`mount.layerctl`: `layerctl mount`, as mount(8) calls a helper for `-t layerctl`.

The arguments are those that mount(8) documents for helpers, the exit codes its own. Installed as
/sbin/mount.layerctl, where libmount looks; busybox looks in PATH.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
from collections.abc import Sequence

import click

import layerctl
from layerctl import errors
from layerctl.cli import main as program
from layerctl.cli import mount
from layerctl.codecs.helper import arguments
from layerctl.kernel import process
from layerctl.render.errors import note, report

#: The exit codes of mount(8).
_SUCCESS, _USAGE, _SYSTEM, _BUG, _STOPPED, _FAILURE = 0, 1, 2, 4, 8, 32
_CODES = {
    errors.EXIT_OK: _SUCCESS,
    errors.EXIT_USAGE: _USAGE,
    errors.EXIT_NOT_PERMITTED: _USAGE,
    errors.EXIT_SYSTEM: _SYSTEM,
    errors.EXIT_OUTPUT: _SYSTEM,
    errors.EXIT_BUG: _BUG,
    errors.EXIT_INTERRUPTED: _STOPPED,
}
#: What an fstab line cannot say: how to report, and what is not a mount.
_NOT_OPTIONS = ("help", "json", "dry-run", "print", "options", "replace", "lazy")
#: Options whose value can be left out.
_OPTIONAL = ("tmpfs",)


@click.command("mount.layerctl", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-o", "options", multiple=True, metavar="OPTIONS", help="Mount options and flags.")
@click.option("-t", "fstype", metavar="TYPE", help="layerctl.TYPE, for a type of layerctl mount.")
@click.option("-f", "fake", is_flag=True, help="Check, but do not mount.")
@click.option("-s", "sloppy", is_flag=True, help="Ignore unknown options.")
@click.option("-v", "verbose", is_flag=True, help="Say what was done.")
@click.option("-n", "no_mtab", is_flag=True, help="No effect.")
@click.option("-N", "namespace", metavar="NAMESPACE", help="Mount in this mount namespace.")
@click.argument("source")
@click.argument("target")
def command(
    *,
    options: tuple[str, ...],
    fstype: str | None,
    fake: bool,
    sloppy: bool,
    verbose: bool,
    no_mtab: bool,
    namespace: str | None,
    source: str,
    target: str,
) -> int:
    """Mount layers on TARGET, for mount(8); see layerctl mount for what OPTIONS can contain."""
    del no_mtab  # there is no /etc/mtab to write any more
    words = arguments(",".join(options), flags(), sloppy=sloppy)
    kind = (fstype or "").partition(".")[2]
    line = ["mount", *(["--type", kind] if kind else []), *words]
    if fake:
        line.append("--dry-run")
    if namespace is not None:
        _enter(namespace)
    if fake and not verbose:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            code = program.main([*line, "--", source, target])
    else:
        code = program.main([*line, "--", source, target])
    if verbose and not fake and code == errors.EXIT_OK:
        note(f"{source} mounted on {target}")
    return _CODES.get(code, _FAILURE)


def flags() -> dict[str, bool | None]:
    """Return the names of the options of `layerctl mount`, each with whether it takes a value.

    None means that it can do without.
    """
    return {
        name[2:]: None if name[2:] in _OPTIONAL else not one.is_flag
        for one in mount.command.params
        if isinstance(one, click.Option)
        for name in one.opts
        if name.startswith("--") and name.removeprefix("--") not in _NOT_OPTIONS
    }


def _enter(namespace: str) -> None:
    """Enter a mount namespace: a file, as from mount(8), or a process.

    The files of the program may be missing there, so all of its modules are imported first.
    """
    for module in pkgutil.walk_packages(layerctl.__path__, "layerctl."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    try:
        process.enter_mounts_of(namespace)
    except OSError as error:
        raise errors.NotFoundError(
            "target-missing", f"the mount namespace {namespace}: {error.strerror}"
        ) from None


def main(words: Sequence[str]) -> int:
    """Run the helper; return an exit code of mount(8)."""
    try:
        with command.make_context("mount.layerctl", list(words)) as context:
            result = command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        click.echo(f"mount.layerctl: {error.format_message()}", err=True)
        return _USAGE
    except errors.LayerctlError as error:
        report(error, as_json=False)
        return _CODES.get(error.exit_code, _FAILURE)
    except KeyboardInterrupt:
        return _STOPPED
    return result if isinstance(result, int) else _FAILURE

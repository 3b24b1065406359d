"""A pager for output to a terminal, as in git(1)."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

_wanted = True

#: The default options of less, as in git: exit if everything fits on one screen, show colours, do
#: not clear the screen; the same for lv.
_DEFAULTS = {"LESS": "FRX", "LV": "-c"}

#: Set if another user became root: the pager must then not start commands or write files (less(1)).
_LENT = ("SUDO_UID", "PKEXEC_UID", "DOAS_USER")


def switch_off() -> None:
    """Disable the pager, as --no-pager requests."""
    global _wanted  # noqa: PLW0603 - one program, one answer
    _wanted = False


class _Page(io.TextIOWrapper):
    """The pipe to the pager. It reports to be a terminal, since its output ends there."""

    def isatty(self) -> bool:
        return True


@contextmanager
def paged() -> Iterator[None]:
    """Pipe standard output through the pager during the context, if it is a terminal.

    If the user quits the pager early, output stops; that is not an error.
    """
    process = _start() if _wanted and sys.stdout.isatty() else None
    if process is None or process.stdin is None:
        yield
        return
    terminal = sys.stdout
    terminal.flush()
    page = _Page(process.stdin, terminal.encoding, terminal.errors)
    sys.stdout = page
    try:
        with suppress(BrokenPipeError):
            yield
    finally:
        sys.stdout = terminal
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pager has it now
        try:
            with suppress(BrokenPipeError):
                page.close()
            process.wait()
        finally:
            signal.signal(signal.SIGINT, before)


def command() -> list[str]:
    """Return the pager's command line; empty for no pager.

    It is LAYERCTL_PAGER, else PAGER, else less; not on a terminal that cannot move its cursor.
    """
    if os.environ.get("TERM", "dumb") == "dumb":
        return []
    named = next((os.environ[n] for n in ("LAYERCTL_PAGER", "PAGER") if n in os.environ), "less")
    if _lent():
        named = "less"
    try:
        words = shlex.split(named)
    except ValueError:
        return []
    if not words or words == ["cat"] or shutil.which(words[0]) is None:
        return []
    return words


def _lent() -> bool:
    return os.geteuid() == 0 and any(os.environ.get(name, "0") != "0" for name in _LENT)


def _start() -> subprocess.Popen[bytes] | None:
    words = command()
    if not words:
        return None
    import subprocess  # little is paged

    environment = {**_DEFAULTS, **os.environ, **({"LESSSECURE": "1"} if _lent() else {})}
    try:
        return subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)  # noqa: S603 - no shell
    except OSError:
        return None

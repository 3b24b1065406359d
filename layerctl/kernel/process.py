"""What this process does to itself: signals, limits, its working directory; programs it starts."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from layerctl.kernel import beneath

_WAITING_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
#: How many files a process can open at least, where its limit cannot be read.
_LEAST_FILES = 256


@contextlib.contextmanager
def signals_wait() -> Iterator[set[int]]:
    """Block signals until what was begun is done or undone; yields which were blocked before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITING_SIGNALS)
    try:
        yield {int(number) for number in before}
    finally:
        with contextlib.suppress(OSError):  # what is done is done
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def signals_come(mask: set[int]) -> Iterator[None]:
    """Deliver pending and new signals meanwhile; `mask` is what `signals_wait` yields."""
    waiting = signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            signal.pthread_sigmask(signal.SIG_SETMASK, waiting)


def raise_open_files(wanted: int) -> int:
    """Raise the limit of open files to `wanted` where it is lower, as far as that is permitted.

    Returns the limit that holds then.
    """
    import resource  # few commands open many files

    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:
        return _LEAST_FILES
    if soft < wanted:
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft


@contextlib.contextmanager
def inside(directory: str | None) -> Iterator[None]:
    """Change to `directory` meanwhile, where relative names start; None changes nothing."""
    if directory is None:
        yield
        return
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if directory == beneath.FD_DIRECTORY:
            os.chdir(directory)
        else:
            there = beneath.open_directory(directory)
            try:
                os.fchdir(there)
            finally:
                os.close(there)
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def close(fd: int) -> None:
    """Close a descriptor; an error does not matter."""
    with contextlib.suppress(OSError):  # it is closed all the same (close(2))
        os.close(fd)


class Ended(NamedTuple):
    """How a program ended: its exit code, and the lines of its standard error."""

    code: int
    messages: tuple[str, ...]


def run_program(words: Sequence[str], fds: Sequence[int] = ()) -> Ended:
    """Run a program, which inherits `fds`, without input or output. Raises FileNotFoundError."""
    import subprocess  # slow to import, and only fuse-overlayfs is a program

    done = subprocess.run(  # noqa: S603 - no shell, and the words are ours
        words,
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return Ended(done.returncode, tuple(filter(None, done.stderr.splitlines())))

"""The current process: signals, limits, working directory; and the programs that it runs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence

from layerctl.kernel import beneath, syscalls

_WAITING_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
#: The limit of open files to assume if it cannot be read.
_LEAST_FILES = 256


@contextlib.contextmanager
def signals_wait() -> Iterator[set[int]]:
    """Block signals in the context; yields those that were blocked before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITING_SIGNALS)
    try:
        yield {int(number) for number in before}
    finally:
        with contextlib.suppress(OSError):  # it is done already
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def signals_come(mask: set[int]) -> Iterator[None]:
    """Deliver pending and new signals in the context; `mask` is from `signals_wait`."""
    waiting = signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            signal.pthread_sigmask(signal.SIG_SETMASK, waiting)


def raise_open_files(wanted: int) -> int:
    """Raise the limit of open files to `wanted` if it is lower, as far as permitted.

    Returns the resulting limit.
    """
    try:
        soft = os.sysconf("SC_OPEN_MAX")  # the soft limit, -1 for none
    except OSError:
        soft = _LEAST_FILES
    if 0 <= soft < wanted:
        import resource  # slow to import, and the limit is rarely too low

        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return wanted if soft < 0 else soft


@contextlib.contextmanager
def inside(directory: str | None) -> Iterator[None]:
    """Change the working directory to `directory` in the context; None changes nothing."""
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


def enter_mounts_of(name: str) -> None:
    """Enter a mount namespace (setns(2)): a file that stands for it, or a process id."""
    fd = os.open(f"/proc/{name}/ns/mnt" if name.isdecimal() else name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(fd, syscalls.CLONE_NEWNS)
    finally:
        os.close(fd)


def user() -> tuple[int, int]:
    """Return the effective user and group."""
    return os.geteuid(), os.getegid()


def let_go(fd: int) -> None:
    """Let a descriptor that is closed later hold nothing any more."""
    nothing = os.open(os.devnull, os.O_PATH | os.O_CLOEXEC)
    os.dup2(nothing, fd, inheritable=False)
    os.close(nothing)


def close(fd: int) -> None:
    """Close a descriptor; an error does not matter."""
    with contextlib.suppress(OSError):  # it is closed all the same (close(2))
        os.close(fd)


def run_program(words: Sequence[str], fds: Sequence[int] = ()) -> tuple[int, tuple[str, ...]]:
    """Run a program, which inherits `fds`, without input or output.

    Returns its exit code and the lines of its standard error. Raises FileNotFoundError.
    """
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
    return done.returncode, tuple(filter(None, done.stderr.splitlines()))

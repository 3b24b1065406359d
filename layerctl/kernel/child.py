"""Child processes, which can enter namespaces that this process stays out of."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def fork(reader: int, writer: int) -> int:
    """fork(2): the parent keeps the end to read, the child the end to write.

    If it fails with OSError, both are closed.
    """
    try:
        child = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    os.close(writer if child else reader)
    return child


def run(work: Callable[[], tuple[int, T]]) -> tuple[int, T]:
    """Return what `work` returns in a child: an open descriptor, -1 for none, and a value.

    `work` cannot rely on importing modules after it has entered another namespace. Raises what
    `work` raises, OSError if no child can be started, and ECHILD if it ends without an answer.
    """
    import pickle  # slow to import, and few commands need a child
    import socket

    ours, theirs = (end.detach() for end in socket.socketpair())
    child = fork(ours, theirs)
    if child == 0:
        try:
            with socket.socket(fileno=theirs) as end:
                fd, answer = _answer(work)
                socket.send_fds(end, [b"\0"], [fd] if fd >= 0 else [])
                end.sendall(pickle.dumps(answer))
        finally:
            os._exit(0)
    try:
        with socket.socket(fileno=ours) as end:
            _, fds, _, _ = socket.recv_fds(end, 1, 1)
            for fd in fds:  # Python 3.11 passes no flags on, so MSG_CMSG_CLOEXEC has no effect
                os.set_inheritable(fd, False)
            with end.makefile("rb") as file:
                raw = file.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.waitpid(child, 0)
    lost = OSError(errno.ECHILD, "the child process ended without an answer")
    told: Any = pickle.loads(raw) if raw else (lost, None)  # noqa: S301 - from our own child
    failure, value = told
    if failure is not None:
        for fd in fds:
            os.close(fd)
        raise failure
    return (fds[0] if fds else -1), value


def _answer(work: Callable[[], tuple[int, T]]) -> tuple[int, tuple[Exception | None, T | None]]:
    try:
        fd, value = work()
    except Exception as error:
        return -1, (error, None)
    return fd, (None, value)

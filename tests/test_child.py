"""What a child process answers, and that none of it is left where something fails."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

import pytest

from layerctl.errors import RefusedError
from layerctl.kernel import child


@pytest.fixture(autouse=True)
def _nothing_is_left() -> object:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_an_answer_of_any_length() -> None:
    pid = os.getpid()
    assert child.run(lambda: (-1, b"x" * (4 << 20))) == (-1, b"x" * (4 << 20))
    assert child.run(lambda: (-1, (os.getpid() == pid, os.getppid() == pid)))[1] == (False, True)


def test_a_descriptor() -> None:
    fd, name = child.run(lambda: (os.open("/", os.O_PATH), "root"))
    try:
        assert name == "root"
        assert os.path.samestat(os.fstat(fd), os.stat("/"))
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def _raise(error: Exception) -> Callable[[], tuple[int, None]]:
    def work() -> tuple[int, None]:
        raise error

    return work


def test_what_it_raises() -> None:
    with pytest.raises(OSError, match="full") as caught:
        child.run(_raise(OSError(errno.ENOSPC, "full", "/x")))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/x")
    with pytest.raises(RefusedError) as refused:
        child.run(_raise(RefusedError("bug", "no", why="so", hint="this", commands=("a", "b"))))
    assert (refused.value.why, refused.value.commands) == ("so", ("a", "b"))


@pytest.mark.parametrize(
    "work",
    [
        lambda: os._exit(1),
        lambda: os.kill(os.getpid(), 9),
        lambda: (os.open("/", os.O_PATH), lambda: "cannot be pickled"),
    ],
)
def test_no_answer(work: Callable[[], tuple[int, object]]) -> None:
    with pytest.raises(ChildProcessError):
        child.run(work)


def test_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fork() -> int:
        raise OSError(errno.EAGAIN, "no more")

    monkeypatch.setattr(os, "fork", no_fork)
    with pytest.raises(OSError, match="no more"):
        child.run(lambda: (-1, None))
    with pytest.raises(OSError, match="no more"):
        child.fork(*os.pipe())


def test_an_interrupt_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> tuple[bytes, list[int], int, object]:
        raise KeyboardInterrupt

    def endless() -> tuple[int, None]:
        while True:
            signal.pause()

    monkeypatch.setattr("socket.recv_fds", interrupt)
    with pytest.raises(KeyboardInterrupt):
        child.run(endless)

"""Run a command in namespaces of its own, watched from outside.

Three processes: one that enters the namespaces and waits; the init of the new PID namespace, with
which the kernel ends every process in it; and the command. The first two end with the caller. The
terminal stays with the caller's process group, which the command is in: what the terminal sends
reaches the command, and a signal from elsewhere is passed on to it.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import signal
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

from layerctl.kernel import child, sandbox, syscalls
from layerctl.kernel.process import close

#: What is not passed on: what cannot be caught, and what stops and continues a whole group.
_LEFT = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS,
    signal.SIGABRT, signal.SIGWINCH,
}  # fmt: skip
_TAKEN = {one for one in signal.valid_signals() if one not in _LEFT}
#: CLOCK_REALTIME_COARSE (linux/time.h), the clock of a filesystem's timestamps.
_COARSE = 5
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_FDS = 1 << 20


class Job(NamedTuple):
    """What is run: the tree, the namespaces to enter, and the user to be in a user namespace."""

    tree: sandbox.Tree
    dress: sandbox.Dress
    namespaces: int
    identity: tuple[int, int] | None
    keep_processes: bool


class Command(NamedTuple):
    """A command: its words, where it starts, and whether its output goes to standard error."""

    words: Sequence[str]
    directory: str
    apart: bool = False


class FailedError(Exception):
    """It could not be run: at which stage, the errno, and the path."""

    def __init__(self, stage: str, number: int, path: str) -> None:
        super().__init__(stage, number, path)
        self.stage = stage
        self.errno = number
        self.path = path


class Session:
    """Namespaces in which commands are run one after the other; `close` ends all of it."""

    def __init__(self, job: Job) -> None:
        """Start it. Raises OSError if no process can be started."""
        # It says that a message has come, and may still be pending when none is awaited any more.
        self._io = signal.signal(signal.SIGIO, signal.SIG_IGN)
        self._mask = {int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)}
        self._foreground = _foreground()
        self._stays = job.keep_processes
        self._pid = self._init = 0
        self._raw = b""
        self._early: list[tuple[Any, ...]] = []
        self.built_fd = -1
        self.started = 0
        self.looks: dict[int, str] = {}
        self.notes: list[str] = []
        self._reader, writer = os.pipe()
        reader, self._writer = os.pipe()
        fcntl.fcntl(self._reader, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self._reader, fcntl.F_GETFL)
        fcntl.fcntl(self._reader, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._reader)
            os.close(self._writer)
            try:
                _Outer(job, parent, reader, writer, self._mask).run()
            except BaseException as error:
                with suppress(OSError):
                    _send(writer, ("failed", f"set up the run: {error!r}", errno.EIO, ""))
            os._exit(1)
        os.close(reader)
        os.close(writer)
        try:
            self._wait("built")
        except BaseException:
            self.close()
            raise

    def run(self, command: Command) -> int:
        """Run a command; return its exit code, or 128 and the number of the signal it died of.

        Raises FailedError if it cannot be run.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
        _send(self._writer, (list(command.words), command.directory, command.apart))
        try:
            status = int(self._wait("ended")[0])
        finally:
            self._take_terminal()
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        return status if status >= 0 else 128 - status

    def close(self) -> None:
        """End the init, unless processes are kept, and with it all processes."""
        for fd in (self._reader, self._writer, self.built_fd):
            if fd >= 0:
                close(fd)
        self._reader = self._writer = self.built_fd = -1
        if self._pid and not self._stays:
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        self._pid = 0
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        signal.signal(signal.SIGIO, self._io)

    def _wait(self, wanted: str) -> tuple[Any, ...]:
        """Take signals and messages until the wanted one comes."""
        while True:
            for kind, *rest in self._arrived():
                if kind == "failed":
                    raise FailedError(*rest)
                if kind == "init":
                    self._init = rest[0]
                elif kind == "built":
                    number, self.started, self.looks, self.notes = rest
                    self.built_fd = os.open(f"/proc/{self._init}/fd/{number}", _DIRECTORY)
                if kind == wanted:
                    return tuple(rest)
            taken = signal.sigwaitinfo(_TAKEN)
            if taken.si_signo in (signal.SIGIO, signal.SIGCHLD):
                continue
            if taken.si_code <= 0 and self._init:  # from a process, not from the terminal
                with suppress(ProcessLookupError):
                    os.kill(self._init, taken.si_signo)

    def _arrived(self) -> list[tuple[Any, ...]]:
        """Return new messages, but none before it is known which process the init is.

        The init and the process that starts it send theirs in any order.
        """
        self._early += self._messages()
        if not self._init and not any(one[0] in ("init", "failed") for one in self._early):
            return []
        found, self._early = sorted(self._early, key=lambda one: one[0] != "init"), []
        return found

    def _messages(self) -> list[tuple[Any, ...]]:
        ended = False
        while True:
            try:
                block = os.read(self._reader, 1 << 16)
            except BlockingIOError:
                break
            if not block:
                ended = True
                break
            self._raw += block
        found = []
        while len(self._raw) >= 4:
            (size,) = struct.unpack_from("I", self._raw)
            if len(self._raw) < 4 + size:
                break
            found.append(marshal.loads(self._raw[4 : 4 + size]))  # noqa: S302 - from our own child
            self._raw = self._raw[4 + size :]
        if ended and not found:
            return [("failed", "watch the command", errno.ECHILD, "")]
        return found

    def _take_terminal(self) -> None:
        """Make the caller's process group the terminal's foreground again, if it was."""
        if self._foreground >= 0:
            with suppress(OSError):
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
                if os.tcgetpgrp(self._foreground) != os.getpgrp():
                    os.tcsetpgrp(self._foreground, os.getpgrp())
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _foreground() -> int:
    """Return a standard stream that is a terminal with this process in its foreground, or -1."""
    for fd in (0, 1, 2):
        with suppress(OSError):
            if os.tcgetpgrp(fd) == os.getpgrp():
                return fd
    return -1


def _send(fd: int, message: tuple[Any, ...]) -> None:
    data = marshal.dumps(message)
    view = memoryview(struct.pack("I", len(data)) + data)
    while view:
        view = view[os.write(fd, view) :]


def _receive(fd: int) -> tuple[Any, ...] | None:
    head = os.read(fd, 4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack("I", head)
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    message: tuple[Any, ...] = marshal.loads(data)  # noqa: S302 - from our own parent
    return message


class _Outer:
    """The process that enters the namespaces, and the init that it starts."""

    def __init__(self, job: Job, parent: int, reader: int, writer: int, mask: set[int]) -> None:
        self._job = job
        self._parent = parent
        self._reader = reader
        self._writer = writer
        self._mask = mask

    def run(self) -> NoReturn:
        """Enter the namespaces, start the init and wait for it."""
        self._end_with(self._parent)
        stage = "create the namespaces"
        try:
            syscalls.unshare(self._job.namespaces)
            stage = "map the user"
            if self._job.identity is not None:
                _map_user(*self._job.identity)
            here = os.getpid()
            init = os.fork()
        except OSError as error:
            self._fail(stage, error)
        if not init:
            self._end_with(here)
            self._be_init()
        _send(self._writer, ("init", init))
        self._let_go()
        os.waitpid(init, 0)
        os._exit(0)

    def _end_with(self, parent: int) -> None:
        if self._job.keep_processes:
            return
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() not in (parent, 0):  # 0 is one in another PID namespace
            os._exit(1)

    def _fail(self, stage: str, error: OSError) -> NoReturn:
        _send(self._writer, ("failed", stage, error.errno or 0, error.filename or ""))
        os._exit(1)

    def _be_init(self) -> NoReturn:
        if self._job.namespaces & syscalls.CLONE_NEWNET:
            _raise_loopback()
        try:
            builder = sandbox.Builder(self._job.tree, self._job.dress)
            built = builder.build()
        except sandbox.BuildError as error:
            _send(self._writer, ("failed", error.stage, error.errno, error.path))
            os._exit(1)
        now = coarse_time()
        _send(self._writer, ("built", built.fd, now, built.looks, built.notes))
        while (message := _receive(self._reader)) is not None:
            # The caller has opened what it needs; /proc/1/fd must not lead the command out.
            ours = sorted((self._reader, self._writer))
            os.closerange(3, ours[0])
            os.closerange(ours[0] + 1, ours[1])
            os.closerange(ours[1] + 1, _MOST_FDS)
            self._run(Command(*message))
        os._exit(0)

    # Commands

    def _run(self, command: Command) -> None:
        try:
            pid = self._start(command)
        except FailedError as error:
            _send(self._writer, ("failed", error.stage, error.errno, ""))
            return
        except OSError as error:
            _send(self._writer, ("failed", "start a process", error.errno or 0, ""))
            return
        status = self._watch(pid)
        if self._job.keep_processes:
            _send(self._writer, ("ended", status))
            self._outlive()
        self._end_all()
        _send(self._writer, ("ended", status))

    def _start(self, command: Command) -> int:
        reader, writer = os.pipe()
        pid = child.fork(reader, writer)
        if pid == 0:
            with suppress(BaseException):
                self._exec(command, writer)
            os._exit(127)
        answer = os.read(reader, 8)
        os.close(reader)
        if answer:
            os.waitpid(pid, 0)
            number, entered = struct.unpack("ii", answer)
            stage = "start the command" if entered else "enter the directory"
            raise FailedError(stage, number, "")
        return pid

    def _exec(self, command: Command, writer: int) -> None:
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGIO):  # which this program ignores
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        entered = 0
        try:
            os.chdir(command.directory)
            entered = 1
            if command.apart:
                os.dup2(2, 1)
            os.closerange(3, writer)
            os.closerange(writer + 1, _MOST_FDS)
            os.execvp(command.words[0], list(command.words))  # noqa: S606 - it is what was asked for
        except OSError as error:
            os.write(writer, struct.pack("ii", error.errno or errno.EIO, entered))

    def _watch(self, pid: int) -> int:
        """Pass signals on until the command has ended; return its code or signal, as Popen does."""
        while True:
            taken = signal.sigwaitinfo(_TAKEN)
            if taken.si_signo == signal.SIGCHLD:
                found = _reap(pid)
                if found is not None:
                    return found
            elif taken.si_code <= 0:
                with suppress(ProcessLookupError):
                    os.kill(pid, taken.si_signo)

    def _let_go(self) -> None:
        """Close what the caller may wait for the end of: the pipes and the standard streams."""
        os.close(self._reader)
        os.close(self._writer)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)

    def _outlive(self) -> NoReturn:
        """Stay the init of what is left, without the caller."""
        self._let_go()
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        os._exit(0)

    @staticmethod
    def _end_all() -> None:
        """Kill all that the command left."""
        while True:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            try:
                while True:
                    os.waitpid(-1, 0)
            except ChildProcessError:
                return


def _reap(pid: int) -> int | None:
    """Wait for all children that have ended; return the status of one if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if not ended:
                break
            if ended == pid:
                found = os.waitstatus_to_exitcode(status)
    return found


def coarse_time() -> int:
    """Return the time as files get it, in nanoseconds."""
    import time  # always loaded already

    return time.clock_gettime_ns(_COARSE)


def _map_user(uid: int, gid: int) -> None:
    """Be the same user and group in the new user namespace (user_namespaces(7))."""
    for name, text in (
        ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"),
    ):  # fmt: skip
        with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def _raise_loopback() -> None:
    """Bring up the loopback interface of a new network namespace (netdevice(7))."""
    import socket  # slow to import, and rarely needed

    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        fcntl.ioctl(end, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1

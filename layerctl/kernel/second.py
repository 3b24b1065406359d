"""A second process that shares the work of the first and sends back its results."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import suppress

from layerctl.kernel import child

_LENGTH_BYTES = 8
#: Marks the length of the last message.
_LAST = 1 << 63
_PIPE_SIZE = 1 << 20
_BUFFER = 1 << 16


def pays() -> bool:
    """Tell whether there is a CPU for a second process."""
    return len(os.sched_getaffinity(0)) > 1


class Second:
    """One end of the pipe between the two: in the child it sends, in the parent it receives.

    `is_child` means that this is the child's.
    """

    def __init__(self) -> None:
        """Fork. Raises OSError if no process or descriptor is left."""
        reader, writer = os.pipe()
        with suppress(OSError):  # a small pipe makes them wait for each other more often
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._child = child.fork(reader, writer)
        self.is_child = self._child == 0
        self._writer = writer
        if not self.is_child:
            self._reader = os.fdopen(reader, "rb", _BUFFER)

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send a message to the parent; exit if the parent has closed the pipe."""
        length = len(data) | _LAST if last else len(data)
        view = memoryview(length.to_bytes(_LENGTH_BYTES, "little") + data)
        try:
            while view:
                view = view[os.write(self._writer, view) :]
        except OSError:  # a part may be sent, which must not be completed by other data
            os._exit(1)

    def receive(self) -> tuple[bytes, bool]:
        """Return the child's next message, and whether it is the last.

        Raises OSError if the child has ended before it.
        """
        length = int.from_bytes(self._read(_LENGTH_BYTES), "little")
        return self._read(length & ~_LAST), bool(length & _LAST)

    def _read(self, length: int) -> bytes:
        data = self._reader.read(length)
        if len(data) < length:
            raise OSError("the second process ended early")
        return data

    def end(self) -> None:
        """End the child: exit in the child; kill it in the parent if it has not ended."""
        if self.is_child:
            os._exit(0)  # it has sent everything
        self._reader.close()
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)

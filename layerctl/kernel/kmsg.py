"""New messages of the kernel log, if the caller can read it (/dev/kmsg)."""

from __future__ import annotations

import contextlib
import errno
import os


class KernelLog:
    """Everything the kernel logs from now on. `readable` is False if that is not permitted."""

    def __init__(self) -> None:
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)

    @property
    def readable(self) -> bool:
        """Whether this caller may read the kernel log."""
        return self._fd >= 0

    def lines(self, *words: str) -> list[str]:
        """Return the messages logged since then that contain one of `words`."""
        found: list[str] = []
        while self._fd >= 0:
            try:
                record = os.read(self._fd, 8192)
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten meanwhile: the next read continues
                    continue
                break
            text = os.fsdecode(record).partition(";")[2].partition("\n")[0]
            if any(word in text for word in words):
                found.append(text)
        return found

    def close(self) -> None:
        """Close the log."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # it is closed all the same
                os.close(self._fd)
            self._fd = -1

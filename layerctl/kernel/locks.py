"""A lock for each layer, so that two commands never work on one at once."""

from __future__ import annotations

import fcntl


def lock(fd: int, *, exclusive: bool) -> bool:
    """Lock an open directory until it is closed (flock(2)); tell whether nobody else has it.

    Several may hold it where none is exclusive. Raises OSError.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

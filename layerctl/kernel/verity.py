"""The fs-verity digest of a file, which overlay compares with the one in a metacopy attribute."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from layerctl.kernel import layers

#: FS_IOC_MEASURE_VERITY (linux/fsverity.h): struct fsverity_digest, then at most 64 bytes.
_MEASURE = 0xC0046686
_HEAD = struct.Struct("HH")
_MOST = 64
#: Why a file has no digest: it is not protected, or its filesystem or kernel has no fs-verity.
_WITHOUT = frozenset({errno.ENODATA, errno.ENOTTY, errno.EOPNOTSUPP})


def digest(name: str, dir_fd: int) -> tuple[int, bytes] | None:
    """Return the algorithm and the digest of a file, None if it has none. Raises OSError."""
    fd = layers.open_file(name, dir_fd)
    try:
        answer = fcntl.ioctl(fd, _MEASURE, _HEAD.pack(0, _MOST) + bytes(_MOST))
    except OSError as error:
        if error.errno in _WITHOUT:
            return None
        raise
    finally:
        os.close(fd)
    algorithm, size = _HEAD.unpack_from(answer)
    return algorithm, answer[_HEAD.size : _HEAD.size + size]

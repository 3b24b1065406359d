"""Whether a file is a filesystem image, by its magic number."""

from __future__ import annotations

import os

#: Offsets and values of the magic numbers of filesystems (magic(5)).
_MAGIC = (
    (0, b"hsqs"),  # squashfs
    (0, b"XFSB"),
    (510, b"\x55\xaa"),  # vfat, and partition tables
    (1024, b"\xe2\xe1\xf5\xe0"),  # erofs
    (1080, b"\x53\xef"),  # ext2, ext3, ext4
    (32769, b"CD001"),  # iso9660
    (65600, b"_BHRfS_M"),  # btrfs
)


def is_image(path: str) -> bool:
    """Tell whether a regular file looks like an image of a filesystem. Raises nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return any(os.pread(fd, len(magic), place) == magic for place, magic in _MAGIC)
    except OSError:
        return False
    finally:
        os.close(fd)

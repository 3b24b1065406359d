"""Copy the layers of a run as they are, markers and all, from memory to a disk."""

from __future__ import annotations

import os

from layerctl.kernel import changing, layers
from layerctl.working import copying

#: No attribute begins with this, so that all are copied.
_NO_PREFIX = "\0"


def copy_layer(source: int, target: int) -> None:
    """Copy all that is in a directory, and its look, to an empty one. Raises OSError."""
    _copy(source, target, {}, "", target)


def _copy(source: int, target: int, links: dict[tuple[int, int], str], path: str, top: int) -> None:
    for name, letter in sorted(layers.scan(source, layers.LETTER_OF).items()):
        place = f"{path}{name}"
        if letter == "d":
            changing.mkdir(name, target)
            one, other = layers.open_dir(name, source), layers.open_dir(name, target)
            try:
                _copy(one, other, links, f"{place}/", top)
            finally:
                os.close(one)
                os.close(other)
            continue
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        key = status.st_dev, status.st_ino
        if status.st_nlink > 1 and letter != "w" and key in links:
            _link(links[key], top, name, target)
            continue
        copying.copy_file((name, source), (name, target), _NO_PREFIX)
        links[key] = place
    status = os.fstat(source)
    times = status.st_atime_ns, status.st_mtime_ns
    copying.copy_attributes((".", source), (".", target), _NO_PREFIX, times)


def _link(first: str, top: int, name: str, target: int) -> None:
    above, _, base = first.rpartition("/")
    fd = layers.open_path(above, top)
    try:
        changing.link(base, fd, name, target)
    finally:
        os.close(fd)

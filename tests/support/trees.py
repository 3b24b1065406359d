"""What the kernel shows of a mounted stack, in everything, and what differs between two looks."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.stacks import Case, Mounted

_GETFLAGS = 0x80086601


@dataclass(slots=True)
class Shown:
    """One name: all that the kernel shows of it. `error` is the errno of a lookup that fails."""

    error: int = 0
    mode: int = 0
    owner: tuple[int, int] = (0, 0)
    modified: int = 0
    device: int = 0
    size: int = 0
    content: bytes | str | int = b""
    attributes: tuple[tuple[str, bytes], ...] = ()
    flags: int = 0
    names: frozenset[str] = frozenset()


def shown(case: Case) -> dict[str, Shown]:
    """Mount a stack, look at everything in it, and unmount it."""
    with Mounted(case) as target:
        return look(target)


def look(target: str) -> dict[str, Shown]:
    """Look at everything below a directory; each name in order, each directory listed first."""
    found: dict[str, Shown] = {"": look_at(target)}
    inodes: dict[tuple[int, int], set[str]] = {}

    def down(path: str) -> None:
        try:
            names = os.listdir(f"{target}/{path}")
        except OSError as error:
            found[path].content = error.errno or errno.EIO
            return
        for name in sorted(names):
            child = f"{path}/{name}" if path else name
            try:
                status = os.lstat(f"{target}/{child}")
                one = look_at(f"{target}/{child}")
            except OSError as error:
                found[child] = Shown(error=error.errno or errno.EIO)
                continue
            found[child] = one
            if stat.S_ISDIR(one.mode):
                down(child)
            elif status.st_nlink > 1 and not is_whiteout(status):  # which the kernel shares
                inodes.setdefault((status.st_dev, status.st_ino), set()).add(child)

    down("")
    for group in inodes.values():
        for name in group:
            found[name].names = frozenset(group if len(group) > 1 else ())
    return found


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether it is a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def look_at(path: str) -> Shown:
    """Return what the kernel shows of one file."""
    status = os.lstat(path)
    one = Shown(
        mode=status.st_mode,
        owner=(status.st_uid, status.st_gid),
        modified=status.st_mtime_ns,
        device=status.st_rdev,
        size=0 if stat.S_ISDIR(status.st_mode) else status.st_size,
    )
    one.attributes = tuple(
        sorted(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in os.listxattr(path, follow_symlinks=False)
        )
    )
    if stat.S_ISLNK(status.st_mode):
        one.content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode):
        try:
            one.content = Path(path).read_bytes()
        except OSError as error:
            one.content = error.errno or errno.EIO
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        one.flags = _flags(path)
    return one


def _flags(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return -1
    try:
        return int.from_bytes(fcntl.ioctl(fd, _GETFLAGS, bytes(8))[:4], "little") & 0x100F8
    except OSError:
        return -1
    finally:
        os.close(fd)


def differences(
    before: dict[str, Shown], after: dict[str, Shown], *, between: bool = False
) -> Iterator[str]:
    """Yield what is not as before; `between` two steps a directory's time may differ."""
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path), after.get(path)
        if one is None or other is None:
            # A name whose lookup fails is in no tree, whether a listing leaves it out or not.
            if not (one or other or Shown()).error:
                yield f"{path}: {'new' if one is None else 'gone'}: {one or other}"
            continue
        for field in Shown.__slots__:
            if between and field == "modified" and stat.S_ISDIR(one.mode):
                continue
            if getattr(one, field) != getattr(other, field):
                yield f"{path}: {field} {getattr(one, field)!r} became {getattr(other, field)!r}"

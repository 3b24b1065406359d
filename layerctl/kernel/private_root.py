"""A root of its own for the making of a mount, in which no name is anybody else's.

What a mount is given as names, mountinfo shows later; but whoever may swap a name on the way can
lead the kernel elsewhere meanwhile. So a child makes the mount: in a private copy of the mount
namespace, with an empty tmpfs as its root, where each name is a link to the directory that is open
(/proc/self/fd/N). Nobody else sees that root, and it ends with the child. The mount is handed over
as a descriptor and lies nowhere yet: fsmount(2) or open_tree(2), both since Linux 5.2.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from layerctl.kernel import beneath, syscalls, uncover

T = TypeVar("T")

#: Where the root is made: no layer lies there, and everybody has it.
_PROC = "/proc"


def possible() -> bool:
    """Tell whether a mount can be made in a root of its own here, by making an empty one.

    It needs CAP_SYS_ADMIN and CAP_SYS_CHROOT, Linux 5.2, and a root that is a mount.
    """
    try:
        fd, _ = build({}, lambda: (syscalls.open_tree("/"), None))
    except OSError:
        return False
    os.close(fd)
    return True


def build(names: Mapping[str, int], make: Callable[[], tuple[int, T]]) -> tuple[int, T]:
    """Return what `make` does where `names` lead to the directories that are open, and to no other.

    `names` are absolute paths with descriptors, none below another. `make` returns a descriptor
    and what else there is to tell; it runs in a child, where the numbers of the descriptors stay.
    Raises RefusedError where a name leads to another directory by now, what `make` raises, and
    OSError where there is no such root.
    """
    import pickle  # between two processes of our own
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        child = os.fork()
        if child == 0:
            try:
                fd, answer = -1, None
                failure: Exception | None = None
                try:
                    _enter(names)
                    fd, answer = make()
                except Exception as error:
                    failure = error
                socket.send_fds(theirs, [pickle.dumps((failure, answer))], [fd] if fd >= 0 else [])
            finally:
                os._exit(0)
        theirs.close()
        try:
            raw, fds, _, _ = socket.recv_fds(ours, 1 << 20, 1, socket.MSG_CMSG_CLOEXEC)
        finally:
            os.waitpid(child, 0)
    if not raw:
        raise OSError(errno.ECHILD, os.strerror(errno.ECHILD))
    failure, told = pickle.loads(raw)  # noqa: S301 - what the child of ours wrote
    if failure is not None:
        raise failure
    return (fds[0] if fds else -1), told


def _enter(names: Mapping[str, int]) -> None:
    """Go to a root in which there is nothing but the names. For a child."""
    uncover.leave([])
    for path, fd in names.items():
        # The kernel clones no mount of another namespace: the same directory, opened in this one.
        here = beneath.open_directory(path)
        if beneath.identity(here) != beneath.identity(fd):
            raise beneath.replaced(path)
        os.dup2(here, fd, inheritable=False)
        os.close(here)
    proc = syscalls.open_tree(_PROC, syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE)
    syscalls.mount("tmpfs", _PROC, "tmpfs", 0, "mode=755")
    os.chroot(_PROC)
    os.chdir("/")
    os.mkdir(_PROC)
    place = os.open(_PROC, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.move_mount(proc, place, _PROC)
    os.close(place)
    os.close(proc)
    for path, fd in names.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(beneath.name_of(fd), path)

"""Create a mount in a mount namespace in which other users cannot replace names.

mountinfo shows the names that a mount was given; but a user who can swap a name in such a path can
lead the kernel elsewhere meanwhile. So a child creates the mount, in a private copy of the mount
namespace: a tmpfs covers each directory in which others can swap names, and the names in it are
links to the directories that are open (/proc/self/fd/N). Nothing else sees that, and it ends with
the child. The mount is passed as a descriptor and is attached nowhere yet: fsmount(2) or
open_tree(2), both since Linux 5.2.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from layerctl.errors import RefusedError
from layerctl.kernel import beneath, child, syscalls, uncover

if TYPE_CHECKING:
    from layerctl.kernel.idmap import Mapped

T = TypeVar("T")


def possible(paths: Iterable[str]) -> bool:
    """Probe whether a mount of these directories can be created this way.

    It needs CAP_SYS_ADMIN, Linux 5.2, a root that is a mount, and directories of which none is
    below another that other users can swap. What does not exist yet is left out.
    """
    names: dict[str, int] = {}
    try:
        for path in paths:
            if os.path.lexists(path):
                names[path] = beneath.open_directory(path)
        fd, _ = build(names, lambda _: (syscalls.open_tree("/"), None))
    except (OSError, RefusedError):
        return False
    finally:
        for opened in names.values():
            os.close(opened)
    os.close(fd)
    return True


def build(
    names: Mapping[str, int],
    make: Callable[[str], tuple[int, T]],
    mapped: Sequence[Mapped] = (),
) -> tuple[int, T]:
    """Call `make` where `names` lead to the given open directories; return its result.

    `names` are absolute paths with descriptors; those in `mapped` show other owners there. `make`
    gets the path of an empty directory and returns a descriptor and any other result; it runs in a
    child (`child.run`), which has the same descriptors. Raises RefusedError if a name leads to
    another directory by now, and what `make` and `child.run` raise.
    """
    return child.run(lambda: make(_enter(names, mapped)))


def _enter(names: Mapping[str, int], mapped: Sequence[Mapped]) -> str:
    """Enter a namespace in which other users cannot replace the names; return an empty directory.

    Its name is empty if no name had to be protected.
    """
    uncover.leave([])
    for path, fd in names.items():
        # The kernel cannot clone a mount of another namespace: open the directory in this one.
        here = beneath.open_directory(path)
        if beneath.identity(here) != beneath.identity(fd):
            raise beneath.replaced(path)
        os.dup2(here, fd, inheritable=False)
        os.close(here)
    if mapped:
        from layerctl.kernel import idmap  # few mounts map owners

        idmap.attach(names, mapped)
    swaps = [beneath.exposure(path).swap for path in names]
    covers = _outermost(os.path.dirname(swap.path) for swap in swaps if swap is not None)
    linked = [path for path in names if any(_is_in(path, cover) for cover in covers)]
    if len(_outermost(linked)) < len(linked):
        raise OSError(errno.ENOTDIR, "one layer lies below another")
    for cover in covers:
        below = beneath.open_directory(cover)
        syscalls.mount("tmpfs", beneath.name_of(below), "tmpfs", 0, "mode=755")
        os.close(below)
    for path in linked:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(beneath.name_of(names[path]), path)
    for path, fd in names.items():
        status = os.stat(path)
        if (status.st_dev, status.st_ino) != beneath.identity(fd):
            raise OSError(errno.ENOTDIR, "a layer holds the names of others", path)
    if not covers:
        return ""
    own = f"{covers[0]}/{os.urandom(8).hex()}"
    os.mkdir(own)
    return own


def _outermost(paths: Iterable[str]) -> list[str]:
    """Return the paths that are below no other, each once."""
    found: list[str] = []
    for path in sorted(set(paths), key=lambda one: f"{one.rstrip('/')}/"):
        if not found or not _is_in(path, found[-1]):
            found.append(path)
    return found


def _is_in(path: str, directory: str) -> bool:
    return f"{path}/".startswith(f"{directory.rstrip('/')}/")

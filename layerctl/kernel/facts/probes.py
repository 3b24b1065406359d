"""Facts that must be probed. Only `doctor` does, and `--no-probe` forbids it.

They are probed in a scratch directory that is gone afterwards, or in the kernel's own context,
where nothing is mounted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from layerctl.errors import RefusedError
from layerctl.kernel import beneath, context, layers, mounts, syscalls
from layerctl.kernel.facts import FS_APPEND_FL, FS_IMMUTABLE_FL, Directory, Facts, Other, TypeState
from layerctl.kernel.facts.common import surroundings
from layerctl.kernel.facts.ignored_markers import foreign
from layerctl.kernel.facts.overlay import ask_for_room, inode_flags, overlays
from layerctl.kernel.processes import mount_namespace, pids
from layerctl.model import Role, Stack

_SCRATCH = ".layerctl-probe-"


class Probed(NamedTuple):
    """What was probed on the upper layer's filesystem; None is what could not be.

    `work` is the errno of making a directory in the work directory, 0 for success. `locked` are
    lower layers that cannot be cloned here. `refused` are words that the kernel's own context
    refused, each with its message.
    """

    d_type: bool | None = None
    rename_whiteout: bool | None = None
    xattr: bool | None = None
    work: int | None = None
    locked: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def look_wider(stack: Stack, facts: Facts) -> Facts:
    """Add what takes too long to read for `mount`. Reads only.

    That is the other mount namespaces, the inode flags of every layer, and the surroundings.
    """
    facts = facts._replace(surroundings=surroundings())
    if stack.fstype != "overlay":
        return facts
    flags = {
        path: found
        for path, place in facts.directories.items()
        if place.is_directory and (found := inode_flags(path)) is not None
    }
    work = stack.work if stack.upper is not None else None
    wider = facts.overlay._replace(
        others=(*facts.overlay.others, *elsewhere()),
        flags=flags,
        foreign=foreign(stack),
        stuck=tuple(stuck(work, facts)) if work and facts.of(work).is_directory else (),
    )
    return facts._replace(overlay=wider)


def stuck(work: str, facts: Facts) -> Iterator[str]:
    """Yield what overlay cannot clear of its own in a work directory (ovl_workdir_cleanup).

    It goes two directories deep, and never removes a mount point.
    """
    own = os.path.join(work, "work")
    for entry in facts.mounts:
        if entry.target.startswith(own + "/"):
            yield entry.target
    for outer in _folders(own):
        if os.path.basename(outer) == "incompat":
            continue  # which volatile mounts leave, and another check reports
        for inner in _folders(outer):
            with contextlib.suppress(OSError):
                yield from (os.path.join(inner, name) for name in layers.names(inner)[:1])
    index = os.path.join(work, "index")
    if os.path.lexists(index) and not os.path.isdir(index):
        yield index


def _folders(path: str) -> list[str]:
    try:
        fd = layers.open_root(path)
    except OSError:
        return []
    try:
        found = layers.scan(fd, layers.LETTER_OF)
        return [os.path.join(path, name) for name, letter in found.items() if letter == "d"]
    except OSError:
        return []
    finally:
        os.close(fd)


def ask_options(stack: Stack, facts: Facts) -> Facts:
    """Add which options the kernel's own context refuses. Changes nothing."""
    return _with(facts, Probed(refused=_refused(stack, facts)))


def ask_clones(stack: Stack, facts: Facts) -> Facts:
    """Add which layers cannot be cloned in a user namespace. Changes nothing."""
    probed = facts.overlay.probed or Probed()
    return _with(facts, probed._replace(locked=tuple(_locked(stack, facts))))


def _with(facts: Facts, probed: Probed) -> Facts:
    return facts._replace(overlay=facts.overlay._replace(probed=probed))


def _refused(stack: Stack, facts: Facts) -> tuple[tuple[str, str], ...]:
    if not facts.caller.sys_admin or facts.type_state == TypeState.ABSENT:
        return ()
    return tuple(context.refused_options(stack.options).items())


def try_out(stack: Stack, facts: Facts) -> Facts:
    """Add what can be probed. Leaves nothing behind; raises nothing."""
    if stack.fstype != "overlay":
        return facts
    probed = Probed(locked=tuple(_locked(stack, facts)), refused=_refused(stack, facts))
    if (
        stack.upper is not None
        and facts.caller.sys_admin
        and facts.of(stack.upper).identity is not None
    ):
        facts = ask_for_room(stack, facts)
        probed = _upper(stack, facts, probed)
    return _with(facts, probed)


def _upper(stack: Stack, facts: Facts, probed: Probed) -> Probed:
    upper = facts.of(stack.upper or "")
    userxattr = "userxattr" in stack.options
    unmarked = facts.caller.in_user_namespace and not userxattr  # which another check reports
    place = _scratch_place(stack, facts, upper)
    if place is None:
        return probed
    try:
        with beneath.scratch(place, _SCRATCH) as directory:
            probed = probed._replace(
                d_type=_d_type(directory),
                rename_whiteout=_rename_whiteout(directory),
                xattr=None if unmarked else _xattr(directory, "user" if userxattr else "trusted"),
            )
    except OSError:
        pass  # a place where nothing can be created is reported below
    finally:
        os.close(place)
    return probed._replace(work=_makes(stack.work, facts))


def _scratch_place(stack: Stack, facts: Facts, upper: Directory) -> int | None:
    """Open a directory on the upper layer's mount that no overlay looks at, None if none is there.

    Beside the upper directory first; in the work directory only if nothing uses it.
    """
    if upper.mount is None or _busy(upper, facts):
        return None
    candidates = [os.path.dirname(upper.path)]
    if stack.work is not None:
        candidates += [os.path.dirname(stack.work), stack.work]
    for path in candidates:
        try:
            fd = beneath.open_directory(path)
        except (OSError, RefusedError):
            continue
        try:
            if mounts.mount_id_of(fd) == upper.mount.mount_id and _gives_back(fd):
                return os.dup(fd)
        except OSError:
            continue
        finally:
            os.close(fd)
    return None


def _gives_back(fd: int) -> bool:
    """Tell whether what is created in a directory can be removed: not with chattr +a or +i."""
    return not (inode_flags(beneath.name_of(fd)) or 0) & (FS_APPEND_FL | FS_IMMUTABLE_FL)


def _busy(place: Directory, facts: Facts) -> bool:
    return any(
        place.identity is not None and place.identity == used.identity
        for other in facts.overlay.others
        for used in (other.upper, other.work)
        if used is not None
    )


def _tried(action: Callable[[], object]) -> bool:
    """Tell whether something can be done. The kernel counts any error as a no, and so does this."""
    try:
        action()
    except OSError:
        return False
    return True


def _new_file(name: str, directory: int) -> None:
    os.close(
        os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory)
    )


def _d_type(directory: int) -> bool | None:
    """Tell whether readdir gives file types (ovl_check_d_type_supported)."""
    _new_file("file", directory)
    kind = syscalls.entry_types(beneath.name_of(directory)).get("file")
    os.unlink("file", dir_fd=directory)
    return None if kind is None else kind != 0


def _rename_whiteout(directory: int) -> bool:
    """Tell whether a rename can leave a whiteout (ovl_check_rename_whiteout)."""
    _new_file("old", directory)
    can = _tried(lambda: syscalls.renameat2("old", "new", syscalls.RENAME_WHITEOUT, directory))
    try:  # one that hides its own whiteouts cannot hold those of another
        return can and stat.S_ISCHR(os.lstat("old", dir_fd=directory).st_mode)
    except OSError:
        return False


def _xattr(directory: int, namespace: str) -> bool:
    """Tell whether the directory takes overlay's attributes."""
    name = f"{namespace}.overlay.layerctl"
    return _tried(lambda: os.setxattr(directory, name, b"y"))


def _makes(work: str | None, facts: Facts) -> int | None:
    """Return the errno of creating a directory in the work directory, 0 for success."""
    if work is None or facts.of(work).identity is None or _busy(facts.of(work), facts):
        return None
    with contextlib.ExitStack() as opened:
        try:
            fd = beneath.open_directory(work)
        except (OSError, RefusedError):
            return None  # which other checks report
        opened.callback(os.close, fd)
        if not _gives_back(fd):
            return None
        try:
            with beneath.scratch(fd, _SCRATCH):
                return 0
        except OSError as error:
            return error.errno


def _locked(stack: Stack, facts: Facts) -> Iterator[str]:
    """Yield the layers that cannot be cloned: mounts locked in them (has_locked_children)."""
    if not facts.caller.in_user_namespace or not facts.caller.sys_admin:
        return
    for layer in stack.layers:
        if layer.role is Role.BRANCH or facts.of(layer.path).identity is None:
            continue
        try:
            os.close(syscalls.open_tree(layer.path))
        except OSError as error:
            if error.errno == errno.EINVAL:
                yield layer.path


def elsewhere() -> Iterator[Other]:
    """Yield the overlays of other mount namespaces, each namespace looked at once."""
    own = os.getpid()
    seen = set()
    for pid in (own, *pids()):
        with contextlib.suppress(OSError, ValueError):
            namespace = mount_namespace(pid)
            if namespace not in seen and pid != own:
                yield from overlays(mounts.entries(f"/proc/{pid}/mountinfo"), {}, pid)
            seen.add(namespace)

"""Copy a file with all that it has: content and holes, owner, mode, attributes, flags, times."""

from __future__ import annotations

import os
import stat

from layerctl.kernel import changing, layers
from layerctl.working.sameness import is_marker, own
from layerctl.working.steps import Folder, Step, Verb, Words, touch

#: The names by which XFS lists ACLs as it stores them (xfs_acl.h), and what they are.
_SECOND_NAMES = {
    "trusted.SGI_ACL_FILE": "system.posix_acl_access",
    "trusted.SGI_ACL_DEFAULT": "system.posix_acl_default",
}
#: A name in an open directory; without a name, an open file itself.
Place = tuple[str | None, int]


def copy_file(
    source: tuple[str, int],
    target: tuple[str, int],
    prefix: str,
    data: tuple[str, int] | None = None,
) -> None:
    """Create a copy of what is not a directory, without overlay's own attributes.

    `data` is the file with its content, if that is another one. Raises OSError, FileExistsError
    where the name is taken.
    """
    (name, fd), (to, to_fd) = source, target
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    times = status.st_atime_ns, status.st_mtime_ns
    if not stat.S_ISREG(status.st_mode):
        if stat.S_ISLNK(status.st_mode):
            changing.symlink(os.readlink(name, dir_fd=fd), to, to_fd)
        else:
            changing.mknod(to, to_fd, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
        copy_attributes(source, target, prefix, times)
        return
    opened = layers.open_file(*(data or source))
    try:
        known = os.fstat(opened)
        made = changing.copy_content(opened, known, to, to_fd)
        try:
            if data:
                copy_attributes(source, (None, made), prefix, times)
            else:
                copy_attributes((None, opened), (None, made), prefix, times, known)
        finally:
            os.close(made)
    finally:
        os.close(opened)


def copy_step(source: Folder, target: Folder, name: str, prefix: str) -> Step:
    """Return the step that copies what is not a directory from one directory to another."""

    def run() -> None:
        copy_file((name, source.fd), (name, target.fd), prefix)

    path = target.inside(name)
    words = ("cp", "-a", "--reflink=auto", "-T", "--", source.inside(name), path)
    return Step(Verb.COPY, path, f"from {source.path}", run, (words,))


def attributes_step(source: Folder, target: Folder, prefix: str) -> Step:
    """Return the step that gives an open directory the attributes of another one."""
    places = (".", source.fd), (".", target.fd)
    words = attribute_words(*places, target.path, prefix, source.times)
    return Step(
        Verb.ATTRIBUTES, target.path, f"as those of {source.path}",
        lambda: copy_attributes(*places, prefix, source.times), words,
    )  # fmt: skip


def another_name(first: str, root: Folder, target: Folder, name: str) -> Step:
    """Return the step that gives a name to the file at `first`, a path below `root`."""
    path = target.inside(name)

    def run() -> None:
        above, _, base = first.removeprefix(f"{root.path}/").rpartition("/")
        fd = layers.open_path(above, root.fd)
        try:
            changing.link(base, fd, name, target.fd)
        finally:
            os.close(fd)

    return Step(Verb.COPY, path, "another name", run, (("ln", "-P", "-T", "--", first, path),))


def copy_attributes(
    source: Place,
    target: Place,
    prefix: str,
    times: tuple[int, int],
    status: os.stat_result | None = None,
) -> None:
    """Give a file the owner, mode, attributes and flags of another one, and times.

    `status` is that of the other one, if it is known. The mode follows the owner, whose change
    clears suid; capabilities follow both; flags such as immutable come last. Raises OSError.
    """
    (name, fd), (to, to_fd) = source, target
    status = status or _status(source)
    changing.set_owner(status.st_uid, status.st_gid, to_fd, to)
    if not stat.S_ISLNK(status.st_mode):
        changing.set_mode(status.st_mode, to_fd, to)
    changes = _changes(layers.attributes(fd, name), layers.attributes(to_fd, to), prefix)
    for attribute, value in changes.items():
        if value is None:
            changing.remove_attribute(attribute, to_fd, to)
        else:
            changing.set_attribute(attribute, value, to_fd, to)
    changing.set_times(*times, to_fd, to)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        flags = changing.flags(fd, name)
        if flags != changing.flags(to_fd, to):
            changing.set_flags(flags, to_fd, to)


def attribute_words(
    source: Place, target: Place, path: str, prefix: str, times: tuple[int, int]
) -> tuple[Words, ...]:
    """Return the command lines that do what `copy_attributes` does; `path` is the target's.

    The target may not exist yet: its descriptor is -1 then, in a dry run.
    """
    (name, fd), (to, to_fd) = source, target
    status = _status(source)
    words: list[Words] = [
        ("chown", "-h", f"{status.st_uid}:{status.st_gid}", "--", path),
        ("chmod", f"{stat.S_IMODE(status.st_mode):05o}", "--", path),
    ]
    there = layers.attributes(to_fd, to) if to_fd >= 0 else {}
    for attribute, value in _changes(layers.attributes(fd, name), there, prefix).items():
        what = ("-x", attribute) if value is None else ("-n", attribute, "-v", f"0x{value.hex()}")
        words.append(("setfattr", "-h", *what, "--", path))
    return (*words, touch(path, times[1]))


def _changes(
    source: dict[str, bytes], target: dict[str, bytes], prefix: str
) -> dict[str, bytes | None]:
    """Return which attributes a file must get to have those of another; None is to be removed.

    XFS lists an ACL by a second name, by which it must neither be copied, as other filesystems keep
    it as an attribute of its own, nor removed, as the ACL would go as well.
    """
    wanted = own(source, prefix)
    gone = [name for name in target if name not in wanted and not is_marker(name, prefix)]
    changes: dict[str, bytes | None] = {
        name: None for name in gone if _SECOND_NAMES.get(name) not in target
    }
    for name, value in wanted.items():
        if target.get(name) != value and _SECOND_NAMES.get(name) not in wanted:
            changes[name] = value
    return changes


def _status(place: Place) -> os.stat_result:
    name, fd = place
    return os.fstat(fd) if name is None else os.stat(name, dir_fd=fd, follow_symlinks=False)

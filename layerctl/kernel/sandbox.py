"""The tree that a command runs in: layers over what is mounted, in a mount namespace of its own.

A tmpfs is mounted over the root, where only this process can get to, since every path still starts
below it. Each layer is mounted in it, then the new tree is put together of them and of what is not
layered, and becomes the root. Nothing of that is seen outside.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from layerctl.codecs.overlay import escape_path
from layerctl.kernel import beneath, syscalls

#: The largest file that is copied into a skeleton; a larger one is read-only in there.
_LARGEST = 64 << 20
_INSIDE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_SYMLINKS
#: Uppers hold no redirects, metadata-only copies or indexes: whatever changes is whole in them.
_PLAIN = "redirect_dir=nofollow,metacopy=off,index=off,xino=auto"
_OF_USER = "userxattr,xino=auto"
_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8}


class How(StrEnum):
    """What a mount point of the new tree gets."""

    LAYER = "layer"
    SAME = "same"
    BIND = "bind"
    COPY = "copy"
    PROC = "proc"


class Point(NamedTuple):
    """One mount point of the new tree.

    `number` is that of its layer; with SAME, `inside` is the directory of that layer that it shows.
    A `skeleton` stands for a directory whose own mount the kernel takes for no layer. `why` tells
    why it is not layered, `flags` are those of its mount; it `must` be layered or nothing is run.
    """

    target: str
    how: How
    number: int = -1
    inside: str = ""
    skeleton: bool = False
    flags: tuple[str, ...] = ()
    why: str = ""
    must: bool = False


class Tree(NamedTuple):
    """What to build: points, parents before what is in them; `base` holds the layers.

    `base` is opened again, since the kernel takes no upper directory of another mount namespace,
    and must have the `identity`. Without one they are in memory, at most `size` of it. `whole`
    means that the rest is as it is, read-only if `read_only`. `user` means that attributes of users
    hold overlay's markers.
    """

    points: tuple[Point, ...]
    base: str | None = None
    identity: tuple[int, int] | None = None
    size: str = ""
    hide: tuple[str, ...] = ()
    whole: bool = False
    read_only: bool = False
    user: bool = False


class BuildError(Exception):
    """A call failed: at what, the errno, and where."""

    def __init__(self, stage: str, error: OSError) -> None:
        super().__init__(stage, error)
        self.stage = stage
        self.errno = error.errno or 0
        self.path = error.filename or ""


class Built(NamedTuple):
    """A tree: its layers' directory, open, how each layer's root looked, and what to tell."""

    fd: int
    looks: dict[int, str]
    notes: list[str]


#: Gives the root of an upper directory the look of what it covers; returns that look.
Dress = Callable[[str, int], str]


def bits(flags: Iterable[str]) -> int:
    """Return the bits of mount(2) for the flags of a mount."""
    return sum(_FLAGS[flag] for flag in flags)


class Builder:
    """Builds the tree in the current mount namespace, and makes it the root."""

    def __init__(self, tree: Tree, dress: Dress) -> None:
        self._tree = tree
        self._dress = dress
        self._stage = ""
        self._base = ""
        self._notes: list[str] = []
        self._looks: dict[int, str] = {}
        self._root = -1

    def build(self) -> Built:
        """Build it. Raises BuildError."""
        try:
            return self._build()
        except OSError as error:
            raise BuildError(self._stage, error) from error

    def _build(self) -> Built:
        tree = self._tree
        self._stage = "make all mounts private"
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE, "")
        rest = -1
        if tree.whole:
            self._stage = "copy the mounts"
            rest = syscalls.open_tree("/", syscalls.OPEN_TREE_CLONE | syscalls.AT_RECURSIVE)
        self._scratch()
        if tree.user and not tree.base:
            self._stage = "keep attributes of users in memory"  # tmpfs has them since Linux 6.6
            os.setxattr(".", "user.layerctl", b"")
        base = os.open(self._open_base(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.mkdir("m")
        for point in tree.points:
            if point.how is How.LAYER and (point.must or os.path.isdir(point.target)):
                self._layer(point)
        self._enter_root(rest)
        for point in tree.points:
            if point.target != "/" and os.path.exists(point.target):  # or it was just removed
                self._stage = f"mount {point.target}"
                self._place(point)
        for path in tree.hide:
            self._stage = f"hide {path}"
            self._hide(path)
        self._stage = "change the root"
        old = os.open("/", _PATH)
        os.fchdir(self._root)
        syscalls.pivot_root(".", ".")
        os.fchdir(old)  # it is mounted over the new root now, and the tmpfs over it
        for _ in range(2):
            syscalls.umount2(".", syscalls.MNT_DETACH)
        os.chdir("/")
        os.close(old)
        return Built(base, self._looks, self._notes)

    def _open_base(self) -> str:
        """Open the directory of the layers again, in this mount namespace; return its name."""
        if self._tree.base is not None:
            fd = beneath.open_directory(self._tree.base)
            if beneath.identity(fd) != self._tree.identity:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self._tree.base)
            self._base = beneath.name_of(fd)
        return self._base or "."

    def _scratch(self) -> None:
        """Mount a tmpfs over the root, and make it the working directory."""
        self._stage = "mount a tmpfs"
        context = syscalls.fsopen("tmpfs")
        options = {"source": "layerctl", "mode": "755"}
        if self._tree.size and self._tree.base is None:
            options["size"] = self._tree.size
        for key, value in options.items():
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, key, value)
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE, None, None)
        mount = syscalls.fsmount(context)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        syscalls.move_mount(mount, root, "/")
        os.fchdir(mount)
        os.close(root)
        os.close(context)
        os.close(mount)

    # Layers

    def _layer(self, point: Point) -> None:
        self._stage = f"layer {point.target}"
        number = str(point.number)
        upper, work, merged = (self._own(number, name) for name in ("upper", "work", "m"))
        os.makedirs(merged)
        fresh = not os.path.isdir(upper)
        os.makedirs(work, exist_ok=True)
        os.makedirs(upper, exist_ok=True)
        fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if fresh:
            self._looks[point.number] = self._dress(point.target, fd)
        os.close(fd)
        lower = point.target
        if point.skeleton:
            lower = f"{number}.lower"
            self._skeleton(point.target, lower)
        self._overlay(point, lower, upper, work, merged)

    def _own(self, number: str, name: str) -> str:
        if name == "m":
            return f"m/{number}"
        return os.path.join(self._base, number, name)

    def _overlay(self, point: Point, lower: str, upper: str, work: str, merged: str) -> None:
        names = [lower, upper, work]
        words = [f"{key}={escape_path(name)}" for key, name in zip(_KEYS, names, strict=True)]
        words[0] = words[0].replace(":", "\\:")
        data = ",".join((*words, _OF_USER if self._tree.user else _PLAIN))
        try:
            syscalls.mount("layerctl", merged, "overlay", bits(point.flags), data)
        except OSError as error:
            if point.must:
                raise
            self._notes.append(
                f"{point.target} is read-only: the kernel cannot layer it ({error.strerror})"
            )
            syscalls.mount(point.target, merged, "", syscalls.MS_BIND, "")
            self._seal(merged, ("ro", *point.flags), syscalls.AT_FDCWD)

    def _skeleton(self, directory: str, lower: str) -> None:
        """Copy the names of a directory, and the files that are directly in it."""
        os.mkdir(lower, 0o755)
        here = {os.path.basename(one.target): one.target for one in self._tree.points
                if one.target != "/" and os.path.dirname(one.target) == directory}  # fmt: skip
        with contextlib.suppress(PermissionError), os.scandir(directory) as entries:
            for entry in entries:
                here.pop(entry.name, None)
                with contextlib.suppress(FileNotFoundError):  # it was just removed
                    self._bone(entry, f"{lower}/{entry.name}")
        for name, target in here.items():
            if os.path.isdir(target):
                os.mkdir(f"{lower}/{name}")
            else:
                os.close(os.open(f"{lower}/{name}", os.O_CREAT | os.O_WRONLY, 0o600))

    def _bone(self, entry: os.DirEntry[str], copy: str) -> None:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(copy, stat.S_IMODE(status.st_mode) | 0o700)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(entry.path), copy)
            return
        made = os.open(copy, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST:
                _fill(entry.path, made)
            else:
                self._notes.append(f"{entry.path} is empty: it is too large to copy, or no file")
            os.fchmod(made, stat.S_IMODE(status.st_mode))
            os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))
        except PermissionError:
            os.fchmod(made, 0)  # as closed to the caller as it is
        finally:
            os.close(made)

    # The tree

    def _enter_root(self, rest: int) -> None:
        self._stage = "put the tree together"
        os.mkdir("root")
        if rest >= 0:
            fd = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            syscalls.move_mount(rest, fd, "root")
            os.close(fd)
        first = self._tree.points[0] if self._tree.points else None
        if first is not None and first.target == "/":
            syscalls.mount(f"m/{first.number}", "root", "", syscalls.MS_BIND, "")
        self._root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if rest >= 0 and self._tree.read_only:
            syscalls.mount_setattr(self._root, bits(("ro",)), flags=syscalls.AT_RECURSIVE)

    def _place(self, point: Point) -> None:
        try:
            fd = syscalls.openat2(self._root, point.target.lstrip("/"), _PATH, _INSIDE)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            self._notes.append(f"{point.target} is missing: its mount point is gone in the layers")
            return
        try:
            self._mount(point, beneath.name_of(fd))
        finally:
            os.close(fd)

    def _mount(self, point: Point, place: str) -> None:
        if point.how is How.LAYER:
            syscalls.mount(f"m/{point.number}", place, "", syscalls.MS_BIND, "")
        elif point.how is How.SAME:
            self._same(point, place)
        elif point.how is How.PROC:
            self._proc(place)
        elif point.how is How.COPY:
            self._copy(point, place)
        else:
            syscalls.mount(point.target, place, "", syscalls.MS_BIND | syscalls.MS_REC, "")
            if "ro" in point.flags:
                self._seal(point.target.lstrip("/"), point.flags)

    def _same(self, point: Point, place: str) -> None:
        """Mount a directory of a layer a second time, as it is mounted twice outside."""
        merged = os.open(f"m/{point.number}", os.O_PATH | os.O_CLOEXEC)
        try:
            inside = point.inside.strip("/") or "."
            fd = syscalls.openat2(merged, inside, _PATH, _INSIDE)
        finally:
            os.close(merged)
        try:
            syscalls.mount(beneath.name_of(fd), place, "", syscalls.MS_BIND, "")
        finally:
            os.close(fd)
        if point.flags:
            self._seal(point.target.lstrip("/"), point.flags)

    def _seal(self, path: str, flags: Sequence[str], start: int | None = None) -> None:
        """Set the flags of the mount that now is at a path, by default of the new tree."""
        fd = syscalls.openat2(self._root if start is None else start, path, _PATH,
                              syscalls.RESOLVE_NO_SYMLINKS)  # fmt: skip
        try:
            syscalls.mount_setattr(fd, bits(dict.fromkeys(flags)))
        finally:
            os.close(fd)

    def _proc(self, place: str) -> None:
        try:
            syscalls.mount("proc", place, "proc", bits(("nosuid", "nodev", "noexec")), "")
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            self._notes.append(
                "/proc is the host's, and /proc/PID/root leads out of the layers: the kernel "
                "refuses a new one here"
            )
            syscalls.mount("/proc", place, "", syscalls.MS_BIND | syscalls.MS_REC, "")

    def _copy(self, point: Point, place: str) -> None:
        """Mount a copy of a file that is a mount point of its own."""
        name = f"file{len(os.listdir())}"
        made = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            _fill(point.target, made)
            status = os.stat(point.target)
            os.fchmod(made, stat.S_IMODE(status.st_mode))
            with contextlib.suppress(OSError):
                os.fchown(made, status.st_uid, status.st_gid)
        finally:
            os.close(made)
        syscalls.mount(name, place, "", syscalls.MS_BIND, "")

    def _hide(self, path: str) -> None:
        """Cover a path with an empty directory or file that cannot be written."""
        fd = syscalls.openat2(self._root, path.lstrip("/"), _PATH, _INSIDE)
        try:
            name = f"hidden{len(os.listdir())}"
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                os.mkdir(name, 0o555)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0))
            syscalls.mount(name, beneath.name_of(fd), "", syscalls.MS_BIND, "")
        finally:
            os.close(fd)
        self._seal(path.lstrip("/"), ("ro",))


_PATH = os.O_PATH | os.O_CLOEXEC
_KEYS = ("lowerdir", "upperdir", "workdir")


def _fill(path: str, made: int) -> None:
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while block := os.read(source, 1 << 20):
            os.write(made, block)
    finally:
        os.close(source)

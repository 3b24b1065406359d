"""A hostile neighbour for tests: swaps names in a directory of its own for symbolic links.

What the links lead to is root's, and must look the same afterwards. `Lab` is a place with both;
`at_every_call` lets the neighbour act just before a call that opens, makes, changes, removes or
mounts something, of the program or of a child of its, one run a call. `watching` is a real one: a
process of another user that reacts to inotify.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import mmap
import os
import select
import signal
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerctl.cli.main import main
from layerctl.kernel import mounts, syscalls

#: The neighbour's user.
NEIGHBOUR = 4242

#: What the program calls, each by the module it is looked up in.
CALLS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (
        os,
        (
            "open", "mkdir", "rmdir", "unlink", "rename", "chmod", "chown", "fchmod", "fchown",
            "chdir", "readlink", "setxattr", "removexattr", "stat", "lstat", "scandir", "listdir",
        ),
    ),
    (builtins, ("open",)),
    (
        syscalls,
        (
            "openat2", "open_tree", "mount", "umount2", "fsopen", "fsconfig", "fsmount",
            "move_mount", "fchownat", "renameat2", "entry_types", "name_to_handle_at",
        ),
    ),
)  # fmt: skip
#: Calls that change something or settle what is changed: the others are many.
GRAVE = frozenset(
    {
        "open", "openat2", "mkdir", "rmdir", "unlink", "chmod", "chown", "chdir", "mount",
        "umount2", "fsconfig", "move_mount", "fchownat", "renameat2", "setxattr", "open_tree",
    }
)  # fmt: skip

NAMES = ("up", "up.work", "work", "lo", "lo2", "m", "new", "new.work", "deep", "x")


class Lab:
    """`mal` is the neighbour's, `precious` is root's and has all the names that `mal` may get."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mal = path / "mal"
        self.precious = path / "precious"
        self.precious.mkdir(mode=0o700)
        self._fill(self.precious, deeper=True)
        (self.precious / "new" / "x").mkdir()  # empty, so that a removal by path would succeed
        self.mal.mkdir()
        os.chown(self.mal, NEIGHBOUR, NEIGHBOUR)
        self.mal_fd = os.open(self.mal, os.O_RDONLY | os.O_DIRECTORY)  # also from another root
        self.before = self.look()

    def _fill(self, directory: Path, *, deeper: bool) -> None:
        (directory / "secret").write_text("root's\n")
        (directory / "secret").chmod(0o600)
        for name in NAMES if deeper else ():
            (directory / name).mkdir(mode=0o700)
            self._fill(directory / name, deeper=name == "deep" and directory == self.precious)
            (directory / name / "work" / "kept").mkdir(parents=True, exist_ok=True)

    def make(self, *names: str) -> None:
        """Make directories of the neighbour's."""
        for name in names:
            path = self.mal
            for part in name.split("/"):
                path /= part
                if not path.exists():
                    path.mkdir()
                    os.chown(path, NEIGHBOUR, NEIGHBOUR)

    def look(self) -> dict[str, Any]:
        """Return how everything of root's looks, and what is mounted there."""
        found: dict[str, Any] = {}
        for directory, folders, files in os.walk(self.precious):
            for name in (".", *folders, *files):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                found[os.path.normpath(path)] = (
                    status.st_mode, status.st_uid, status.st_gid, status.st_nlink,
                    status.st_mtime_ns,
                    os.listxattr(path, follow_symlinks=False),
                    Path(path).read_text() if stat.S_ISREG(status.st_mode) else None,
                )  # fmt: skip
        found["mounts"] = [
            one for one in mounts.entries() if one.target.startswith(str(self.precious))
        ]
        return found

    def swap(self) -> None:
        """Swap every name of the neighbour's for a link to root's, with the neighbour's rights."""
        with as_neighbour():
            swap(self.mal_fd, self.precious)

    def check(self, when: object) -> None:
        """Fail if anything of root's has changed."""
        now = self.look()
        changed = {
            path: (self.before.get(path), now.get(path))
            for path in {*self.before, *now}
            if self.before.get(path) != now.get(path)
        }
        assert not changed, (when, changed)

    def clear(self) -> None:
        """Unmount and remove all that is the neighbour's or is in its directory."""
        for entry in reversed(mounts.entries()):
            if entry.target.startswith(f"{self.mal}/"):
                syscalls.umount2(entry.target, syscalls.MNT_DETACH)
        for directory, folders, files in os.walk(self.mal, topdown=False):
            for name in (*folders, *files):
                path = Path(directory, name)
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def as_neighbour() -> Iterator[None]:
    """Have the rights of the neighbour for a moment."""
    os.setegid(NEIGHBOUR)
    os.seteuid(NEIGHBOUR)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def swap(mal: int, precious: Path) -> None:
    """Put a link to something of root's in the place of every name in a directory."""
    for name in os.listdir(mal):
        if name.endswith("~"):
            continue
        with contextlib.suppress(OSError):
            _swap_one(mal, precious, name)


class _Clock:
    """Counts calls, of children too, and lets the neighbour act before the one that is due."""

    def __init__(self, due: int, act: Callable[[], None], calls: frozenset[str] | None) -> None:
        self.due = due
        self.act = act
        self.calls = calls
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)  # shared with children
        self._count = memoryview(self._memory).cast("q")

    @property
    def struck(self) -> bool:
        return self._count[0] >= self.due

    @property
    def name(self) -> str:
        return bytes(self._memory[8:64]).rstrip(b"\0").decode()

    def wrap(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if self.calls is None or name in self.calls:
                self._count[0] += 1
                if self._count[0] == self.due:
                    self._memory[8 : 8 + len(name)] = name.encode()
                    self._count[0] += 1  # its own calls do not count
                    self.act()
            return real(*arguments, **keywords)

        return call


def at_every_call(
    lab: Lab,
    arguments: list[str],
    prepare: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    *,
    calls: frozenset[str] | None = GRAVE,
    step: int = 1,
) -> int:
    """Run a command again and again, the neighbour acting before one call later each time.

    Returns how many runs there were. Nothing of root's may have changed after any of them.
    """
    runs = 0
    for due in range(1, 100_000, step):
        lab.clear()
        prepare()
        lab.before = lab.look()
        clock = _Clock(due, lab.swap, calls)
        with monkeypatch.context() as patch:
            for module, names in CALLS:
                for name in names:
                    patch.setattr(module, name, clock.wrap(getattr(module, name), name))
            code = main(arguments)
        runs += 1
        assert code != 70, (due, clock.name)
        lab.check((due, clock.name, code))
        if not clock.struck:
            break
    lab.clear()
    return runs


_IN = 0x100 | 0x80 | 0x4  # IN_CREATE, IN_MOVED_TO, IN_ATTRIB


@contextlib.contextmanager
def watching(lab: Lab, *, restless: bool = False) -> Iterator[None]:
    """Have a process of the neighbour's that swaps whatever appears in its directory.

    A `restless` one also exchanges existing names all the time.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NEIGHBOUR, NEIGHBOUR, NEIGHBOUR)
            os.setresuid(NEIGHBOUR, NEIGHBOUR, NEIGHBOUR)
            _watch(lab.mal_fd, lab.mal, lab.precious, writer, restless=restless)
        finally:
            os._exit(0)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _watch(mal: int, path: Path, precious: Path, ready: int, *, restless: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(0)
    assert libc.inotify_add_watch(fd, os.fsencode(path), _IN) >= 0
    os.write(ready, b"1")
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    header = struct.Struct("iIII")
    while True:
        if restless and not poll.poll(1):
            _to_and_fro(mal, precious)
            continue
        poll.poll()
        raw = os.read(fd, 65536)
        while raw:
            _, _, _, length = header.unpack_from(raw)
            name = os.fsdecode(raw[header.size : header.size + length].rstrip(b"\0"))
            raw = raw[header.size + length :]
            if name and not name.endswith("~"):
                with contextlib.suppress(OSError):
                    if not _is_link(mal, name):
                        _swap_one(mal, precious, name)


def _is_link(mal: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=mal, follow_symlinks=False).st_mode)


def _swap_one(mal: int, precious: Path, name: str) -> None:
    os.rename(name, f"{name}~", src_dir_fd=mal, dst_dir_fd=mal)
    os.symlink(precious / name if name in NAMES else precious, name, dir_fd=mal)


def _to_and_fro(mal: int, precious: Path) -> None:
    for name in os.listdir(mal):
        with contextlib.suppress(OSError):
            if name.endswith("~"):
                os.unlink(name[:-1], dir_fd=mal)
                os.rename(name, name[:-1], src_dir_fd=mal, dst_dir_fd=mal)
            elif not _is_link(mal, name):
                _swap_one(mal, precious, name)

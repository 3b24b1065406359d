"""Stacks made by the kernel itself: random operations through overlay mounts, one on another."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.stacks import NAMES, Case, Mounted, make_case, random_options, stamp


class Operations:
    """Random operations below one directory."""

    def __init__(self, rng: random.Random, root: str, tag: str, *, user: bool) -> None:
        self.rng = rng
        self.root = root
        self.tag = tag
        self.user = user
        self.serial = 0

    def path(self) -> str:
        """Return a path, mostly one that exists."""
        path = self.root
        for _ in range(self.rng.choice([1, 1, 2, 2, 3])):
            path = f"{path}/{self.rng.choice(NAMES)}"
            if not os.path.isdir(path) or os.path.islink(path):
                break
        return path

    def text(self) -> str:
        self.serial += 1
        return f"{self.tag} {self.serial}\n"

    def some(self, count: int) -> None:
        """Do so many operations; what the kernel refuses is passed over."""
        actions: list[Callable[[], None]] = [
            self.create, self.create, self.append, self.truncate, self.unlink, self.unlink,
            self.rmdir, self.remove_tree, self.rename, self.rename, self.rename, self.link,
            self.chmod, self.chmod, self.xattr, self.mknod, self.symlink, self.mkdir, self.mkdir,
            self.mkdir_again,
        ]  # fmt: skip
        for _ in range(count):
            with suppress(OSError):
                self.rng.choice(actions)()

    def create(self) -> None:
        path = self.path()
        if not os.path.lexists(path) or stat.S_ISREG(os.lstat(path).st_mode):
            Path(path).write_text(self.text())

    def append(self) -> None:
        path = self.path()
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "a") as file:
                file.write(self.text())

    def truncate(self) -> None:
        path = self.path()
        if stat.S_ISREG(os.lstat(path).st_mode):
            os.truncate(path, self.rng.choice([0, 3, 20]))

    def unlink(self) -> None:
        os.unlink(self.path())

    def rmdir(self) -> None:
        os.rmdir(self.path())

    def remove_tree(self) -> None:
        path = self.path()
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)

    def rename(self) -> None:
        os.rename(self.path(), self.path())

    def link(self) -> None:
        os.link(self.path(), self.path(), follow_symlinks=False)

    def chmod(self) -> None:
        path = self.path()
        if not os.path.islink(path):
            os.chmod(path, self.rng.choice([0o600, 0o644, 0o700, 0o755]))

    def xattr(self) -> None:
        path = self.path()
        if not os.path.islink(path):
            os.setxattr(path, "user.note", self.text().encode())

    def mknod(self) -> None:
        kinds = [stat.S_IFIFO, stat.S_IFSOCK] + ([] if self.user else [stat.S_IFCHR, stat.S_IFBLK])
        os.mknod(self.path(), self.rng.choice(kinds) | 0o600, 0x0103)

    def symlink(self) -> None:
        os.symlink(self.text(), self.path())

    def mkdir(self) -> None:
        os.mkdir(self.path())

    def mkdir_again(self) -> None:
        """Make a directory where something was, over the whiteout that this leaves."""
        path = self.path()
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        os.mkdir(path)


def build_by_operations(rng: random.Random, where: str, *, user: bool) -> Case:
    """Build a stack round by round: mount, operate, unmount; the upper becomes a lower."""
    os.mkdir(where)
    os.mkdir(f"{where}/m")
    os.mkdir(f"{where}/base")
    Operations(rng, f"{where}/base", "base", user=user).some(rng.choice([15, 30]))
    lowers = [f"{where}/base"]
    upper = ""
    for number in range(rng.randint(1, 5)):
        if upper:
            lowers.insert(0, upper)
        upper = f"{where}/u{number}"
        os.mkdir(upper)
        shutil.rmtree(f"{where}/w", ignore_errors=True)
        os.mkdir(f"{where}/w")
        options = random_options(rng, user=user, upper=1)
        with Mounted(make_case(where, lowers, upper=upper, options=options)) as target:
            Operations(rng, target, f"layer{number}", user=user).some(rng.choice([4, 10, 20]))
    if len(lowers) > 1 and rng.random() < 0.3:
        return _stamped(make_case(where, [upper, *lowers], options=_read_only_options(rng, user)))
    options = random_options(rng, user=user, upper=1)
    return _stamped(make_case(where, lowers, upper=upper, options=options))


def _read_only_options(rng: random.Random, user: bool) -> str:
    return random_options(rng, user=user, upper=0)


def _stamped(case: Case) -> Case:
    for layer in case.stack.layers:
        for above, directories, files in os.walk(layer.path):
            for name in (*directories, *files):
                stamp(f"{above}/{name}")
    return case

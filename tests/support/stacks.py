"""Random overlay stacks.

Every object made here has a modification time of its own, so that what is seen through a mount
is traced to the one object that it comes from.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from layerctl.kernel import syscalls
from layerctl.model import Layer, Role, Stack

NAMES = ("a", "b", "c", "d")
_TIMES = count(10**9)


def stamp(path: str) -> None:
    """Give an object a modification time that no other has, in whole seconds."""
    moment = next(_TIMES)
    os.utime(path, (moment, moment), follow_symlinks=False)


@dataclass(slots=True)
class Builder:
    """Creates random layers directly: all kinds of files, all kinds of markers, right and wrong.

    Without `moves` nothing is redirected, and no file has its data elsewhere.
    """

    random: random.Random
    user: bool
    where: str
    moves: bool = True
    serial: int = 0

    @property
    def prefix(self) -> str:
        return "user.overlay." if self.user else "trusted.overlay."

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def layer(self, path: str, *, depth: int = 3) -> None:
        """Fill a new layer."""
        os.mkdir(path)
        self.fill(path, depth)
        if self.chance(0.15):
            self.set(path, "opaque", self.random.choice([b"y", b"x"]))

    def fill(self, path: str, depth: int) -> None:
        for name in NAMES:
            if self.chance(0.55):
                self.thing(f"{path}/{name}", depth)
        if self.chance(0.05):
            self.file(f"{path}/.wh.{self.random.choice(NAMES)}")

    def thing(self, path: str, depth: int) -> None:
        kind = self.random.choices(
            ["dir", "file", "symlink", "fifo", "socket", "device", "whiteout", "xattr", "meta"],
            [40 if depth else 0, 22, 4, 2, 2, 2, 14, 8, 6 if self.moves else 0],
        )[0]
        if kind == "dir":
            self.directory(path, depth)
            return
        if kind == "file":
            self.file(path)
        elif kind == "symlink":
            os.symlink(f"target-{next(_TIMES)}", path)
        elif kind in ("fifo", "socket") or (kind == "device" and self.user):
            os.mknod(path, (stat.S_IFSOCK if kind == "socket" else stat.S_IFIFO) | 0o600)
        elif kind == "device":
            os.mknod(path, self.random.choice([stat.S_IFCHR, stat.S_IFBLK]) | 0o600, 0x0103)
        elif kind == "whiteout":
            os.mknod(path, stat.S_IFCHR, 0)
        elif kind == "xattr":
            Path(path).write_bytes(b"" if self.chance(0.85) else b"not empty")
            self.set(path, "whiteout", self.random.choice([b"", b"y"]))
        else:
            self.meta(path)
        stamp(path)

    def file(self, path: str) -> None:
        self.serial += 1
        text = f"{os.path.relpath(path, self.where)} {self.serial}\n" if self.chance(0.8) else ""
        Path(path).write_text(text)
        if self.chance(0.06):
            self.set(path, self.random.choice(["whiteout", "redirect", "opaque", "origin"]), b"y")
        os.chmod(path, self.random.choice([0o644, 0o600, 0o755]))
        stamp(path)

    def meta(self, path: str) -> None:
        """A file with metadata only."""
        with open(path, "wb") as file:
            file.truncate(self.random.choice([0, 10, 30]))
        self.set(path, "metacopy", self.random.choice([b"", b"", b"", b"\0", b"\0\4\0\0"]))
        if self.chance(0.6):
            self.set(path, "redirect", self.redirect())

    def redirect(self) -> bytes:
        if self.chance(0.06):
            return self.random.choice([b"/", b"a/b", b"", b"..", b"//a", b"/a/", b".", b"a\0b"])
        if self.chance(0.4):
            return self.random.choice(NAMES).encode()
        depth = self.random.choice([1, 1, 2, 3])
        return "".join("/" + self.random.choice(NAMES) for _ in range(depth)).encode()

    def directory(self, path: str, depth: int) -> None:
        os.mkdir(path)
        self.fill(path, depth - 1)
        if self.chance(0.14):
            value = self.random.choice([b"y", b"y", b"y", b"y", b"n", b"yy", b""])
            self.set(path, "opaque", value)
        elif self.chance(0.2):
            self.set(path, "opaque", b"x")
        if self.moves and self.chance(0.12):
            self.set(path, "redirect", self.redirect())
        if self.chance(0.08):
            self.set(path, "origin", b"")
        if self.chance(0.04):
            self.set(path, "impure", b"y")
        if self.chance(0.05):
            other = "trusted.overlay.opaque" if self.user else "user.overlay.opaque"
            name = self.random.choice([other, self.prefix + "overlay.opaque"])
            if not self.user or not name.startswith("trusted."):
                os.setxattr(path, name, b"y")
        os.chmod(path, self.random.choice([0o755, 0o700, 0o775]))
        stamp(path)

    def set(self, path: str, name: str, value: bytes) -> None:
        os.setxattr(path, self.prefix + name, value, follow_symlinks=False)


@dataclass(slots=True)
class Case:
    """A stack to compare: layers from the topmost down, and the options it is mounted with."""

    stack: Stack
    target: str
    data: str
    notes: list[str] = field(default_factory=list)


def make_case(
    where: str,
    lowers: Sequence[str],
    *,
    data: Sequence[str] = (),
    upper: str | None = None,
    options: str = "",
) -> Case:
    """Make the stack of some directories, and the string that mounts it at `m` in `where`."""
    text = "lowerdir=" + ":".join(lowers) + "".join(f"::{name}" for name in data)
    layers = [Layer(name, Role.LOWER) for name in lowers] + [Layer(n, Role.DATA) for n in data]
    work = f"{where}/w" if upper is not None else None
    if upper is not None:
        text += f",upperdir={upper},workdir={work}"
        layers.insert(0, Layer(upper, Role.UPPER))
    words = dict(word.partition("=")[::2] for word in options.split(",") if word)
    stack = Stack(
        "overlay",
        tuple(layers),
        work,
        {name: value or None for name, value in words.items()},
        () if upper is not None else ("ro",),
    )
    return Case(stack, f"{where}/m", text + ("," + options if options else ""))


def build_by_hand(
    rng: random.Random,
    where: str,
    *,
    user: bool,
    elsewhere: str | None = None,
    moves: bool = True,
) -> Case:
    """Build a stack whose layers hold anything that they can hold.

    `elsewhere` is a directory on another filesystem, where some lower layers are put.
    """
    builder = Builder(rng, user, where, moves)
    os.mkdir(where)
    upper = rng.choice([0, 1, 1])
    lowers = [f"{where}/l{index}" for index in range(rng.randint(2 - upper, 6 - upper))]
    data = [f"{where}/d{index}" for index in range(rng.choice([0, 0, 0, 1, 2]))]
    if elsewhere is not None:
        os.mkdir(f"{elsewhere}/c")
        lowers = [
            f"{elsewhere}/c/l{index}" if index and rng.random() < 0.5 else path
            for index, path in enumerate(lowers)
        ]
    depth = rng.choice([1, 2, 2, 3])
    if upper:
        builder.layer(f"{where}/u", depth=depth)
        os.mkdir(f"{where}/w")
    for path in (*lowers, *data):
        builder.layer(path, depth=depth)
    os.mkdir(f"{where}/m")
    options = random_options(rng, user=user, upper=upper)
    return make_case(
        where, lowers, data=data, upper=f"{where}/u" if upper else None, options=options
    )


def random_options(rng: random.Random, *, user: bool, upper: int) -> str:
    """Return options that the kernel takes together."""
    if user:
        return rng.choice(["userxattr", "userxattr", "userxattr,xino=on"])
    metacopy = rng.choice(["", "", "metacopy=on", "metacopy=off"])
    redirect = rng.choice(
        ["", "redirect_dir=on", "redirect_dir=off", "redirect_dir=follow", "redirect_dir=nofollow"]
    )
    if metacopy == "metacopy=on" and (redirect.endswith(("off", "nofollow")) or upper):
        redirect = rng.choice(["", "redirect_dir=on"])
    xino = rng.choice(["", "", "", "xino=on", "xino=off"])
    return ",".join(word for word in (redirect, metacopy, xino) if word)


class Mounted:
    """A case, mounted for a while."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __enter__(self) -> str:
        fstype = self.case.stack.fstype
        syscalls.mount(fstype, self.case.target, fstype, 0, self.case.data)
        return self.case.target

    def __exit__(self, *_: object) -> None:
        syscalls.umount2(self.case.target, syscalls.MNT_DETACH)

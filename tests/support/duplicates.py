"""Stacks in which two paths lead to one lower file, as no operation through a mount makes them.

They come about when layers are changed by other means: `cp -a` of a renamed directory in the upper
layer, a removed whiteout, a changed attribute.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from contextlib import suppress

from tests.support.operations import Operations
from tests.support.stacks import NAMES, Case, Mounted, make_case, stamp

_INDEXES = ("", "", "index=on", "index=off", "index=on,nfs_export=on")
_UUIDS = ("", "", "uuid=on", "uuid=off", "uuid=null")
_REDIRECTS = ("redirect_dir=on", "redirect_dir=on", "redirect_dir=on,metacopy=on", "")


def duplicate_options(rng: random.Random, *, user: bool) -> str:
    """Return options that decide under what the kernel keeps an inode."""
    words = [rng.choice(_INDEXES), rng.choice(_UUIDS)]
    if user:
        words.append("userxattr")
    else:
        redirect = rng.choice(_REDIRECTS)
        if "nfs_export" in words[0]:
            redirect = redirect.removesuffix(",metacopy=on")
        words.append(redirect)
    words.append(rng.choice(("", "", "xino=on")))
    return ",".join(filter(None, words))


def build_duplicates(
    rng: random.Random, where: str, *, user: bool, elsewhere: str | None = None
) -> Case:
    """Build layers through mounts, then change the upper one as no mount would."""
    os.mkdir(where)
    for name in ("m", "u", "w"):
        os.mkdir(f"{where}/{name}")
    lowers = [f"{where}/l{index}" for index in range(rng.choice([1, 1, 2, 3]))]
    if elsewhere is not None:
        os.mkdir(f"{elsewhere}/c")
        lowers = [
            path if rng.random() < 0.5 else f"{elsewhere}/c/l{index}"
            for index, path in enumerate(lowers)
        ]
    for index, path in enumerate(lowers):
        os.mkdir(path)
        Operations(rng, path, f"lower{index}", user=user).some(rng.choice([10, 20, 30]))
    case = make_case(where, lowers, upper=f"{where}/u", options=duplicate_options(rng, user=user))
    with Mounted(case) as target:
        Operations(rng, target, "upper", user=user).some(rng.choice([5, 10, 20]))
    changes = (_copy, _copy, _copy, _uncover, _uncover, _exchange)
    for _ in range(rng.choice([1, 2, 3, 5])):
        with suppress(OSError, subprocess.CalledProcessError, IndexError, ValueError):
            rng.choice(changes)(rng, f"{where}/u", user)
    with suppress(OSError), Mounted(case):
        pass  # the kernel cleans its index at every mount
    for layer in case.stack.layers:
        for above, directories, files in os.walk(layer.path):
            for name in (*directories, *files):
                stamp(f"{above}/{name}")
    return case


def _all(upper: str) -> list[str]:
    return [
        f"{above}/{name}"
        for above, directories, files in os.walk(upper)
        for name in sorted(directories) + sorted(files)
    ]


def _free(rng: random.Random, upper: str) -> str:
    """Return a place in the upper layer, emptied."""
    places = [upper, *(path for path in _all(upper) if os.path.isdir(path))]
    path = f"{rng.choice(places)}/{rng.choice((*NAMES, 'e', 'f'))}"
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    return path


def _copy(rng: random.Random, upper: str, _user: bool) -> None:
    """Copy something with its attributes, as `cp -a` does."""
    sources = [path for path in _all(upper) if not _is_whiteout(path)]
    source, target = rng.choice(sources), f"{upper}.copy"
    subprocess.run(["cp", "-a", source, target], check=True, stderr=subprocess.DEVNULL)
    os.rename(target, _free(rng, upper))


def _uncover(rng: random.Random, upper: str, _user: bool) -> None:
    """Take a whiteout away, so that what was renamed is seen at its old place again."""
    os.unlink(rng.choice([path for path in _all(upper) if _is_whiteout(path)]))


def _exchange(rng: random.Random, upper: str, user: bool) -> None:
    """Write the origin or redirect of one thing to another."""
    prefix = "user.overlay." if user else "trusted.overlay."
    name = prefix + rng.choice(("origin", "origin", "redirect"))
    source, target = rng.sample(_all(upper), 2)
    if os.path.isdir(source) == os.path.isdir(target) or rng.random() < 0.2:
        value = os.getxattr(source, name, follow_symlinks=False)
        os.setxattr(target, name, value, follow_symlinks=False)


def _is_whiteout(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
